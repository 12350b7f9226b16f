"""``python -m tests.load.delay``: how long an event of a stream stays in the gateway, beside a plain nginx proxy.

From the provider's write to the client's read, on one clock; so it holds both event loops' queues and the machine's noise,
and the figure of nginx says how much of it is not the gateway's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import uvloop

from tests.load import rig
from tests.load.nginx import nginx, program
from tests.load.stamps import MODEL

_STAMP = re.compile(rb"@(\d+)@")


@dataclass(frozen=True, slots=True)
class Delays:
    """Milliseconds per event."""

    ms: list[float]

    def quantile(self, share: float) -> float:
        return sorted(self.ms)[min(int(len(self.ms) * share), len(self.ms) - 1)]


def measure(origin: str, key: str, streams: int, events: int, pause_ms: int) -> Delays:
    """``streams`` at once, begun evenly over one pause, so that the load is steady."""
    return uvloop.run(_measure(origin, key, streams, events, pause_ms))


async def _measure(origin: str, key: str, streams: int, events: int, pause_ms: int) -> Delays:
    found: list[float] = []
    body = json.dumps(
        {"model": MODEL, "stream": True, "max_tokens": events, "seed": pause_ms, "messages": [{"role": "user", "content": "Go"}]}
    )
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    underway = 0
    everybody = asyncio.Event()

    async def read(session: aiohttp.ClientSession, number: int) -> None:
        nonlocal underway
        await asyncio.sleep(pause_ms / 1000 * number / streams)
        async with session.post(f"{origin}/v1/chat/completions", data=body, headers=headers) as answer:
            seen = b""
            async for piece in answer.content.iter_any():
                now_ns = time.monotonic_ns()
                if everybody.is_set():
                    found.extend((now_ns - int(stamp)) / 1e6 for stamp in _STAMP.findall(piece))
                elif not seen:
                    underway += 1
                    if underway == streams:
                        everybody.set()
                seen = (seen + piece)[-64:]
            assert answer.status == 200, seen
            assert seen.endswith(b"data: [DONE]\n\n"), seen

    connector = aiohttp.TCPConnector(limit=streams)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=300)) as session,
        asyncio.TaskGroup() as group,
    ):
        for number in range(streams):
            group.create_task(read(session, number))
    return Delays(found)


@contextmanager
def sides(folder: Path) -> Iterator[dict[str, tuple[str, str]]]:
    """Origin and key of nginx (where it is installed) and of the gateway, before one provider."""
    with ExitStack() as stack:
        provider = stack.enter_context(rig.running([sys.executable, "-m", "tests.load.stamps"], folder / "stamps.log"))
        origin = provider.wait_for_line(r"listening on (\S+)/v1\n")
        found = {"direct": (origin, "any-key")}
        if program() is not None:
            found["nginx"] = (stack.enter_context(nginx(folder / "nginx", origin))[1], "any-key")
        key, port = rig.new_gateway_key(), rig.free_port()
        postgres = stack.enter_context(rig.durable_postgres(folder / "postgresql"))
        environment = rig.gateway_environment(folder / "var", port, key, postgres.url)
        rig.manage(environment, "migrate", "--verbosity", "0")
        rig.in_django(environment, "tests.load.prepare", origin, MODEL)
        web = stack.enter_context(rig.running([sys.executable, "-m", "aigateway.process.web"], folder / "web.log", environment))
        web.wait_for_url(f"http://127.0.0.1:{port}/readyz")
        yield found | {"gateway": (f"http://127.0.0.1:{port}", key)}


def table(results: dict[str, list[Delays]]) -> str:
    """Medians over the rounds, as Markdown."""
    lines = ["| through | events | median ms | p95 ms | p99 ms | p99.9 ms |", "|---|---:|---:|---:|---:|---:|"]
    for name, rounds in results.items():
        cells = [f"{statistics.median(each.quantile(share) for each in rounds):.2f}" for share in (0.5, 0.95, 0.99, 0.999)]
        lines.append(f"| {name} | {sum(len(each.ms) for each in rounds)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, default=100, help="at once (default: %(default)s)")
    parser.add_argument("--events", type=int, default=100, help="of one stream (default: %(default)s)")
    parser.add_argument("--pause-ms", type=int, default=100, help="between the events of one stream (default: %(default)s)")
    options = parser.parse_args()
    with rig.scratch_folder() as folder, sides(folder) as all_sides:
        for origin, key in all_sides.values():
            measure(origin, key, 10, 10, 20)
        results: dict[str, list[Delays]] = {name: [] for name in all_sides}
        for _ in range(options.rounds):
            for name, (origin, key) in all_sides.items():
                results[name].append(measure(origin, key, options.streams, options.events, options.pause_ms))
    sys.stdout.write(table(results) + "\n")


if __name__ == "__main__":
    main()
