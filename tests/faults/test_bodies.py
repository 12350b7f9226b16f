"""Bodies nobody should send, at every POST path: refused in the client's own words, before anything is called or written down."""

from __future__ import annotations

import json
import re

import pytest

from tests.aigateway.conftest import LiveGateway
from tests.faults.doors import DOORS, Door
from tests.providers.simulator.fixtures import SimulatorHandle
from usage.models import Attempt, LedgerEntry

NO_JSON = (
    b"", b" ", b"\n\r\t ", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf{}", "{}".encode("utf-16"), "{}".encode("utf-32"),
    b"{", b"}", b"[", b"]", b"{]",
    b"{}{}", b"{} x", b"{,}", b'{"a"}', b'{"a":}', b'{"a":1,}', b"{'a':1}", b"{a:1}", b'{"a":01}', b'{"a":+1}', b'{"a":.5}', b'{"a":5.}',
    b'{"a":0x10}', b'{"a":1_000}', b'{"a":True}', b'{"a":undefined}', b'{"a":"\x01"}', b'{"a":"\n"}', b'{"a":"\\x41"}', b'{"a":"\\u12"}',
    b'{"a":"open}', b'{"a":"\xff"}', b'{"a":"\xc0\xaf"}', b'{"a":"\xed\xa0\x80"}', b"// c\n{}", b"{/* c */}", b"a=1&b=2", b"<xml/>", b"nul",
    b"--b\r\nContent-Disposition: form-data\r\n\r\n--b--\r\n",
)  # fmt: skip
NO_OBJECT = (b"null", b"true", b"0", b'"text"', b"[]", b"[{}]", b"1e5")
NO_VALUE = (
    b"NaN", b"Infinity", b"-Infinity",
    b"1e400", b"-1e400", b'"\\u0000"', b'"\\ud800"', b'"\\udc00\\ud800"', b'["\\udfff"]', b'{"\\ud800":1}',
    b'{"\\u0000":1}', b'{"k":1,"k":2}', b'[{"k":1,"\\u006b":2}]',
)  # fmt: skip


UNREADABLE = "NaN|Infinity|too large for a number|NUL|surrogate|appears twice|nests deeper"
DECLARED = (None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "application/jsonx")


def refuse_everything(gateway: LiveGateway, door: Door, corpus: list[bytes], why: str = "") -> None:
    """Each body is refused in the envelope of its format, for a reason that matches ``why``."""
    for raw in corpus:
        answer = door.post(gateway, raw)
        assert answer.status_code == 400, (raw[:80], answer.text)
        assert door.own_words(answer.json()), (raw[:80], answer.text)
        assert re.search(why, answer.text), (raw[:80], answer.text)
        assert "Traceback" not in answer.text


def nothing_happened(simulator: SimulatorHandle) -> bool:
    return not (Attempt.objects.exists() or LedgerEntry.objects.exists() or simulator.journal())


def test_B01_what_is_no_json_object_is_refused_and_costs_nothing(gateway: LiveGateway, simulator: SimulatorHandle) -> None:
    for door in DOORS.values():
        refuse_everything(gateway, door, [*NO_JSON, *NO_OBJECT])
    assert nothing_happened(simulator)


def test_B01_a_body_that_does_not_say_it_is_json_is_refused(gateway: LiveGateway, simulator: SimulatorHandle) -> None:
    for door in DOORS.values():
        for content_type in DECLARED:
            answer = door.post(gateway, door.raw(), content_type=content_type)
            assert (answer.status_code, door.own_words(answer.json())) == (415, True), (content_type, answer.text)
    assert nothing_happened(simulator)


def nested(depth: int) -> list[bytes]:
    """As the value of a field: one level is the body itself."""
    inner = depth - 1
    return [b"[" * inner + b"]" * inner, b'{"a":' * inner + b"1" + b"}" * inner]


def test_B02_B04_B05_B06_B07_values_readers_disagree_on_are_refused(gateway: LiveGateway, simulator: SimulatorHandle) -> None:
    for door in DOORS.values():
        body = door.raw()[:-1]
        first = next(iter(door.body))
        values = [*NO_VALUE, *nested(65), *nested(100_000)]
        refuse_everything(gateway, door, [body + b', "metadata": ' + value + b"}" for value in values], UNREADABLE)
        twice = [body + b', "' + name + b'": 1}' for name in (first.encode(), b"\\u%04x" % ord(first[0]) + first[1:].encode())]
        refuse_everything(gateway, door, twice, "appears twice")
    assert nothing_happened(simulator)


