"""``python -m tests.load.strangers``: what a thousand connections without a key cost a web process and its other clients.

Four crowds, one after the other: idle ones, ones that drip the head of a request, ones that drip the body of one (answered by
the head alone, then thrown away), and ones that drip a form to the log-in page. While each stands, one client with a key goes
on asking; what it waits is compared with what it waited alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import uvloop

from tests.load import rig

MODEL = "sim-small"
DRIP_PAUSE_S = 1.0
"""Between two bytes of a dripping connection, as slow as the gateway's deadlines let it live for a while."""
REST_S = 10.0
ARRIVAL_S = 10.0
"""A crowd comes evenly over so long, and goes on so: what all do in one moment, or as fast as they can, is a flood and not this
experiment."""
_POST = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n"
CROWDS: Mapping[str, bytes | None] = {
    "idle": None,
    "dripping heads": b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    "dripping bodies": _POST % b"/v1/chat/completions",
    "dripping forms": _POST % b"/admin/login/",
}


@dataclass(frozen=True, slots=True)
class Found:
    """``grown_bytes`` is what the process holds more than before the crowd came; milliseconds are the bystander's."""

    crowd: str
    grown_bytes: int
    median_ms: float
    p99_ms: float
    failed: int
    asked: int


def rss_bytes(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def measure(origin: str, pid: int, key: str, connections: int, seconds: float) -> list[Found]:
    """The bystander alone first, then beside each crowd, which lives in a process of its own."""
    uvloop.run(_bystander(origin, key, 1.0))  # what a first request costs is not the crowd's
    before = rss_bytes(pid)
    found = [uvloop.run(_found("nobody", origin, pid, key, seconds, before))]
    for name in CROWDS:
        command = [sys.executable, "-m", "tests.load.strangers", "--crowd", name, "--origin", origin, "--connections", str(connections)]
        with subprocess.Popen(command, cwd=rig.ROOT, stdout=subprocess.PIPE) as crowd:
            assert crowd.stdout is not None
            assert crowd.stdout.readline() == b"all are here\n"
            found.append(uvloop.run(_found(name, origin, pid, key, seconds, before)))
            crowd.kill()
    return found


async def _be_a_crowd(origin: str, name: str, connections: int) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(connections):
            group.create_task(_stranger(origin, CROWDS[name], ARRIVAL_S * number / connections))
        await asyncio.sleep(ARRIVAL_S + DRIP_PAUSE_S)
        sys.stdout.write("all are here\n")
        sys.stdout.flush()


async def _found(crowd: str, origin: str, pid: int, key: str, seconds: float, before: int) -> Found:
    waited_ms, failed = await _bystander(origin, key, seconds)
    waited_ms.sort()
    p99_ms = waited_ms[min(int(len(waited_ms) * 0.99), len(waited_ms) - 1)]
    return Found(crowd, rss_bytes(pid) - before, waited_ms[len(waited_ms) // 2], p99_ms, failed, len(waited_ms))


async def _bystander(origin: str, key: str, seconds: float) -> tuple[list[float], int]:
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]})
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    waited_ms: list[float] = []
    failed = 0
    until = time.monotonic() + seconds
    async with aiohttp.ClientSession(headers=headers) as session:
        while time.monotonic() < until:
            began = time.monotonic()
            async with session.post(f"{origin}/v1/chat/completions", data=body) as answer:
                await answer.read()
                failed += answer.status != 200
            waited_ms.append((time.monotonic() - began) * 1000)
            await asyncio.sleep(0.01)
    return waited_ms, failed


async def _stranger(origin: str, sent: bytes | None, pause_s: float) -> None:
    """Comes again a while after it was sent away."""
    address = urlsplit(origin)
    await asyncio.sleep(pause_s)
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(address.hostname, address.port)
            try:
                await _drip(writer, sent)
            finally:
                writer.close()
        await asyncio.sleep(REST_S)


async def _drip(writer: asyncio.StreamWriter, sent: bytes | None) -> None:
    if sent is None:
        await asyncio.sleep(3600)
        return
    writer.write(sent)
    while not writer.is_closing():
        await writer.drain()
        await asyncio.sleep(DRIP_PAUSE_S)
        writer.write(b"a")


@contextmanager
def gateway(folder: Path) -> Iterator[tuple[str, int, str]]:
    """Its address, its process and a key: one web process on an SQLite file, the simulator behind it."""
    key, port = rig.new_gateway_key(), rig.free_port()
    environment = rig.gateway_environment(folder / "var", port, key, None)
    with rig.simulator(folder) as (_, simulator):
        rig.manage(environment, "migrate", "--verbosity", "0")
        rig.in_django(environment, "tests.load.prepare", simulator)
        command = [sys.executable, "-m", "aigateway.process.web"]
        with rig.running(command, folder / "web.log", environment) as web:
            web.wait_for_url(f"http://127.0.0.1:{port}/readyz")
            yield f"http://127.0.0.1:{port}", web.pid, key


def table(found: list[Found]) -> str:
    lines = ["| crowd | memory more, MiB | bystander's median ms | p99 ms | requests | failed |", "|---|---:|---:|---:|---:|---:|"]
    for one in found:
        cells = f"{one.grown_bytes / 2**20:.1f} | {one.median_ms:.1f} | {one.p99_ms:.1f} | {one.asked} | {one.failed}"
        lines.append(f"| {one.crowd} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crowd", choices=CROWDS, help="be one, and nothing else")
    parser.add_argument("--origin", default="")
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each crowd (default: %(default)s)")
    options = parser.parse_args()
    if options.crowd:
        uvloop.run(_be_a_crowd(options.origin, options.crowd, options.connections))
        return
    with rig.scratch_folder() as folder, gateway(folder) as (origin, pid, key):
        found = measure(origin, pid, key, options.connections, options.seconds)
    sys.stdout.write(table(found) + "\n")


if __name__ == "__main__":
    main()
