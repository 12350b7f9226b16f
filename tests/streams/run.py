"""Plays streams through a gateway and checks each: ``python -m tests.streams.run`` is the long run, see docs/conformance.md."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

from tests.streams.client import Meaning, ask, meaning
from tests.streams.script import Ending, Script, script

CONCURRENCY = 64
WIRES = ("openai", "anthropic")


async def play(host: str, port: int, key: str, seeds: Iterable[int]) -> Counter[str]:
    """One stream per seed through models ``openai`` and ``anthropic``, each behind two upstreams, ``a`` and ``b``.

    Raises ``AssertionError`` naming the seed. Returns how many streams ended how.
    """
    ended: Counter[str] = Counter()
    gate = asyncio.Semaphore(CONCURRENCY)

    async def one(seed: int) -> None:
        dialect, wire = WIRES[seed % 2], WIRES[seed // 2 % 2]
        async with gate:
            received = await ask(host, port, key, dialect, wire, seed)
        scripts = [script(wire, seed, mark) for mark in ("a", "b")]
        seen = meaning(dialect, received)
        where = f"seed {seed}, {dialect} client, {wire} upstream"
        assert not received.cut, f"{where}: the gateway's own answer was cut"
        _check(where, scripts, seen)
        if received.status == 200 and dialect == wire:
            _check_bytes(where, scripts, received.body, has_terminal=seen.has_terminal)
        ended["proper" if seen.has_terminal else "error" if received.status == 200 else "refused"] += 1

    async with asyncio.TaskGroup() as tasks:
        for seed in seeds:
            tasks.create_task(one(seed))
    return ended


def _check(where: str, scripts: list[Script], seen: Meaning) -> None:
    sources = [played for played in scripts if played.text.startswith(seen.text)] if seen.text else scripts
    assert sources, f"{where}: the text is no prefix of one upstream's: {seen.text!r}"
    if seen.has_finish:
        assert any(played.finish_sent and played.text == seen.text for played in sources), (
            f"{where}: an invented finish after {seen.text!r}"
        )
    if seen.has_terminal:
        assert any(played.terminal_sent and played.text == seen.text for played in sources), f"{where}: an invented end after {seen.text!r}"
        assert not seen.has_error, f"{where}: an end and an error"
    else:
        assert seen.has_error, f"{where}: neither an end nor an error"
        if seen.text:
            assert not any(played.terminal_sent for played in sources), f"{where}: a proper end was lost"


def _check_bytes(where: str, scripts: list[Script], body: bytes, *, has_terminal: bool) -> None:
    """Same dialect: the upstream's own bytes, to the last complete event; after a break, our error event and nothing else."""
    if not has_terminal:
        body, found, _ = body.rpartition(b"event: error\ndata: ")
        assert found, f"{where}: no error event"
    sources = [played for played in scripts if played.sent.startswith(body)]
    assert sources, f"{where}: same dialect, other bytes"
    if has_terminal and all(played.ending is Ending.PROPER for played in sources):
        assert any(played.sent == body for played in sources), f"{where}: a proper stream lost its last bytes"
