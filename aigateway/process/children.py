"""One child process of the supervisor: started with its parent's life tied to it, logged to a bounded file, restarted with backoff."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from django.conf import settings

LOG_MAX_BYTES = 10 * 1024 * 1024
LOG_TAIL_LINES = 15
BACKOFF_FIRST_S = 0.5
STEADY_S = 60.0
PR_SET_PDEATHSIG = 1
PROC = Path("/proc")
READY_FD = "AIGATEWAY_READY_FD"
"""Names a pipe to the supervisor in the environment of its children."""


class Child:
    """A process run by this interpreter with ``arguments``. Output is appended to ``<log_folder>/<name>.log``."""

    def __init__(
        self,
        name: str,
        arguments: list[str],
        log_folder: Path,
        port: int,
        listener_fd: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """``environment`` is what it gets of ours; all of it where there is none."""
        self.name = name
        self.log_path = log_folder / f"{name}.log"
        self._arguments = arguments
        self._port = port
        self._listener_fd = listener_fd
        self._environment = dict(os.environ if environment is None else environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._restart_at: float | None = None
        self._backoff_s = 0.0
        self._ready_fd: int | None = None

    def successor(self) -> Child:
        """The same process once more, not started yet."""
        return Child(self.name, self._arguments, self.log_path.parent, self._port, self._listener_fd, self._environment)

    def start(self) -> None:
        """Starts the process in a group of its own, so that Ctrl-C reaches the supervisor only."""
        self.bound_log()
        self._forget_ready()
        self._ready_fd, told_fd = os.pipe()
        passed = [fd for fd in (self._listener_fd, told_fd) if fd is not None]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and words
                [sys.executable, *self._arguments],
                cwd=settings.BASE_DIR,
                env={**self._environment, **self._own_variables(), READY_FD: str(told_fd)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=passed,
                process_group=0,
                preexec_fn=_end_with(os.getpid()),  # noqa: PLW1509 - the supervisor has one thread
            )
        os.close(told_fd)
        self._started_at = time.monotonic()
        self._restart_at = None

    def _own_variables(self) -> dict[str, str]:
        return {"PORT": str(self._port), "AIGATEWAY_VAR": str(settings.VAR_DIR), "PYTHONUNBUFFERED": "1"}

    def is_ready(self) -> bool:
        """Whether the process said that it serves (``tell_ready``)."""
        return self._ready_fd is not None and bool(select.select([self._ready_fd], [], [], 0)[0]) and self.exit_code() is None

    def _forget_ready(self) -> None:
        if self._ready_fd is not None:
            os.close(self._ready_fd)
            self._ready_fd = None

    def exit_code(self) -> int | None:
        """``None`` while the process runs; minus the signal's number when a signal ended it."""
        return self._process.poll() if self._process else 0

    @property
    def serves(self) -> bool:
        """Whether it was given a socket to serve."""
        return self._listener_fd is not None

    def processor_s(self) -> float | None:
        """Processor time that the living processes of its group, and those they waited for, have used; ``None`` where nobody can tell."""
        return _processor_s(self._process.pid) if self._process else 0.0

    def movement(self) -> tuple[float, int]:
        """Differs from an earlier one when the process worked or logged meanwhile. Where nobody can tell, to be alive is to move."""
        used_s = self.processor_s()
        return time.monotonic() if used_s is None else used_s, self.log_path.stat().st_size if self.log_path.exists() else 0

    def restart_if_ended(self, now: float) -> str | None:
        """Restarts at once after a steady life or the first time, else after a growing pause. Returns what to show, once per end."""
        code = self.exit_code()
        if code is None:
            return None
        said = None
        if self._restart_at is None:
            pause_s = self._next_pause_s(steady=now - self._started_at > STEADY_S)
            self._restart_at = now + pause_s
            said = f"{self.name} ended with {code}; starting it again {f'in {pause_s:g} s' if pause_s else 'at once'}.\n{self.last_lines()}"
        if now >= self._restart_at:
            self.start()
        return said

    def _next_pause_s(self, *, steady: bool) -> float:
        pause_s = 0.0 if steady else self._backoff_s
        self._backoff_s = min(settings.RESTART_PAUSE_MAX_S, max(BACKOFF_FIRST_S, pause_s * 2))
        return pause_s

    def terminate(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def retire(self) -> None:
        """Asks it to leave new connections to its successor and to end when what it has begun is done."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGUSR1)

    def kill(self) -> None:
        """Ends the process and whatever it left in its group, and reaps it."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._forget_ready()

    def bound_log(self) -> None:
        """Moves a full log aside; the previous one is dropped. Truncates in place, for the process has the file open to append."""
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_MAX_BYTES:
            shutil.copyfile(self.log_path, self.log_path.with_suffix(".log.1"))
            os.truncate(self.log_path, 0)

    def last_lines(self) -> str:
        """The end of the log with its path, to show to the person who started the gateway."""
        lines = self.log_path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:] if self.log_path.exists() else []
        return "\n".join([f"The end of {self.log_path}:", *(f"  {line}" for line in lines)])


def tell_ready() -> None:
    """Said by a child of the supervisor when it serves."""
    told_fd = os.environ.pop(READY_FD, None)
    if told_fd is not None:
        with contextlib.suppress(OSError):  # whoever asked is gone
            os.write(int(told_fd), b"1")
            os.close(int(told_fd))


def _processor_s(group: int) -> float | None:
    if not (PROC / "self" / "stat").exists():
        return None
    ticks = 0
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile
                _, _, after_name = (folder / "stat").read_text().rpartition(")")
                fields = after_name.split()
                if int(fields[2]) == group:
                    ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def end_with_parent(number: int) -> None:
    """Linux: asks the kernel to send this process ``number`` when its parent dies, however hard."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def _end_with(parent: int) -> Callable[[], None]:
    def in_child() -> None:
        end_with_parent(signal.SIGTERM)
        if os.getppid() != parent:  # it died before the line above
            os.kill(os.getpid(), signal.SIGTERM)

    return in_child


def make_was_interrupted() -> bool:
    """Whether the ``make`` that started this process got a SIGINT of its own.

    GNU make passes SIGTERM on to its recipe but on SIGINT expects the terminal to have told everybody, and waits. What can
    be seen from here is that its handler for SIGINT, set while it runs, is back to the default.
    """
    if "MAKELEVEL" not in os.environ or sys.platform != "linux":
        return False
    parent = Path("/proc") / str(os.getppid())
    try:
        if (parent / "comm").read_text().strip() not in ("make", "gmake"):
            return False
        return sigint_is_default((parent / "status").read_text())
    except OSError:
        return False


def sigint_is_default(status: str) -> bool:
    """From the text of ``/proc/PID/status``. An ignored SIGINT is not default: scripts start background jobs that way."""
    masks = dict(line.split(":", 1) for line in status.splitlines() if line.startswith(("SigCgt:", "SigIgn:")))
    return not any(int(mask, 16) & (1 << (signal.SIGINT - 1)) for mask in masks.values())
