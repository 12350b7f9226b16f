"""The strict JSON reader: what it refuses, under which code, naming which place."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.test import APIRequestFactory

from aigateway.api.errors import PayloadTooLarge
from aigateway.api.parsing import DEPTH_MAX, InvalidJson, StrictJSONParser, parse_strict

REFUSED: list[tuple[bytes, str, str | None, str]] = [
    (b"", "empty_body", None, "empty"),
    (b" \n\t", "empty_body", None, "empty"),
    (b'\xef\xbb\xbf{"a":1}', "byte_order_mark", None, "byte order mark"),
    ('{"a":1}'.encode("utf-16"), "byte_order_mark", None, "byte order mark"),
    (b'{"a":"\xff"}', "not_utf8", None, "byte 7"),
    (b'{"a": 1,}', "invalid_json", None, "line 1, column 9"),
    (b'{"a": 1} x', "invalid_json", None, "column 10"),
    (b"{'a': 1}", "invalid_json", None, "column 2"),
    (b'{"a": "\x01"}', "invalid_json", None, "control character"),
    (b'{"a": "open', "invalid_json", None, "Unterminated"),
    (b'{"a": 1', "invalid_json", None, "line 1"),
    (b'{"a": [1, {"b": 01}]}', "invalid_json", None, "line 1"),
    (b'{"model": "x", "model": "y"}', "duplicate_key", "model", "'model' appears twice"),
    (b'{"m": [{"k": 1, "k": 1}]}', "duplicate_key", "m[0].k", "'m[0].k' appears twice"),
    (b'{"model": "x", "mod\\u0065l": "y"}', "duplicate_key", "model", "appears twice"),
    (b'{"a": NaN}', "number_not_finite", "a", "'a' is NaN"),
    (b'{"a": {"b": -Infinity}}', "number_not_finite", "a.b", "'a.b' is -Infinity"),
    (b'{"a": [0, 1e400]}', "number_not_finite", "a[1]", "'a[1]' is 1e400"),
    (b'{"a": -1e999}', "number_not_finite", "a", "-1e999"),
    (b"NaN", "number_not_finite", None, "The body is NaN"),
    (b'{"a": ' + b"9" * 5000 + b"}", "number_too_long", "a", "5000 digits"),
    (b'{"a": 0.' + b"1" * 5000 + b"}", "number_too_long", "a", "5002 digits"),
    (b'{"a": "x\\u0000y"}', "nul_character", "a", "position 2"),
    (b'{"a\\u0000": 1}', "nul_character", None, "has a key that contains"),
    (b'{"a": ["\\ud800"]}', "lone_surrogate", "a[0]", "surrogate"),
    (b'{"a": "\\udc00\\ud800"}', "lone_surrogate", "a", "position 1"),
    (b'{"a": {"\\udfff": 1}}', "lone_surrogate", "a", "has a key that contains"),
]


@pytest.mark.parametrize(("body", "code", "field", "place"), REFUSED)
def test_refuses_with_a_code_and_names_the_place(body: bytes, code: str, field: str | None, place: str) -> None:
    with pytest.raises(InvalidJson) as refused:
        parse_strict(body)
    assert refused.value.get_codes() == code
    assert refused.value.field == field
    assert place in str(refused.value.detail)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": "\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        ('{"a": "é\u2028"}'.encode(), {"a": "é\u2028"}),
        (b'{"a": 1e-400}', {"a": 0.0}),
        (b'{"a": -0.0, "b": 1e308}', {"a": -0.0, "b": 1e308}),
        (b'{"a": 1000000000000000000000000000000}', {"a": 10**30}),
        (b'{"a": "[[[[{{{{\\"]]"}', {"a": '[[[[{{{{"]]'}),
        (b'{"": 1}', {"": 1}),
        (b"[]", []),
    ],
)
def test_reads_what_is_unusual_but_right(body: bytes, value: Any) -> None:
    assert parse_strict(body) == value


def _nested(depth: int, opening: str) -> bytes:
    if opening == "mixed":
        return b'[{"a":' * (depth // 2) + (b"[" if depth % 2 else b"") + b"1" + (b"]" if depth % 2 else b"") + b"}]" * (depth // 2)
    return b"[" * depth + b"1" + b"]" * depth if opening == "[" else b'{"a":' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize("opening", ["[", "{", "mixed"])
def test_B02_depth_is_capped_before_the_parser_recurses(opening: str) -> None:
    for depth in (DEPTH_MAX - 1, DEPTH_MAX):
        parse_strict(_nested(depth, opening))
    for depth in (DEPTH_MAX + 1, 20_000, 100_000):
        with pytest.raises(InvalidJson) as refused:
            parse_strict(_nested(depth, opening))
        assert refused.value.get_codes() == "too_deep"


@pytest.mark.parametrize("body", [b'"' + b'\\"' * 500_000, b'{"a":' * 200_000, b'["' * 300_000, b'"\\' * 400_000, b"[]," * 300_000])
def test_hostile_bodies_take_linear_time(body: bytes) -> None:
    started = time.process_time()
    with pytest.raises(InvalidJson):
        parse_strict(body)
    assert time.process_time() - started < 2.0


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(JSON_VALUES, st.booleans())
def test_every_storable_value_survives(value: Any, ascii_only: bool) -> None:
    assert parse_strict(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_either_read_or_refused(body: bytes) -> None:
    try:
        parse_strict(body)
    except InvalidJson:
        return


class CountingStream(io.BytesIO):
    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        chunk = super().read(size)
        self.taken += len(chunk)
        return chunk


def test_B03_reads_no_more_than_the_limit() -> None:
    limit = StrictJSONParser.bytes_max
    at_limit = b'{"a":"' + b"x" * (limit - 8) + b'"}'
    assert len(StrictJSONParser().parse(io.BytesIO(at_limit))["a"]) == limit - 8
    stream = CountingStream(b" " * limit * 3)
    with pytest.raises(PayloadTooLarge):
        StrictJSONParser().parse(stream)
    assert stream.taken == limit + 1


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "identity, br"])
def test_B03_compressed_bodies_are_refused(encoding: str) -> None:
    request = APIRequestFactory().put("/", headers={"Content-Encoding": encoding})
    with pytest.raises(UnsupportedMediaType):
        StrictJSONParser().parse(io.BytesIO(b"{}"), "application/json", {"request": request, "encoding": "utf-8"})


def test_other_charsets_than_utf8_are_refused() -> None:
    with pytest.raises(UnsupportedMediaType):
        StrictJSONParser().parse(io.BytesIO(b"{}"), "application/json", {"encoding": "utf-16"})
