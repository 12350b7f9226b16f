"""M05: four hundred at once on a budget worth a hundred, through two web processes sharing one database."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from itertools import cycle, islice
from pathlib import Path

import aiohttp
import pytest

from tests.load import rig
from tests.load.mixed import Stage
from tests.load.served import web_processes

pytestmark = pytest.mark.both_databases

TOKENS = 5
NANO_PER_TOKEN = 1_000
WORTH = 100
RAISES = (10,) * 10


async def ask_at_once(stage: Stage, count: int) -> Counter[int]:
    """Every process is asked as often."""
    body = {"model": "sim-small", "max_tokens": TOKENS, "messages": [{"role": "user", "content": f"[sim tokens={TOKENS}]"}]}
    headers = {"authorization": f"Bearer {stage.key}"}

    async def ask(session: aiohttp.ClientSession, origin: str) -> int:
        async with session.post(f"{origin}/v1/chat/completions", json=body, headers=headers) as answer:
            await answer.read()
            return answer.status

    connector = aiohttp.TCPConnector(limit=count)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
        return Counter(await asyncio.gather(*(ask(session, origin) for origin in islice(cycle(stage.origins), count))))


@pytest.mark.timeout(180)
@pytest.mark.django_db(transaction=True)
def test_M05_two_processes_admit_exactly_what_the_budget_is_worth(tmp_path: Path) -> None:
    """Two processes can only err on the last calls that fit, so the cap is raised and reached again and again."""
    cap_nano = 0
    with web_processes(tmp_path, 2) as stage:
        for worth in (WORTH, *RAISES):
            cap_nano += worth * TOKENS * NANO_PER_TOKEN
            stage.in_django("tests.load.limit", "sim-small", str(NANO_PER_TOKEN * 1_000_000), str(cap_nano))
            assert asyncio.run(ask_at_once(stage, 4 * worth)) == {200: worth, 402: 3 * worth}
        books = json.loads(stage.in_django("tests.load.books"))
        billed = json.loads(rig.fetch(f"{stage.simulator}/_sim/bill"))["lines"]
    assert len(billed) == WORTH + sum(RAISES)
    assert [cap_nano, 0] in [[posted, held] for _, posted, held in books["budget_periods"]]
