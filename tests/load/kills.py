"""``python -m tests.load.kills --kills 200``: the money rehearsal under fire.

Fifty clients send while the web process and the worker with its beat are killed with SIGKILL, one after the other, at random
instants; then every line of the ledger is compared with the simulator's own bill, as in ``tests.load.mixed``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from tests.load import rig
from tests.load.cpu import command_line, descendants
from tests.load.mixed import REQUEST_S, SupervisedStage, compare, mixture, send, whole_gateway
from tests.load.reconciliation import Verdict

CLIENTS = 50
VICTIMS = ("aigateway.process.web", "celery")
PAUSE_S = (0.0, 2.0)
"""After the gateway answers again: requests are anywhere by then, from just sent to half streamed."""


async def under_fire(stage: SupervisedStage, kills: int, seed: int) -> Counter[str]:
    """Keeps ``CLIENTS`` requests under way until so many processes were killed; counts what clients saw."""
    dice = random.Random(seed)
    seen: Counter[str] = Counter()
    over = asyncio.Event()

    async def client(session: aiohttp.ClientSession, number: int) -> None:
        for wanted in mixture(100_000, seed * 1000 + number):
            if over.is_set():
                return
            outcome = await send(session, stage, wanted)
            seen[outcome] += 1
            if outcome in ("cut off", "refused with 503"):
                await asyncio.sleep(0.1)  # as a client would before it tries again

    timeout = aiohttp.ClientTimeout(total=REQUEST_S, sock_read=15)
    connector = aiohttp.TCPConnector(limit=CLIENTS + 1)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session, asyncio.TaskGroup() as clients:
        for number in range(CLIENTS):
            clients.create_task(client(session, number))
        async for victim in _victims(session, stage, kills, dice):
            seen[f"killed {victim}"] += 1
        over.set()
    return seen


async def _victims(session: aiohttp.ClientSession, stage: SupervisedStage, kills: int, dice: random.Random) -> AsyncIterator[str]:
    done = 0
    while done < kills:
        while not await _is_ready(session, stage):  # noqa: ASYNC110 - no event of ours: another process comes up
            await asyncio.sleep(0.05)
        await asyncio.sleep(dice.uniform(*PAUSE_S))
        words = dice.choices(VICTIMS, weights=(3, 1))[0]
        found = [pid for pid in descendants(stage.supervisor.pid) if words in command_line(pid)]
        if found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(dice.choice(found), signal.SIGKILL)
                done += 1
                yield words


async def _is_ready(session: aiohttp.ClientSession, stage: SupervisedStage) -> bool:
    try:
        async with session.get(f"{stage.origin}/healthz") as answer:
            return answer.status == 200
    except (aiohttp.ClientError, ConnectionError, TimeoutError):
        return False


def rehearse(stage: SupervisedStage, kills: int, seed: int) -> tuple[Verdict, Counter[str]]:
    seen = asyncio.run(under_fire(stage, kills, seed))
    stage.supervisor.wait_for_url(f"{stage.origin}/readyz")
    return compare(stage), seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sqlite", action="store_true", help="use SQLite instead of a private PostgreSQL")
    options = parser.parse_args()
    with rig.scratch_folder() as folder:
        if options.sqlite:
            verdict, seen = _rehearse(folder, None, options)
        else:
            with rig.durable_postgres(folder / "postgresql") as postgres:
                verdict, seen = _rehearse(folder, postgres.url, options)
    sys.stdout.write(f"{dict(seen)}\n{verdict}\n")
    sys.exit(bool(verdict.faults))


def _rehearse(folder: Path, database_url: str | None, options: argparse.Namespace) -> tuple[Verdict, Counter[str]]:
    with whole_gateway(folder, database_url, AIGATEWAY_RESTART_PAUSE_MAX_S="1") as stage:
        return rehearse(stage, options.kills, options.seed)


if __name__ == "__main__":
    main()
