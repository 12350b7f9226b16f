"""Every input that ever mattered to a fuzz target, and a few thousand fresh ones, on every run of the suite."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.__main__ import _mutated, inputs
from tests.fuzz.targets import TARGETS

FRESH = 2_000


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_U26_U28_the_corpus_of_the_fuzzer_holds(name: str) -> None:
    known = inputs(name)
    assert len(known) >= 5
    for raw in known:
        TARGETS[name](raw)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_U26_U28_fresh_mutations_hold(name: str) -> None:
    dice, known = random.Random(20261121), inputs(name)
    for _ in range(FRESH):
        TARGETS[name](_mutated(dice.choice(known), dice))


def test_a_parser_that_splits_lines_like_text_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The target can fail: U+2028 as a line end changes the meaning."""
    from providers.upstream import sse

    real = sse.SseParser._parse_block

    def textual(self: sse.SseParser, raw: bytes) -> sse.SseEvent:
        return real(self, b"\n".join(line.encode() for line in raw.decode("utf-8", "replace").splitlines()) + b"\n\n")

    monkeypatch.setattr(sse.SseParser, "_parse_block", textual)
    with pytest.raises(AssertionError):
        TARGETS["sse"](b"12345678data: a\xe2\x80\xa8data: b\r\n\r\n")
