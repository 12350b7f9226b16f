"""Events from bytes: WHATWG line ends only, exact raws, any split, bounded."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.upstream.errors import BodyTooLarge
from providers.upstream.sse import SseParser

# Every separator str.splitlines knows and an event stream does not.
NO_LINE_ENDS = "\u2028\u2029\u0085\x0b\x0c\x1c\x1d\x1e"

FRAGMENTS = [
    *(b"data: a", b"data:b", b"data", b": note", b"event: e", b"id: 1", b"retry: 99999999999", b"", b"", b"\n", b"\r", b"\r\n"),
    *(b"\n\n", b"\r\n\r\n", b"data: x\n\n", b"data: y\r\r", b"data: z\r\n\r\n", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xff\xfe"),
]
STREAMS = st.lists(st.sampled_from(FRAGMENTS), max_size=30).map(b"".join)


def parse(*chunks: bytes) -> list[tuple[str, bytes, bytes]]:
    parser = SseParser()
    events = [event for chunk in chunks for event in parser.feed(chunk)] + parser.finish()
    return [(event.event, event.data, event.raw) for event in events]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_U26_all_three_line_ends_and_multi_line_data(end) -> None:
    stream = end.join([b"event: note", b"data: one", b"data:two", b"data", b"", b""])
    assert parse(stream) == [("note", b"one\ntwo\n", stream)]


def test_U26_comments_fields_without_colon_and_absurd_retry_are_ignored() -> None:
    assert [event[:2] for event in parse(b": hi\nretry: 1e999\nid\nnonsense: 1\ndata: x\n\n")] == [("", b""), ("", b"x")]


def test_U26_a_byte_order_mark_is_skipped_once_and_kept_in_the_raw_bytes() -> None:
    stream = b"\xef\xbb\xbfdata: x\n\n\xef\xbb\xbfdata: y\n\n"
    assert parse(stream) == [("", b"x", stream[:12]), ("", b"", stream[12:])]


def test_U26_only_one_blank_after_the_colon_is_dropped() -> None:
    assert parse(b"data:  x\n\n")[0][1] == b" x"


@pytest.mark.parametrize("before", [b"", b"data: w\n\n"])
def test_a_comment_line_is_an_event_without_data(before) -> None:
    assert parse(before + b": OPENROUTER PROCESSING\n\ndata: x\n:inside\ndata: y\n\n")[-3:] == [
        ("", b"", b": OPENROUTER PROCESSING\n"),
        ("", b"", b"\n"),
        ("", b"x\ny", b"data: x\n:inside\ndata: y\n\n"),
    ]


@pytest.mark.parametrize("heartbeat", [b":\n", b": ping\r\n", b"\n", b"\r\n"])
def test_U27_a_heartbeat_does_not_wait_for_a_blank_line(heartbeat) -> None:
    parser = SseParser()
    parser.feed(b"data: x\n\n")
    assert [event.raw for _ in range(3) for event in parser.feed(heartbeat)] == [heartbeat] * 3


def test_a_last_event_without_its_blank_line_comes_with_finish() -> None:
    parser = SseParser()
    assert parser.feed(b"data: [DONE]\n") == []
    assert [event.data for event in parser.finish()] == [b"[DONE]"]
    assert parser.finish() == []


@pytest.mark.parametrize("character", NO_LINE_ENDS)
def test_U25_other_separators_are_text(character) -> None:
    text = f'{{"content":"a{character}b"}}'.encode()
    assert parse(b"data: " + text + b"\n\n") == [("", text, b"data: " + text + b"\n\n")]


def test_U26_a_crlf_split_between_chunks_is_one_line_end() -> None:
    assert parse(b"data: x\r\n\r", b"\ndata: y\r", b"\n\r", b"\n") == [("", b"x", b"data: x\r\n\r\n"), ("", b"y", b"data: y\r\n\r\n")]


@given(stream=STREAMS, cuts=st.lists(st.integers(0, 200), max_size=10))
def test_U24_any_split_gives_the_same_events(stream, cuts) -> None:
    places = sorted({min(cut, len(stream)) for cut in cuts})
    chunks = [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]
    assert parse(*chunks) == parse(stream)


@given(stream=STREAMS)
def test_U24_byte_by_byte_gives_the_same_events(stream) -> None:
    assert parse(*(stream[i : i + 1] for i in range(len(stream)))) == parse(stream)


@given(stream=st.one_of(STREAMS, st.binary(max_size=200)))
def test_the_raw_bytes_add_up_to_the_input(stream) -> None:
    assert b"".join(raw for _, _, raw in parse(stream)) == stream


@given(stream=STREAMS)
def test_nothing_is_lost_before_the_end(stream) -> None:
    parser = SseParser()
    events = parser.feed(stream)
    assert sum(len(event.raw) for event in events) + parser.pending_bytes == len(stream)


def test_U22_an_event_without_end_is_refused_at_its_limit() -> None:
    parser = SseParser(max_event_bytes=1000)
    for _ in range(10):
        parser.feed(b"x" * 100)
    with pytest.raises(BodyTooLarge):
        parser.feed(b"x")


def test_a_whole_event_above_the_limit_is_refused_too() -> None:
    with pytest.raises(BodyTooLarge):
        SseParser(max_event_bytes=1000).feed(b"data: " + b"x" * 1000 + b"\n\n")


def test_many_events_in_one_chunk_do_not_count_together() -> None:
    assert len(SseParser(max_event_bytes=100).feed(b"data: x\n\n" * 1000)) == 1000


def test_parsing_time_grows_linearly() -> None:
    def seconds(chunks: int) -> float:
        parser = SseParser(max_event_bytes=1 << 30)
        started = time.process_time()
        for _ in range(chunks):
            parser.feed(b"y" * 1000)
        return time.process_time() - started

    seconds(200)
    assert seconds(16_000) < 40 * max(seconds(1_000), 1e-3)
