"""What a provider says a call cost is read from the text, exactly, wherever it stands; nonsense is nothing."""

from __future__ import annotations

import pytest

from providers.upstream.adapters import ADAPTERS
from providers.upstream.adapters.reported_cost import with_reported_cost
from providers.upstream.errors import UpstreamError
from providers.upstream.types import EmbeddingsRequest, HttpResponse, TokenUsage, Wire
from tests.providers.upstream.words import says
from tests.usage.payloads import read_stream

USAGE = TokenUsage(input_tokens=1, output_tokens=1)


def reported(usage: str) -> int | None:
    return with_reported_cost(USAGE, b'{"usage": %s}' % usage.encode()).reported_cost_nano


@pytest.mark.parametrize(
    ("usage", "nano"),
    [
        ('{"cost": 0.0004970133333333333}', 497_013),
        ('{"cost": 1.4e-7}', 140),
        ('{"cost": 0}', 0),
        ('{"cost": 12}', 12 * 10**9),
        # half a nano-dollar: to the even one; a float would have lost the last digits of the third
        ('{"cost": 0.0000000005}', 0),
        ('{"cost": 0.0000000015}', 2),
        ('{"cost": 0.00000000050000000000000001}', 1),
        ('{"cost": 99999.9999999995}', 99_999_999_999_999 + 1),
        ('{"cost": {"total_cost": 0.00619}}', 6_190_000),
        ('{"cost": {"currency": "USD", "input_cost": 0.000000012, "total_cost": 0.000000012}}', 12),
        ('{"cost_in_usd_ticks": 6696500}', 669_650),
        ('{"cost_in_usd_ticks": 15}', 2),
        ('{"cost_in_usd_ticks": 25}', 2),
        ('{"cost_in_usd_ticks": 0}', None),
        ('{"cost_in_usd_ticks": 1.5}', None),
        ('{"cost_in_usd_ticks": true}', None),
        ('{"cost": {"currency": "EUR", "total_cost": 1}}', None),
        ('{"cost": {"total_cost": "1"}}', None),
        ('{"cost": {}}', None),
        ('{"cost": null}', None),
        ('{"cost": true}', None),
        ('{"cost": "0.1"}', None),
        ('{"cost": -0.1}', None),
        ('{"cost": 1e300}', None),
        ('{"cost": 1000000}', None),
        ('{"cost": 1e-300}', 0),
        ('{"cost": [1]}', None),
        ('{"costs": 1}', None),
        ('[{"cost": 1}]', None),
    ],
)
def test_R504_the_figure_is_exact_and_believable_or_none(usage: str, nano: int | None) -> None:
    assert reported(usage) == nano


def test_text_that_is_no_json_reports_nothing() -> None:
    assert with_reported_cost(USAGE, b'{"cost": 1') is USAGE
    assert with_reported_cost(USAGE, b'"cost"') is USAGE
    assert with_reported_cost(USAGE, b'{"usage": {"cost": "\xff"}}') is USAGE


def test_a_cost_somewhere_else_in_the_answer_is_not_the_calls() -> None:
    assert with_reported_cost(USAGE, b'{"choices": [{"message": {"content": "x", "cost": 3}}], "usage": {}}') is USAGE


CHAT = b'"usage":{"prompt_tokens":3,"completion_tokens":4,"cost":0.25}'
PLAIN = b'"usage":{"input_tokens":3,"output_tokens":4,"cost":0.25}'
WHOLE = {
    Wire.OPENAI_CHAT: b'{"choices":[{"message":{"content":"o"},"finish_reason":"stop"}],%s}' % CHAT,
    Wire.OPENAI_RESPONSES: b'{"status":"completed","output":[],%s}' % PLAIN,
    Wire.ANTHROPIC_MESSAGES: b'{"type":"message","content":[],"stop_reason":"end_turn",%s}' % PLAIN,
}
STREAMED = {
    Wire.OPENAI_CHAT: b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],%s}\n\n' % CHAT,
    Wire.OPENAI_RESPONSES: b'data: {"type":"response.completed","response":{"output":[],%s}}\n\n' % PLAIN,
    Wire.ANTHROPIC_MESSAGES: b'data: {"type":"message_delta","delta":{},%s}\n\n' % PLAIN,
}
SAID = TokenUsage(input_tokens=3, output_tokens=4, reported_cost_nano=250_000_000)


@pytest.mark.parametrize("wire", WHOLE)
def test_R504_whole_answers_tell_it(wire: Wire) -> None:
    assert ADAPTERS[wire].parse_chat(HttpResponse(200, {}, WHOLE[wire])).usage == SAID


@pytest.mark.parametrize("wire", STREAMED)
def test_R504_streams_tell_it(wire: Wire) -> None:
    assert read_stream(ADAPTERS[wire], STREAMED[wire]).usage == SAID


def test_R504_a_failed_response_still_cost_what_it_says() -> None:
    parser = ADAPTERS[Wire.OPENAI_RESPONSES].stream_parser()
    events = ADAPTERS[Wire.OPENAI_RESPONSES].event_parser()
    failed = STREAMED[Wire.OPENAI_RESPONSES].replace(b"response.completed", b"response.failed")
    with pytest.raises(UpstreamError, check=says("without a reason")):
        parser.feed(events.feed(failed)[0])
    assert parser.usage == SAID


def test_R504_embeddings_tell_it() -> None:
    body = b'{"data":[{"embedding":[0.5]}],"usage":{"prompt_tokens":3,"cost":0.000000012}}'
    answer = ADAPTERS[Wire.OPENAI_CHAT].parse_embeddings(EmbeddingsRequest("m", ("x",), body_bytes=1), HttpResponse(200, {}, body))
    assert answer.usage == TokenUsage(input_tokens=3, output_tokens=0, reported_cost_nano=12)


# --------------------------------------------------------------------------- images counted apart


@pytest.mark.parametrize(
    ("wire", "body", "usage"),
    [
        (
            Wire.OPENAI_RESPONSES,
            b'{"status":"completed","output":[],"usage":{"input_tokens":300,"output_tokens":1,'
            b'"input_tokens_details":{"cached_tokens":50,"image_tokens":200}}}',
            TokenUsage(input_tokens=50, cache_read_tokens=50, image_input_tokens=200, output_tokens=1),
        ),
        (
            Wire.OPENAI_CHAT,
            b'{"choices":[{"message":{"content":"o"}}],"usage":{"prompt_tokens":300,"completion_tokens":1,'
            b'"prompt_tokens_details":{"cached_tokens":200,"image_tokens":200}}}',
            TokenUsage(input_tokens=0, cache_read_tokens=200, image_input_tokens=100, output_tokens=1),
        ),
        (
            Wire.GEMINI,
            b'{"candidates":[{"content":{"parts":[{"text":"o"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":300,'
            b'"candidatesTokenCount":1,"cachedContentTokenCount":150,"promptTokensDetails":[{"modality":"IMAGE","tokenCount":200}],'
            b'"cacheTokensDetails":[{"modality":"IMAGE","tokenCount":120},{"modality":"TEXT","tokenCount":30}]}}',
            TokenUsage(input_tokens=70, cache_read_tokens=150, image_input_tokens=80, output_tokens=1),
        ),
    ],
)  # fmt: skip
def test_M10_image_tokens_are_a_bucket_of_their_own_and_never_counted_twice(wire: Wire, body: bytes, usage: TokenUsage) -> None:
    assert ADAPTERS[wire].parse_chat(HttpResponse(200, {}, body)).usage == usage
    assert usage.total_input_tokens == 300
