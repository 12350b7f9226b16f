"""Streams that are one JSON array, cut anywhere."""

from __future__ import annotations

import json
import random

import pytest

from providers.upstream.errors import BodyTooLarge
from providers.upstream.json_array import JsonArrayParser, SseOrJsonParser

ELEMENTS = [{"text": 'a "quoted" ]}{[ \\ brace'}, {"deep": [{"x": {}}, [1, "\u2028", "\\\\"]]}, {}]
PRETTY = ("[" + ",\r\n".join(json.dumps(element, indent=2) for element in ELEMENTS) + "\n]\n").encode()


def read(parser, chunks) -> tuple[list, bytes]:
    events = [event for chunk in chunks for event in parser.feed(chunk)] + parser.finish()
    return [json.loads(event.data) for event in events if event.data], b"".join(event.raw for event in events)


@pytest.mark.parametrize("size", [1, 2, 3, 7, len(PRETTY)])
def test_the_elements_are_the_same_however_the_stream_is_cut(size: int) -> None:
    chunks = [PRETTY[start : start + size] for start in range(0, len(PRETTY), size)]
    assert read(JsonArrayParser(), chunks) == (ELEMENTS, PRETTY)
    assert read(SseOrJsonParser(), chunks) == (ELEMENTS, PRETTY)


def test_random_values_survive_random_cuts() -> None:
    dice = random.Random(7)
    for _ in range(300):
        values = [{"k": "".join(dice.choices('ab"\\{}[]\n,é', k=dice.randrange(12))), "n": [{}] * dice.randrange(3)} for _ in range(3)]
        body = json.dumps(values, ensure_ascii=dice.random() < 0.5, indent=dice.choice([None, 1])).encode()
        cuts = sorted(dice.choices(range(len(body)), k=4))
        chunks = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        assert read(JsonArrayParser(), chunks) == (values, body)


def test_an_error_that_comes_instead_of_the_array_is_one_element() -> None:
    assert read(SseOrJsonParser(), [b' {"error"', b': {"code": 400}}\n'])[0] == [{"error": {"code": 400}}]


def test_an_element_cut_in_the_middle_is_handed_on_as_it_is() -> None:
    parser = JsonArrayParser()
    assert [event.data for event in parser.feed(b'[{"a":1},\n{"b"')] == [b'{"a":1}']
    assert [(event.data, event.raw) for event in parser.finish()] == [(b'{"b"', b',\n{"b"')]


def test_an_element_above_the_limit_is_refused_however_it_arrives() -> None:
    for chunks in ([b'[{"a":"' + b"x" * 100 + b'"}]'], [b'[{"a":"', *([b"x"] * 100)]):
        with pytest.raises(BodyTooLarge):
            read(JsonArrayParser(max_event_bytes=50), chunks)


def test_many_small_elements_are_no_large_one() -> None:
    assert len(JsonArrayParser(max_event_bytes=50).feed(b"[" + b'{"a":1},' * 100)) == 100


def test_events_of_the_server_sent_kind_pass_through() -> None:
    raw = b"data: {}\r\n\r\ndata: [1]\r\n\r\n"
    parser = SseOrJsonParser()
    events = [event for byte in raw for event in parser.feed(bytes([byte]))] + parser.finish()
    assert ([event.data for event in events], b"".join(event.raw for event in events)) == ([b"{}", b"[1]"], raw)


def test_a_body_of_blanks_holds_nothing() -> None:
    assert read(SseOrJsonParser(), [b" \r\n", b"\n"]) == ([], b" \r\n\n")