def test_B14_integers_longer_than_any_parser_takes_are_refused(gateway: LiveGateway, simulator: SimulatorHandle) -> None:
    for door in DOORS.values():
        body = door.raw()[:-1]
        numbers = [b"9" * 41, b"9" * 4301, b"-" + b"9" * 100_000, b"0." + b"1" * 4301, b"1e" + b"9" * 4301]
        refuse_everything(gateway, door, [body + b', "seed": ' + number + b"}" for number in numbers], "digits")
    assert nothing_happened(simulator)


BAD_NUMBERS = (-1, 0, 10**30, 10**12, "1", True, [1], {}, 1.5)
LIMITS = {
    "chat": ("max_tokens", "max_completion_tokens", "n"),
    "generate": ("max_output_tokens", "max_tokens"),
    "messages": ("max_tokens",),
    "gemini": ("generationConfig.maxOutputTokens", "generationConfig.candidateCount", "generation_config.max_output_tokens"),
    "embeddings": ("dimensions",),
    "gemini_embed": ("outputDimensionality", "output_dimensionality"),
}
SAMPLING = {
    "chat": ("temperature", "top_p", "top_logprobs"),
    "generate": ("temperature", "top_p"),
    "messages": ("temperature", "top_p"),
    "gemini": ("generationConfig.temperature", "generationConfig.topP"),
}
OUT_OF_RANGE = (-1, -0.5, 99, 10**30, "1", True, [1], {})


def with_field(door: Door, place: str, value: object) -> bytes:
    outer, _, inner = place.partition(".")
    return door.raw(**{outer: {inner: value} if inner else value})


@pytest.mark.parametrize("name", LIMITS)
def test_B06_B14_a_limit_that_is_no_sensible_number_is_refused_by_name(
    gateway: LiveGateway,
    simulator: SimulatorHandle,
    name: str,
) -> None:
    door = DOORS[name]
    for place in LIMITS[name]:
        for value in BAD_NUMBERS:
            answer = door.post(gateway, with_field(door, place, value))
            assert (answer.status_code, door.own_words(answer.json())) == (400, True), (place, value, answer.text)
            assert place.rpartition(".")[2].replace("_", "").lower() in answer.text.replace("_", "").lower(), (place, value, answer.text)
    assert nothing_happened(simulator)


@pytest.mark.parametrize("name", SAMPLING)
def test_B06_B08_a_setting_out_of_its_range_is_refused_by_name(gateway: LiveGateway, simulator: SimulatorHandle, name: str) -> None:
    door = DOORS[name]
    for place in SAMPLING[name]:
        for value in OUT_OF_RANGE:
            answer = door.post(gateway, with_field(door, place, value))
            assert (answer.status_code, door.own_words(answer.json())) == (400, True), (place, value, answer.text)
            assert place.rpartition(".")[2] in answer.text, (place, value, answer.text)
    assert nothing_happened(simulator)


def test_B08_a_wrong_type_is_refused_by_name(gateway: LiveGateway, simulator: SimulatorHandle) -> None:
    for door in DOORS.values():
        for name in door.body:
            for value in (1, True, {"a": 1}, [1.5], [None], [[[]]]):
                if name == "content" and isinstance(value, dict):
                    continue
                if name == "max_tokens" and value == 1:
                    continue
                answer = door.post(gateway, door.raw(**{name: value}))
                assert (answer.status_code, door.own_words(answer.json())) == (400, True), (name, value, answer.text)
                assert name in answer.text, (name, value, answer.text)
                assert len(answer.content) < 2000
    assert nothing_happened(simulator)


@pytest.mark.parametrize("name", ["chat", "generate", "messages"])
def test_B07_a_model_beside_the_body_is_no_model(gateway: LiveGateway, name: str) -> None:
    door = DOORS[name]
    answer = door.post(gateway, door.raw(), query="?model=sim-large&provider=nobody&api_key=x")
    assert (answer.status_code, answer.headers["X-Gateway-Model"]) == (200, door.body["model"]), answer.text


@pytest.mark.parametrize("name", ["gemini", "gemini_stream", "gemini_count"])
def test_B07_the_path_names_the_model_and_a_body_that_names_another_is_refused(gateway: LiveGateway, name: str) -> None:
    door = DOORS[name]
    answer = door.post(gateway, door.raw(model="models/sim-large"))
    assert (answer.status_code, door.own_words(answer.json())) == (400, True), answer.text
    assert LedgerEntry.objects.count() == 0


@pytest.mark.parametrize("name", ["gemini", "chat"])
def test_B07_a_limit_in_two_spellings_is_refused(gateway: LiveGateway, name: str) -> None:
    door = DOORS[name]
    two = {"max_tokens": 5, "max_completion_tokens": 9} if name == "chat" else {"generationConfig": {}, "generation_config": {}}
    assert door.post(gateway, json.dumps({**door.body, **two}).encode()).status_code == 400
