"""M05: four hundred at once on a budget worth a hundred, through two web processes sharing one database."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import aiohttp
import pytest
from django.db import connections

from tests.load import rig
from tests.load.mixed import Stage, whole_gateway

pytestmark = pytest.mark.both_databases

TOKENS = 5
NANO_PER_TOKEN = 1_000
WORTH = 100


async def ask_at_once(stage: Stage, count: int) -> Counter[int]:
    body = {"model": "sim-small", "max_tokens": TOKENS, "messages": [{"role": "user", "content": f"[sim tokens={TOKENS}]"}]}
    headers = {"authorization": f"Bearer {stage.key}"}

    async def ask(session: aiohttp.ClientSession) -> int:
        async with session.post(f"{stage.origin}/v1/chat/completions", json=body, headers=headers) as answer:
            await answer.read()
            return answer.status

    connector = aiohttp.TCPConnector(limit=count)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
        return Counter(await asyncio.gather(*(ask(session) for _ in range(count))))


@pytest.mark.timeout(180)
def test_M05_two_processes_admit_exactly_what_the_budget_is_worth(tmp_path: Path) -> None:
    if connections["default"].vendor == "postgresql":
        with rig.durable_postgres(tmp_path / "postgresql") as postgres:
            _admit(tmp_path, postgres.url)
    else:
        _admit(tmp_path, None)


def _admit(folder: Path, database_url: str | None) -> None:
    with whole_gateway(folder, database_url, web_processes=2) as stage:
        cap_nano = WORTH * TOKENS * NANO_PER_TOKEN
        rig.in_django(stage.environment, "tests.load.limit", "sim-small", str(NANO_PER_TOKEN * 1_000_000), str(cap_nano))
        statuses = asyncio.run(ask_at_once(stage, 4 * WORTH))
        books = json.loads(rig.in_django(stage.environment, "tests.load.books"))
        billed = json.loads(rig.fetch(f"{stage.simulator}/_sim/bill"))["lines"]
    assert statuses == {200: WORTH, 402: 3 * WORTH}
    assert len(billed) == WORTH
    assert [cap_nano, 0] in [[posted, held] for _, posted, held in books["budget_periods"]]
