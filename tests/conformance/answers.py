"""Judges what an adapter makes of a recorded answer: whole, streamed, cut anywhere, or an error."""

from __future__ import annotations

import random
from typing import Any

from providers.upstream.adapters import Adapter
from providers.upstream.errors import InvalidBody, StreamTruncated, UpstreamError
from providers.upstream.types import HttpResponse, Wire
from tests.conformance import adapter_says
from tests.conformance.adapter_says import Streamed
from tests.conformance.exchange import Exchange
from tests.conformance.frames import Frame, frames_of
from tests.conformance.heard import BROKEN_OFF, Heard
from tests.conformance.json_text import parsed
from tests.conformance.oracle_errors import CLASSES, LABELS, class_in_success, class_of, wait_of
from tests.conformance.verdict import Difference, expect
from tests.conformance.wires import ORACLES

SPLIT_SEEDS = (1, 2, 3)
CUTS = 12


def http_response(exchange: Exchange) -> HttpResponse:
    return HttpResponse(exchange.status, exchange.headers, exchange.body)


def judge_error(exchange: Exchange, adapter: Adapter) -> None:
    """Raises ``Difference`` where the class or the wait is not what wire.md says."""
    expected = class_of(exchange.status, exchange.body, exchange.headers)
    label = exchange.error_label
    if label in LABELS and expected not in LABELS[label]:
        raise Difference("error label of the recording (against wire.md's rules)", expected, label)
    error = adapter.parse_error(http_response(exchange))
    _expect_class("error", expected, error)
    wait = wait_of(exchange.body, exchange.headers)
    if wait is not None and not isinstance(error, CLASSES["context_length"]):
        expect("error.retry_after_s", round(wait, 3), None if error.retry_after_s is None else round(error.retry_after_s, 3))


def _expect_class(path: str, expected: str, error: UpstreamError | None) -> None:
    narrower = [kind for name, kinds in CLASSES.items() if name not in (expected, "unsupported") for kind in kinds]
    wanted = CLASSES[expected]
    fits = isinstance(error, wanted)
    if expected == "bad_request":  # the base of narrower ones
        fits = fits and not isinstance(error, tuple(kind for kind in narrower if issubclass(kind, CLASSES["bad_request"][0])))
    if expected == "unsupported":  # "another model may be able to" is the better word for a fault of the caller
        fits = fits or type(error) is CLASSES["bad_request"][0]
    if not fits:
        raise Difference(path, expected, "nothing" if error is None else f"{type(error).__name__} ({error.detail[:80]})")


# --------------------------------------------------------------------------- whole answers


def judge_whole(exchange: Exchange, adapter: Adapter) -> None:
    body = parsed(exchange.body)
    if isinstance(body, list) and len(body) == 1 and adapter.wire is Wire.TEXT_GENERATION:
        body = body[0]
    expected = ORACLES[adapter.wire].whole(body) if isinstance(body, dict) else None
    try:
        said = adapter_says.of_response(adapter.parse_chat(http_response(exchange)))
    except UpstreamError as error:
        _expect_refused(expected, error)
        return
    if expected is None or expected.error is not None:
        raise Difference("answer", "an error" if expected else "InvalidBody", said.plain())
    _expect_same("answer", expected, said)


def _expect_refused(expected: Heard | None, error: UpstreamError) -> None:
    if expected is None:
        if not isinstance(error, InvalidBody):
            raise Difference("answer", "InvalidBody", type(error).__name__)
    elif expected.error is not None:
        _expect_class("error in a success", class_in_success(expected.error), error)
    elif not (_is_broken_off(expected) and isinstance(error, StreamTruncated)):
        raise Difference("answer", expected.plain(), f"{type(error).__name__}: {error.detail}")


def _is_broken_off(heard: Heard) -> bool:
    return any(turn.finish == BROKEN_OFF for turn in heard.turns.values())


def _expect_same(path: str, expected: Heard, said: Heard) -> None:
    """Where the provider gave a call no id, the adapter makes one up: there must be one, whatever it is."""
    wanted, got = expected.plain(), said.plain()
    for index, turn in got["turns"].items():
        calls = wanted["turns"].get(index, {}).get("calls", [])
        for number, (known, call) in enumerate(zip(calls, turn["calls"], strict=False)):
            if not call["id"]:
                raise Difference(f"{path}.turns[{index}].calls[{number}].id", known["id"] or "one made up", "")
            known["id"] = known["id"] or call["id"]
    expect(path, wanted, got)


