"""Lines from bytes: LF and CR LF only, exact raws, any split, bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.upstream.errors import BodyTooLarge
from providers.upstream.ndjson import NdjsonParser

FRAGMENTS = [b'{"a":1}', b"\n", b"\r\n", b"\r", b"", b" ", b"\xe2\x80\xa8", b"\xc2\x85", b"\x0b", b"\xff\xfe", b'{"b":"x\\n"}\n']
STREAMS = st.lists(st.sampled_from(FRAGMENTS), max_size=30).map(b"".join)


def parse(*chunks: bytes) -> list[tuple[bytes, bytes]]:
    parser = NdjsonParser()
    events = [event for chunk in chunks for event in parser.feed(chunk)] + parser.finish()
    return [(event.data, event.raw) for event in events]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_line_ends_with_lf_or_crlf_and_blank_lines_say_nothing(end) -> None:
    assert parse(b'{"a":1}' + end + end + b"{}" + end) == [(b'{"a":1}', b'{"a":1}' + end), (b"", end), (b"{}", b"{}" + end)]


@pytest.mark.parametrize("character", "\u2028\u2029\u0085\x0b\x0c\x1c\x1d\x1e\r")
def test_U25_other_separators_are_text(character) -> None:
    line = f'{{"content":"a{character}b"}}'.encode()
    assert parse(line + b"\n") == [(line, line + b"\n")]


def test_a_last_line_without_its_end_comes_with_finish() -> None:
    parser = NdjsonParser()
    assert parser.feed(b'{"done":true}') == []
    assert parser.pending_bytes == 13
    assert [event.data for event in parser.finish()] == [b'{"done":true}']
    assert parser.finish() == []


@given(stream=STREAMS, cuts=st.lists(st.integers(0, 200), max_size=10))
def test_U24_any_split_gives_the_same_lines(stream, cuts) -> None:
    places = sorted({min(cut, len(stream)) for cut in cuts})
    chunks = [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]
    assert parse(*chunks) == parse(stream)
    assert b"".join(raw for _, raw in parse(*chunks)) == stream


def test_U22_a_line_without_end_is_refused_at_its_limit() -> None:
    parser = NdjsonParser(max_event_bytes=1000)
    for _ in range(10):
        parser.feed(b"x" * 100)
    with pytest.raises(BodyTooLarge):
        parser.feed(b"x")


def test_a_whole_line_above_the_limit_is_refused_and_many_short_ones_do_not_count_together() -> None:
    with pytest.raises(BodyTooLarge):
        NdjsonParser(max_event_bytes=1000).feed(b"x" * 1000 + b"\n")
    assert len(NdjsonParser(max_event_bytes=100).feed(b'{"a":1}\n' * 1000)) == 1000
