"""Starts and stops a simulator: inside an event loop, or as a program of its own."""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from providers.simulator.bill import Bill, BillLine
from providers.simulator.controls import Settings
from providers.simulator.journal import Journal
from providers.simulator.server import Simulator

try:
    import uvloop
except ImportError:  # not on every platform
    _new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
else:
    _new_loop = uvloop.new_event_loop

BACKLOG = 1024
SHUTDOWN_S = 0.1


@dataclass(frozen=True, slots=True)
class RunningSimulator:
    """``origin`` is scheme, host and port; ``base_url`` is what a provider row or an SDK wants (it ends in ``/v1``)."""

    origin: str
    simulator: Simulator

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"

    @property
    def journal(self) -> Journal:
        return self.simulator.journal

    def bill(self) -> list[BillLine]:
        return self.simulator.bill.lines()

    def configure(self, settings: Settings) -> None:
        self.simulator.configure(settings)


@asynccontextmanager
async def running_simulator(
    settings: Settings | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    bill_path: Path | None = None,
    require_key: str | None = None,
    listener: socket.socket | None = None,
) -> AsyncIterator[RunningSimulator]:
    """A listening simulator in this event loop; port 0 picks a free one. On exit open answers are broken off.

    With ``listener``, a socket that is bound already, host and port are not used.
    """
    bill = Bill(bill_path)
    simulator = Simulator(settings or Settings(), bill, require_key)
    runner = web.ServerRunner(simulator, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=BACKLOG) if listener is None else web.SockSite(runner, listener, backlog=BACKLOG)
        await site.start()
        bound = runner.addresses[0]
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        yield RunningSimulator(f"http://{shown}:{bound[1]}", simulator)
    finally:
        await runner.cleanup()
        bill.close()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8001, help="port to listen on; 0 picks a free one (default: %(default)s)")
    parser.add_argument("--fd", type=int, help="a listening socket that was passed on, instead of host and port")
    parser.add_argument("--bill", type=Path, metavar="FILE", help="also append every bill line to FILE, as JSON lines")
    parser.add_argument("--require-key", metavar="KEY", help="accept only this key (default: any key, or none)")
    parser.add_argument("--seed", type=int, default=0, help="makes other, equally repeatable answers and faults (default: 0)")
    parser.add_argument("--tokens", type=int, default=32, help="length of an answer (default: %(default)s)")
    parser.add_argument("--latency-ms", type=int, default=0, help="wait before every answer (default: %(default)s)")
    parser.add_argument("--chunk-ms", type=int, default=0, help="wait between stream chunks (default: %(default)s)")


def run(options: argparse.Namespace, announce: Callable[[str], object]) -> None:
    """Serves until SIGTERM or SIGINT. Announces one line with the address as soon as it listens."""
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        runner.run(_serve(options, announce))


async def _serve(options: argparse.Namespace, announce: Callable[[str], object]) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    settings = Settings(latency_ms=options.latency_ms, chunk_ms=options.chunk_ms, tokens=options.tokens, seed=options.seed)
    listener = None if options.fd is None else socket.socket(fileno=options.fd)
    async with running_simulator(
        settings, host=options.host, port=options.port, bill_path=options.bill, require_key=options.require_key, listener=listener
    ) as running:
        announce(f"Simulator listening on {running.base_url}\n")
        await stopped.wait()
