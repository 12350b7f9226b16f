"""Runs the gateway on one machine: prepares the state folder and the database, owns the listening socket, has the processes kept alive.

The supervisor serves nothing itself. It holds the listening socket, so a web process that dies loses only its own
requests: new connections wait in the backlog for its successor. Children die with it (Linux: by the kernel's hand, too).
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError, connection
from django.db.models.signals import pre_migrate

from aigateway.process import bootstrap, children, variables, web
from aigateway.process.starting import StartFailed
from aigateway.process.supervisor import Supervisor
from providers.upstream.redaction import redact

SIMULATOR_PORT = 8001
INTERRUPTED = 130
READY = "AI gateway is ready at {}"


def run(out: TextIO, *, web_only: bool = False) -> int:
    """Runs until SIGINT or SIGTERM; returns the exit code. ``web_only`` starts web processes on a database that is ready."""
    try:
        _end_with_make()
        prepare_state_folder(settings.VAR_DIR)
        if web_only:
            return _run_web(out)
        with _only_one(settings.VAR_DIR), web.bind(settings.HOST, settings.PORT) as listener:
            return _run_all(listener, out)
    except (StartFailed, bootstrap.SeedRefused, web.AddressUnavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OperationalError as error:
        said = redact(str(error), limit=300)
        print(f"error: the database of DATABASE_URL cannot be used: {said}. Check address, name, user and password.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _run_all(listener: socket.socket, out: TextIO) -> int:
    with _simulator_listener() as simulator:
        pre_migrate.connect(_tell_of_migrations, sender=apps.get_app_config("usage"))
        call_command("migrate", verbosity=0, interactive=False)
        seeded = bootstrap.seed(f"http://127.0.0.1:{_port_of(simulator)}")
        _close_database()
        front = [*_web_processes(listener), _beat(listener)]
        return _supervise(Supervisor(front, [_simulator(listener, simulator), _worker(listener)], listener), seeded, out)


def _supervise(supervisor: Supervisor, seeded: bootstrap.Seeded, out: TextIO) -> int:
    try:
        supervisor.start()
    except StartFailed:
        _print_secrets_made(seeded, out)
        raise
    else:
        if not supervisor.signals.stops:
            print(welcome(seeded, supervisor.address), file=out, flush=True)
        supervisor.watch()
    finally:
        supervisor.stop()
    return 0


def _run_web(out: TextIO) -> int:
    with web.bind(settings.HOST, settings.PORT) as listener:
        supervisor = Supervisor(_web_processes(listener), [], listener)
        try:
            supervisor.start()
            if not supervisor.signals.stops:
                print(READY.format(supervisor.address), file=out, flush=True)
            supervisor.watch()
        finally:
            supervisor.stop()
    return 0


def prepare_state_folder(folder: Path) -> None:
    """Makes the folder and everything made later in it readable by its owner only."""
    os.umask(0o077)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for name in ("log", "celery/queue", "celery/control"):
        (folder / name).mkdir(parents=True, exist_ok=True)


def welcome(seeded: bootstrap.Seeded, address: str) -> str:
    """What a person needs to begin. Secrets are in it only on the start that made them."""
    if seeded.password:
        password = f"{seeded.password}  (shown once)"
    else:
        password = "from AIGATEWAY_ADMIN_PASSWORD" if seeded.password_from_environment else "as you set it"
    if seeded.api_key:
        key, shown = seeded.api_key, f"{seeded.api_key}  (shown once)"
    elif seeded.key_from_environment:
        key, shown = "$AIGATEWAY_BOOTSTRAP_KEY", "from AIGATEWAY_BOOTSTRAP_KEY"
    else:
        key, shown = "$AIGATEWAY_KEY", "as shown at the first start (more in the admin)"
    body = f'{{"model":"{seeded.model}","messages":[{{"role":"user","content":"Hello"}}]}}'
    return f"""
{READY.format(address)}

  Admin     {address}/admin/
  Username  {seeded.username}
  Password  {password}
  API key   {shown}

  curl -sS {address}/v1/chat/completions -H "Authorization: Bearer {key}" -H "Content-Type: application/json" -d '{body}'

Logs are in {settings.VAR_DIR / "log"}. Ctrl-C ends everything.
""" + "".join(f"{notice}\n" for notice in seeded.notices)


def _tell_of_migrations(plan: Sequence[object], **_: object) -> None:
    if plan:
        print(f"Preparing the database: {len(plan)} migrations.", file=sys.stderr, flush=True)


def _print_secrets_made(seeded: bootstrap.Seeded, out: TextIO) -> None:
    """They exist now, whether or not the rest came up, and will not be shown again."""
    if seeded.password:
        print(f"Admin username {seeded.username}, password {seeded.password}", file=out, flush=True)
    if seeded.api_key:
        print(f"API key {seeded.api_key}", file=out, flush=True)


def _web_processes(listener: socket.socket) -> list[children.Child]:
    fd = listener.fileno()
    words = ["-m", "aigateway.process.web", "--fd", str(fd)]
    return [_child(f"web-{n}", words, listener, fd) for n in range(1, settings.WEB_PROCESSES + 1)]


def _beat(listener: socket.socket) -> children.Child:
    return _child("beat", ["-m", "celery", "--app", "aigateway", "beat", "--pidfile=", "--loglevel", settings.LOG_LEVEL], listener)


def _worker(listener: socket.socket) -> children.Child:
    pool = ["--pool", "threads", "--concurrency", "4", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    return _child("worker", ["-m", "celery", "--app", "aigateway", "worker", *pool, "--loglevel", settings.LOG_LEVEL], listener)


def _simulator(listener: socket.socket, its_listener: socket.socket) -> children.Child:
    fd = its_listener.fileno()
    return _child("simulator", ["-m", "providers.simulator", "--fd", str(fd)], listener, fd, variables.of_strangers(os.environ))


def _child(
    name: str, words: list[str], listener: socket.socket, fd: int | None = None, environment: Mapping[str, str] | None = None
) -> children.Child:
    """Without ``environment`` it gets all that it may need: not what only a first start reads."""
    given = variables.after_first_start(os.environ) if environment is None else environment
    return children.Child(name, words, settings.VAR_DIR / "log", _port_of(listener), fd, given)


def _simulator_listener() -> socket.socket:
    """On the usual port when it is free, else on any free one."""
    try:
        return web.bind("127.0.0.1", SIMULATOR_PORT)
    except web.AddressUnavailable:
        return web.bind("127.0.0.1", 0)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Holds the state folder's lock. Raises ``StartFailed`` when another gateway has it."""
    with (folder / "run.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartFailed(f"another gateway runs on {folder}. Stop it, or set AIGATEWAY_VAR to another folder.") from None
        yield


def _end_with_make() -> None:
    if "MAKELEVEL" in os.environ:
        children.end_with_parent(signal.SIGTERM)


def _close_database() -> None:
    """No connection and no pool thread may be open when processes are forked."""
    connection.close()
    if connection.vendor == "postgresql":
        connection.close_pool()  # type: ignore[attr-defined]


def _port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port
