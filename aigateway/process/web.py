"""One web process: uvicorn on a listening socket, inherited from the supervisor or bound here."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
import time

import django
import uvicorn
from django.conf import settings

from aigateway import stopping
from aigateway.process import children

BACKLOG = 2048
KEEP_ALIVE_S = 75
IDLE_GRACE_S = 1.0


class AddressUnavailable(OSError):
    """HOST and PORT cannot be listened on; the message says what to change."""


def bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket; port 0 takes any free one. Raises ``AddressUnavailable``."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise AddressUnavailable(
            f"cannot listen on HOST={host} PORT={port}: {error.strerror}. Choose another, for example PORT=8080."
        ) from error
    return listener


class DrainingServer(uvicorn.Server):
    """Told to stop, says so in its readiness and goes on accepting until balancers have looked; then drains. Told to retire
    (SIGUSR1), leaves new connections to its successor at once and drains."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._retire)
        if self.started:
            children.tell_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        stopping.PROCESS.begin()
        if not self.force_exit and not stopping.PROCESS.replaced:
            await asyncio.sleep(settings.STOP_DELAY_S)
        for server in self.servers:
            server.close()
        await self._let_idle_ones_go()
        await super().shutdown(sockets)

    def _retire(self) -> None:
        stopping.PROCESS.begin(replaced=True)
        self.should_exit = True

    async def _let_idle_ones_go(self) -> None:
        """A client may be sending its next request just now. Whoever does in this time gets an answer that closes the connection;
        what is closed afterwards was not in use."""
        due_at = time.monotonic() + IDLE_GRACE_S
        while not self.force_exit and time.monotonic() < due_at and any(map(_is_idle, self.server_state.connections)):  # noqa: ASYNC110 - uvicorn's own way
            await asyncio.sleep(0.05)


def _is_idle(connection: object) -> bool:
    cycle = getattr(connection, "cycle", None)
    return cycle is None or cycle.response_complete


def serve(listener: socket.socket) -> None:
    """Serves until SIGTERM or SIGINT, then lets running requests finish within the drain time; the rest are told and settled."""
    django.setup()  # the protocol is imported before the application
    config = uvicorn.Config(
        "aigateway.asgi:application",
        http="aigateway.door.protocol:BoundedHttpProtocol",
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=settings.BEHIND_PROXY,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=settings.DRAIN_S,
        backlog=BACKLOG,
    )
    DrainingServer(config).run(sockets=[listener])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m aigateway.process.web", description=__doc__)
    parser.add_argument("--fd", type=int, help="a listening socket that was passed on; without it HOST and PORT are bound")
    inherited = parser.parse_args().fd
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aigateway.settings")
    if inherited is not None:
        serve(socket.socket(fileno=inherited))
        return
    try:
        serve(bind(settings.HOST, settings.PORT))
    except AddressUnavailable as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