# --------------------------------------------------------------------------- streams


def judge_stream(exchange: Exchange, adapter: Adapter) -> None:
    """Whole, split at seeded places (the same result) and cut before the finish (never complete)."""
    body = exchange.body
    frames = frames_of(body)
    expected = ORACLES[adapter.wire].stream(frames)
    as_it_came = adapter_says.of_stream(adapter, [body])
    if not (_ends_within_an_event(frames) and _refuses_the_rest(expected, as_it_came)):
        _judge_stream_once("stream", expected, as_it_came, body)
    for seed in SPLIT_SEEDS:
        again = adapter_says.of_stream(adapter, _split(body, seed))
        if type(again.error) is not type(as_it_came.error):
            raise Difference(f"stream split with seed {seed}.error", as_it_came.error, again.error)
        expect(f"stream split with seed {seed}", as_it_came.heard.plain(), again.heard.plain())
        expect(f"stream split with seed {seed}.complete", as_it_came.heard.is_complete, again.heard.is_complete)
        if again.error is None:
            expect(f"stream split with seed {seed}.bytes", body, again.raw)
    for cut in _cuts(exchange, adapter.wire):
        _judge_cut(adapter, body, cut)


def _judge_stream_once(path: str, expected: Heard, streamed: Streamed, body: bytes) -> None:
    if expected.error is not None:
        _expect_class(f"{path}.error", class_in_success(expected.error), streamed.error)
        return
    if streamed.error is not None:
        if not (_is_broken_off(expected) and isinstance(streamed.error, StreamTruncated)):
            raise Difference(path, expected.plain(), f"{type(streamed.error).__name__}: {streamed.error.detail}")
        return
    _expect_same(path, expected, streamed.heard)
    expect(f"{path}.complete", expected.is_complete, streamed.heard.is_complete)
    expect(f"{path}.bytes", body, streamed.raw)


def _ends_within_an_event(frames: list[Frame]) -> bool:
    return bool(frames) and frames[-1].value is None and frames[-1].data.strip() != b"[DONE]"


def _refuses_the_rest(expected: Heard, streamed: Streamed) -> bool:
    """A recording that breaks off: the half event at its end may be refused, once everything before it was understood."""
    if expected.error is not None or not isinstance(streamed.error, InvalidBody):
        return False
    _expect_same("stream", expected, streamed.heard)
    expect("stream.complete", expected.is_complete, streamed.heard.is_complete)
    return True


def _judge_cut(adapter: Adapter, body: bytes, cut: int) -> None:
    for chunks in ([body[:cut]], _split(body[:cut], cut)):
        streamed = adapter_says.of_stream(adapter, chunks)
        if streamed.heard.is_complete:
            raise Difference(f"stream cut at byte {cut}", "incomplete", f"complete: {streamed.heard.plain()}")


def _split(body: bytes, seed: int) -> list[bytes]:
    dice = random.Random(seed)
    places = sorted(dice.randrange(len(body) + 1) for _ in range(min(len(body), 200)))
    return [body[start:end] for start, end in zip([0, *places], [*places, len(body)], strict=True)]


def _cuts(exchange: Exchange, wire: Wire) -> list[int]:
    """Seeded places before the end of the event that finishes; the very last byte before it always among them."""
    finishing = next((frame for frame in frames_of(exchange.body) if ORACLES[wire].finishes(frame)), None)
    last = (finishing.end if finishing else len(exchange.body)) - 2
    if last < 1:
        return []
    dice = random.Random(len(exchange.body))
    return sorted({last, finishing.start if finishing else last, *(dice.randrange(last + 1) for _ in range(CUTS))})


# --------------------------------------------------------------------------- what nobody asked the gateway for


def judge_foreign(exchange: Exchange, adapter: Adapter) -> None:
    """A successful answer of an API the gateway does not offer: no answer may be invented from it."""
    if exchange.is_stream:
        said: Any = adapter_says.of_stream(adapter, [exchange.body]).heard
    else:
        try:
            said = adapter_says.of_response(adapter.parse_chat(http_response(exchange)))
        except UpstreamError:
            return
    if any(turn.text or turn.calls or turn.reasoning for turn in said.turns.values()):
        raise Difference("answer of an API that is not offered", "nothing", said.plain())
