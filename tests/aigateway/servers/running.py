"""Environments and processes of real inference servers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

READY_S = 120


def environment(name: str, *packages: str) -> Path:
    """The Python of an environment of its own beside the project's, made once and kept."""
    folder = Path(sys.prefix) / name
    python, installed = folder / "bin" / "python", folder / ".installed"
    if not installed.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--no-input", "-qq", *packages], check=True)
        installed.touch()
    return python


@contextmanager
def running(command: Sequence[str | Path], ready_url: str, log: Path, environ: Mapping[str, str] | None = None) -> Iterator[None]:
    """The server from its first answer at ``ready_url`` on; ended with everything it started."""
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, env={**os.environ, **(environ or {})}, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait_until_ready(process, ready_url, log)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(log.read_text())
