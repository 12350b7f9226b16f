"""What the Gemini adapter reads: whole answers, streams, errors, listings, counts and vectors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.upstream import errors
from providers.upstream.adapters import ADAPTERS
from providers.upstream.types import Capability, EmbeddingsRequest, FinishReason, HttpResponse, TokenLogprob, TokenUsage, Wire
from tests.providers.upstream.words import says

ADAPTER = ADAPTERS[Wire.GEMINI]
USAGE = {"promptTokenCount": 10, "candidatesTokenCount": 4, "thoughtsTokenCount": 6, "totalTokenCount": 20}
CALL = {"functionCall": {"name": "weather", "args": {"city": "Rome"}}, "thoughtSignature": "sig"}


def answer(*parts: dict, reason: str | None = "STOP", **more: Any) -> dict:
    candidate = {"content": {"parts": list(parts), "role": "model"}, **({"finishReason": reason} if reason else {}), **more}
    return {"candidates": [candidate], "usageMetadata": USAGE, "modelVersion": "gemini-3-flash", "responseId": "r1"}


def response(body: Any, status: int = 200) -> HttpResponse:
    return HttpResponse(status, {"content-type": "application/json"}, json.dumps(body).encode())


def parsed(body: Any):
    return ADAPTER.parse_chat(response(body))


def streamed(*bodies: dict):
    """All deltas and the parser, from server-sent events with CRLF."""
    framing, parser = ADAPTER.event_parser(), ADAPTER.stream_parser()
    raw = b"".join(b"data: " + json.dumps(body).encode() + b"\r\n\r\n" for body in bodies)
    return [parser.feed(event) for event in [*framing.feed(raw), *framing.finish()]], parser


# --------------------------------------------------------------------------- whole answers


def test_thoughts_text_and_calls_are_told_apart() -> None:
    found = parsed(answer({"text": "hm", "thought": True}, {"text": "It "}, {"text": "is."}, CALL, CALL))
    [choice] = found.choices
    assert (choice.text, [part.text for part in choice.reasoning], choice.finish_reason) == ("It is.", ["hm"], FinishReason.TOOL_CALLS)
    assert [(call.id, call.arguments, call.signature) for call in choice.tool_calls] == [
        ("call_r1_0", '{"city":"Rome"}', "sig"),
        ("call_r1_1", '{"city":"Rome"}', "sig"),
    ]
    assert (found.id, found.model) == ("r1", "gemini-3-flash")


def test_a_call_keeps_the_id_it_came_with_and_gets_the_same_one_every_time_without() -> None:
    own = {"functionCall": {"name": "f", "id": "x7"}}
    assert parsed(answer(own)).choices[0].tool_calls[0].id == "x7"
    nameless = {**answer(CALL), "responseId": ""}
    first, second = (parsed(nameless).choices[0].tool_calls[0].id for _ in range(2))
    assert first == second
    assert first.startswith("call_")


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("STOP", FinishReason.STOP),
        ("MAX_TOKENS", FinishReason.LENGTH),
        *(
            (name, FinishReason.CONTENT_FILTER)
            for name in ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR")
        ),
        ("LANGUAGE", FinishReason.CONTENT_FILTER),
        ("SOMETHING_NEW", FinishReason.STOP),
        ("FINISH_REASON_UNSPECIFIED", None),
        (None, None),
    ],
)
def test_every_finish_reason_has_its_meaning(reason, expected) -> None:
    assert parsed(answer({"text": "a"}, reason=reason)).choices[0].finish_reason is expected


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "OTHER", "UNEXPECTED_TOOL_CALL"])
def test_an_answer_the_model_broke_off_never_looks_finished(reason: str) -> None:
    with pytest.raises(errors.StreamTruncated, check=says(reason)):
        parsed(answer({"text": "a"}, reason=reason))
    with pytest.raises(errors.StreamTruncated, check=says(reason)):
        streamed(answer({"text": "a"}, reason=None), answer(reason=reason))


def test_a_call_of_an_undeclared_tool_is_the_clients_to_refuse() -> None:
    assert parsed(answer(CALL, reason="UNEXPECTED_TOOL_CALL")).choices[0].finish_reason is FinishReason.TOOL_CALLS
    assert parsed(answer(CALL, reason="MAX_TOKENS")).choices[0].finish_reason is FinishReason.LENGTH


def test_a_blocked_prompt_is_an_empty_filtered_answer_with_its_usage() -> None:
    body = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 7, "totalTokenCount": 7}}
    found = parsed(body)
    assert [(choice.text, choice.finish_reason) for choice in found.choices] == [("", FinishReason.CONTENT_FILTER)]
    assert found.usage == TokenUsage(input_tokens=7, output_tokens=0)
    [delta], parser = streamed(body)
    assert (delta.finish_reason, parser.is_complete, parser.usage_is_final) == (FinishReason.CONTENT_FILTER, True, True)


def test_an_answer_without_candidates_or_a_reason_is_none() -> None:
    with pytest.raises(errors.InvalidBody):
        parsed({"usageMetadata": USAGE})


def test_an_error_in_a_success_is_raised() -> None:
    with pytest.raises(errors.Overloaded):
        parsed({"error": {"code": 503, "status": "UNAVAILABLE", "message": "The model is overloaded."}})


def test_logprobs_are_read() -> None:
    result = {
        "chosenCandidates": [{"token": "a", "logProbability": -0.1}, {"token": "b", "logProbability": -1}],
        "topCandidates": [{"candidates": [{"token": "a", "logProbability": -0.1}, {"token": "c", "logProbability": -3}]}],
    }
    assert parsed(answer({"text": "ab"}, logprobsResult=result)).choices[0].logprobs == (
        TokenLogprob("a", -0.1, (("a", -0.1), ("c", -3.0))),
        TokenLogprob("b", -1.0),
    )


# --------------------------------------------------------------------------- usage


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        (USAGE, TokenUsage(input_tokens=10, output_tokens=4, reasoning_tokens=6)),
        ({"promptTokenCount": 14, "totalTokenCount": 14}, TokenUsage(input_tokens=14, output_tokens=0)),
        ({"trafficType": "ON_DEMAND"}, TokenUsage()),
        ({}, TokenUsage()),
        (
            {"promptTokenCount": 100, "cachedContentTokenCount": 60, "candidatesTokenCount": 1, "toolUsePromptTokenCount": 30},
            TokenUsage(input_tokens=70, cache_read_tokens=60, output_tokens=1),
        ),
        (
            {
                "promptTokenCount": 100,
                "cachedContentTokenCount": 50,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 20}, {"modality": "AUDIO", "tokenCount": 80}],
                "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 45}],
                "candidatesTokenCount": 9,
                "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 7}],
            },
            TokenUsage(input_tokens=15, cache_read_tokens=50, audio_input_tokens=35, output_tokens=2, audio_output_tokens=7),
        ),
    ],
)
def test_usage_is_split_into_buckets_that_share_nothing(reported: dict, expected: TokenUsage) -> None:
    assert parsed({**answer({"text": "a"}), "usageMetadata": reported}).usage == expected


# --------------------------------------------------------------------------- streams


def test_the_last_usage_wins_and_may_follow_the_finish() -> None:
    first = {**answer({"text": "It "}, reason=None), "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3}}
    second = {**answer({"text": "is."}), "usageMetadata": {}}
    deltas, parser = streamed(first, second)
    assert (parser.is_complete, parser.usage) == (True, TokenUsage(input_tokens=3, output_tokens=0))
    deltas, parser = streamed(first, second, {"usageMetadata": USAGE, "responseId": "r1"})
    assert "".join(delta.text for delta in deltas) == "It is."
    assert parser.usage == TokenUsage(input_tokens=10, output_tokens=4, reasoning_tokens=6)
    assert (parser.usage_is_final, parser.upstream_id, any(delta.is_end for delta in deltas)) == (True, "r1", False)


def test_an_end_without_a_finish_reason_is_no_end() -> None:
    _, parser = streamed(answer({"text": "It "}, reason=None))
    assert (parser.is_complete, parser.usage_is_final) == (False, False)


def test_calls_are_numbered_across_events_and_finish_as_calls() -> None:
    deltas, parser = streamed(answer(CALL, reason=None), answer(CALL, reason=None), answer({"text": ""}))
    calls = [call for delta in deltas for call in delta.tool_calls]
    assert [(call.index, call.id, call.name, call.signature) for call in calls] == [
        (0, "call_r1_0", "weather", "sig"),
        (1, "call_r1_1", "weather", "sig"),
    ]
    assert (deltas[-1].finish_reason, parser.is_complete) == (FinishReason.TOOL_CALLS, True)


def test_alternatives_finish_one_by_one() -> None:
    both = {"candidates": [{"index": 0, "content": {"parts": [{"text": "a"}]}}, {"index": 1, "content": {"parts": [{"text": "b"}]}}]}
    first, second = ({"candidates": [{"index": index, "finishReason": "STOP"}]} for index in (0, 1))
    deltas, parser = streamed(both, first)
    assert (deltas[0].text, deltas[0].others[0].text, deltas[0].others[0].choice_index) == ("a", "b", 1)
    assert parser.is_complete is False
    assert streamed(both, first, second)[1].is_complete is True


def test_an_error_event_is_raised_as_its_class() -> None:
    with pytest.raises(errors.RateLimited):
        streamed(answer({"text": "a"}, reason=None), {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow down"}})


# --------------------------------------------------------------------------- errors


def refused(status: int, message: str = "", reason: str = "", *details: dict, grpc: str = "INVALID_ARGUMENT") -> errors.UpstreamError:
    info = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}] if reason else []
    return ADAPTER.parse_error(
        response({"error": {"code": status, "message": message, "status": grpc, "details": [*info, *details]}}, status)
    )


QUOTA = "You exceeded your current quota, please check your plan and billing details."


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (refused(400, "API key not valid.", "API_KEY_INVALID"), errors.AuthRejected),
        (refused(403, "Method doesn't allow unregistered callers", grpc="PERMISSION_DENIED"), errors.AuthRejected),
        (refused(403, "Your API key was reported as leaked.", grpc="PERMISSION_DENIED"), errors.AuthRejected),
        (refused(403, "API has not been used", "SERVICE_DISABLED", grpc="PERMISSION_DENIED"), errors.AuthRejected),
        (refused(403, "No access to this model", grpc="PERMISSION_DENIED"), errors.PermissionRefused),
        (refused(401, "Expected OAuth 2 access token", "CREDENTIALS_MISSING", grpc="UNAUTHENTICATED"), errors.AuthRejected),
        (refused(400, "User location is not supported for the API use.", grpc="FAILED_PRECONDITION"), errors.PermissionRefused),
        (refused(404, "models/x is not found for API version v1beta", grpc="NOT_FOUND"), errors.ModelNotFound),
        (refused(400, "The input token count (1050000) exceeds the maximum number of tokens allowed (1048576)."), errors.ContextTooLong),
        (refused(400, "Function calling is not enabled for models/gemma-3-1b-it"), errors.UnsupportedRequest),
        (refused(400, "Please use a valid role: user, model."), errors.CallerFault),
        (refused(500, "An internal error has occurred.", grpc="INTERNAL"), errors.ServerFailed),
        (refused(503, "The model is overloaded.", grpc="UNAVAILABLE"), errors.Overloaded),
        (refused(504, "Deadline expired.", grpc="DEADLINE_EXCEEDED"), errors.ServerFailed),
        (refused(429, "Resource has been exhausted (e.g. check quota).", grpc="RESOURCE_EXHAUSTED"), errors.RateLimited),
        (refused(429, QUOTA + "\n* Quota exceeded for metric: m, limit: 0, model: x"), errors.QuotaExhausted),
    ],
)
def test_every_error_has_its_class(error: errors.UpstreamError, kind: type) -> None:
    assert type(error) is kind


@pytest.mark.parametrize(
    ("quota", "kind"), [("PerModelPerMinute", errors.RateLimited), ("RequestsPerDayPerProject", errors.QuotaExhausted)]
)
def test_only_the_id_of_the_quota_tells_a_minute_from_a_day(quota: str, kind: type) -> None:
    details = ({"violations": [{"quotaId": f"GenerateContent{quota}-FreeTier"}]}, {"retryDelay": "3.5s"})
    error = refused(429, QUOTA, "", *details, grpc="RESOURCE_EXHAUSTED")
    assert (type(error), error.retry_after_s) == (kind, 3.5)


def test_the_flat_form_of_the_interactions_api_is_understood() -> None:
    flat = {"error": {"message": "Resource has been exhausted (e.g. check quota).", "code": "too_many_requests"}}
    assert type(ADAPTER.parse_error(response(flat, 429))) is errors.RateLimited


# --------------------------------------------------------------------------- models, counts, vectors


def test_models_are_listed_page_by_page_with_what_they_can() -> None:
    chat = ["generateContent", "countTokens"]
    rows = [
        {"name": "models/gemini-3-flash", "displayName": "Flash", "inputTokenLimit": 9, "outputTokenLimit": 5,
         "supportedGenerationMethods": chat, "thinking": True},
        {"name": "models/gemma-3", "supportedGenerationMethods": chat},
        {"name": "models/gemini-2.5-flash-image", "supportedGenerationMethods": chat},
        {"name": "models/gemini-embedding-001", "supportedGenerationMethods": ["embedContent"]},
        {"name": "models/imagen-4", "supportedGenerationMethods": ["predict"]},
    ]  # fmt: skip
    flash, *rest = ADAPTER.parse_models(response({"models": rows, "nextPageToken": "a/b="}))[0]
    assert (flash.name, flash.display_name, flash.context_window_tokens, flash.max_output_tokens) == ("gemini-3-flash", "Flash", 9, 5)
    assert flash.capabilities == frozenset(Capability) - {Capability.EMBEDDINGS}
    assert [(row.name, row.capabilities) for row in rest] == [
        ("gemma-3", frozenset({Capability.CHAT, Capability.STREAM, Capability.COUNT_TOKENS})),
        ("gemini-2.5-flash-image", frozenset()),
        ("gemini-embedding-001", frozenset({Capability.EMBEDDINGS})),
        ("imagen-4", frozenset()),
    ]
    assert ADAPTER.render_models("a/b=").path == "/models?pageSize=1000&pageToken=a%2Fb%3D"
    assert ADAPTER.parse_models(response({"models": []})) == ((), None)


def test_a_count_is_read() -> None:
    assert ADAPTER.parse_count_tokens(response({"totalTokens": 36})).input_tokens == 36
    with pytest.raises(errors.InvalidBody):
        ADAPTER.parse_count_tokens(response({}))


def test_vectors_come_in_either_form() -> None:
    one, two = (EmbeddingsRequest("e", inputs, 1) for inputs in (("a",), ("a", "b")))
    batch = ADAPTER.parse_embeddings(two, response({"embeddings": [{"values": [1, 2]}, {"values": [3, 4]}]}))
    assert (batch.vectors, batch.usage) == (((1.0, 2.0), (3.0, 4.0)), TokenUsage())
    single = ADAPTER.parse_embeddings(one, response({"embedding": {"values": [1.5]}, "usageMetadata": {"promptTokenCount": 11}}))
    assert (single.vectors, single.usage) == (((1.5,),), TokenUsage(input_tokens=11, output_tokens=0))
    with pytest.raises(errors.InvalidBody):
        ADAPTER.parse_embeddings(two, response({"embedding": {"values": [1.5]}}))
