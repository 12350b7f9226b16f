"""Every provider's errors land in the right class, whatever shape they come in; hints to wait are read in every form."""

from __future__ import annotations

import json

import pytest

from providers.upstream.adapters import ADAPTERS, credential_headers
from providers.upstream.errors import (
    AuthRejected,
    BillingRefused,
    CallerFault,
    ConnectionLost,
    ConnectTimeout,
    ContentRefused,
    ContextTooLong,
    CredentialLocked,
    ModelNotFound,
    Overloaded,
    PermissionRefused,
    QuotaExhausted,
    RateLimited,
    ServerFailed,
    UnsupportedRequest,
)
from providers.upstream.types import AuthStyle, HttpResponse, RateLimitState, Secret, Wire

OPENAI, ANTHROPIC = ADAPTERS[Wire.OPENAI_CHAT], ADAPTERS[Wire.ANTHROPIC_MESSAGES]


def envelope(message: str = "", type_: str | None = None, code: object = None) -> dict:
    return {"error": {"message": message, "type": type_, "param": None, "code": code}}


def said(kind: str, message: str = "x") -> dict:
    return {"type": "error", "error": {"type": kind, "message": message}}


def google(quota_id: str) -> dict:
    text = "You exceeded your current quota, please check your plan and billing details."
    return {"error": {"code": 429, "message": text, "status": "RESOURCE_EXHAUSTED", "details": [{"violations": [{"quotaId": quota_id}]}]}}


CASES = [
    # OpenAI
    (401, envelope("Incorrect API key provided: sk-***", "invalid_request_error", "invalid_api_key"), AuthRejected),
    (404, envelope("The model `x` does not exist", "invalid_request_error", "model_not_found"), ModelNotFound),
    (400, envelope("The model `x` does not exist", "invalid_request_error", "model_not_found"), ModelNotFound),
    (400, envelope("This model's maximum context length is 8192 tokens.", code="context_length_exceeded"), ContextTooLong),
    (400, envelope("Invalid 'messages': empty array.", "invalid_request_error", "empty_array"), CallerFault),
    (400, envelope("Unsupported parameter: 'stop'", "invalid_request_error", "unsupported_parameter"), UnsupportedRequest),
    (400, envelope("Your request was rejected", code="content_policy_violation"), ContentRefused),
    (429, envelope("Rate limit reached", "requests", "rate_limit_exceeded"), RateLimited),
    (429, envelope("Request too large for gpt-4 ... Limit 400000, Requested 2500013", "tokens", "rate_limit_exceeded"), ContextTooLong),
    (429, envelope("You exceeded your current quota", "insufficient_quota", "insufficient_quota"), QuotaExhausted),
    (429, envelope("Allocated quota exceeded, please increase your quota limit.", code="insufficient_quota"), RateLimited),
    (403, envelope("Country not supported", "request_forbidden", "unsupported_country_region_territory"), PermissionRefused),
    (500, envelope("The server had an error", "server_error"), ServerFailed),
    (503, b"upstream connect error or disconnect/reset before headers", Overloaded),
    # Azure
    (401, {"error": {"code": "401", "message": "Access denied"}}, AuthRejected),
    (404, {"error": {"code": "DeploymentNotFound", "message": "x"}}, ModelNotFound),
    (400, {"error": {"code": "content_filter", "innererror": {"code": "ResponsibleAIPolicyViolation"}, "message": "x"}}, ContentRefused),
    (408, b"upstream request timeout", ServerFailed),
    (413, b"Request Entity Too Large", ContextTooLong),
    (429, {"error": {"code": "429", "message": "x"}}, RateLimited),
    # Mistral's five shapes
    (401, {"detail": "Invalid API Key"}, AuthRejected),
    (401, {"message": "No API key found in request", "request_id": "x"}, AuthRejected),
    (422, {"detail": [{"loc": ["body"], "msg": "Input should be a valid string", "type": "string_type"}]}, CallerFault),
    (422, {"object": "error", "message": {"detail": [{"msg": "bad"}]}, "type": "invalid_request_error", "code": None}, CallerFault),
    (400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "param": None, "code": "1500"}, ModelNotFound),
    (429, {"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "code": "1300"}, RateLimited),
    (500, {"object": "error", "message": "Service unavailable.", "type": "internal_server_error", "code": "1000"}, Overloaded),
    # DeepSeek
    (401, envelope("Authentication Fails", "authentication_error", "invalid_request_error"), AuthRejected),
    (402, envelope("Insufficient Balance", "unknown_error", "invalid_request_error"), BillingRefused),
    (400, envelope("The supported API model names are a or b", "invalid_request_error", "invalid_request_error"), ModelNotFound),
    (422, b"Failed to deserialize the JSON body into the target type", CallerFault),
    # xAI
    (400, {"code": "invalid-argument", "error": "Incorrect API key provided: xa***"}, AuthRejected),
    (503, {"code": "The service is currently unavailable", "error": "The model is at capacity"}, Overloaded),
    # Hugging Face and TGI
    (404, {"error": "Model x does not exist"}, ModelNotFound),
    (400, {"error": ["Error in `stream`: not supported"]}, CallerFault),
    (422, {"error": "Input validation error", "error_type": "validation"}, CallerFault),
    (503, {"error": "Model x is currently loading", "estimated_time": 22.3}, Overloaded),
    (402, {"error": "You have exceeded your monthly included credits"}, QuotaExhausted),
    # vLLM: numeric codes, flat and nested
    (404, {"error": {"message": "The model `x` does not exist.", "type": "NotFoundError", "param": "model", "code": 404}}, ModelNotFound),
    (400, {"object": "error", "message": "maximum context length is 4096", "type": "BadRequestError", "code": 400}, ContextTooLong),
    # llama.cpp
    (400, {"error": {"code": 400, "message": "exceeds", "type": "exceed_context_size_error", "n_ctx": 512}}, ContextTooLong),
    (
        500,
        {"error": {"code": 500, "message": "image input is not supported, see mmproj", "type": "server_error"}},
        UnsupportedRequest,
    ),
    (500, {"error": {"code": 500, "message": "tools param requires --jinja flag", "type": "server_error"}}, UnsupportedRequest),
    (500, {"error": {"code": 500, "message": "input is too large to process", "type": "server_error"}}, ContextTooLong),
    (501, {"error": {"code": 501, "message": "This server does not support it", "type": "not_supported_error"}}, UnsupportedRequest),
    (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, Overloaded),
    # Ollama
    (404, envelope('model "x" not found, try pulling it first', "api_error"), ModelNotFound),
    (400, envelope("registry.ollama.ai/x does not support tools", "api_error"), UnsupportedRequest),
    (401, envelope("Unauthorized", "api_error"), AuthRejected),
    # others
    (403, {"error": "unauthorized"}, AuthRejected),
    (403, {"error": {"code": "forbidden", "message": "Forbidden", "type": "invalid_request_error"}}, AuthRejected),
    (400, {"error": {"code": 400, "message": "API key not valid.", "details": [{"reason": "API_KEY_INVALID"}]}}, AuthRejected),
    (429, {"error": {"code": "1305", "message": "The service may be temporarily overloaded"}}, Overloaded),
    (429, {"message": "x", "type": "too_many_requests_error", "code": "request_quota_exceeded"}, RateLimited),
    (400, {"error": {"code": 400, "message": "x is not a valid model ID"}, "user_id": "u"}, ModelNotFound),
    (400, {"error": {"message": "too long", "type": "too_many_prompt_tokens", "code": 400}}, ContextTooLong),
    (502, b"<html><body>Bad gateway</body></html>", ServerFailed),
    (520, b"", ServerFailed),
    (418, b"", CallerFault),
    # Alibaba
    (400, {"error": {"code": "Arrearage", "message": "Access denied, please make sure your account is in good standing."}}, BillingRefused),
    (403, {"error": {"code": "AllocationQuota.FreeTierOnly", "message": "The free tier of the model has been exhausted."}}, QuotaExhausted),
    (400, {"error": {"code": "data_inspection_failed", "message": "Input data may contain inappropriate content."}}, ContentRefused),
    # OpenAI and Azure, more
    (429, envelope("You have reached your billing hard limit", "insufficient_quota", "billing_hard_limit_reached"), BillingRefused),
    (400, envelope("Invalid prompt: flagged as potentially violating our usage policy.", code="invalid_prompt"), ContentRefused),
    (400, {"error": {"code": "OperationNotSupported", "message": "The operation does not work with the model"}}, UnsupportedRequest),
    (429, {"error": {"code": "RateLimitReached", "message": "x"}}, RateLimited),
    (404, {"error": {"code": "404", "message": "Resource not found"}}, ModelNotFound),
    # Mistral's gateway in front
    (404, {"message": "no Route matched with those values", "request_id": "x"}, ModelNotFound),
    (400, {"object": "error", "message": "Tool call id was x but must be", "type": "invalid_function_call", "code": "3280"}, CallerFault),
    # DeepSeek, more
    (400, envelope("Content Exists Risk", "invalid_request_error", "invalid_request_error"), ContentRefused),
    (400, envelope("Thinking mode does not support this tool_choice", "invalid_request_error"), UnsupportedRequest),
    (400, envelope("This model's maximum context length is 131072 tokens.", "invalid_request_error"), ContextTooLong),
    # Groq
    (400, envelope("Failed to call a function.", "invalid_request_error", "tool_use_failed"), UnsupportedRequest),
    (400, envelope("Organization has been restricted.", "invalid_request_error", "organization_restricted"), PermissionRefused),
    (413, envelope("Request too large for model on tokens per minute (TPM)", "tokens", "rate_limit_exceeded"), ContextTooLong),
    (498, b"", Overloaded),
    # xAI
    (
        403,
        {"code": "forbidden", "error": "Your team has either used all available credits or reached its monthly spending limit."},
        BillingRefused,
    ),
    (400, {"code": "invalid-argument", "error": "Model not found: grok-x"}, ModelNotFound),
    # OpenRouter
    (402, {"error": {"message": "This request requires more credits, or fewer max_tokens.", "code": 402}}, BillingRefused),
    (403, {"error": {"message": "Your input was flagged", "code": 403, "metadata": {"reasons": ["violence"]}}}, ContentRefused),
    (404, {"error": {"message": "No endpoints found that support tool use.", "code": 404}}, UnsupportedRequest),
    (
        429,
        {"error": {"message": "Provider returned error", "code": 429, "metadata": {"raw": "x is temporarily rate-limited"}}},
        RateLimited,
    ),
    (401, {"error": {"message": "No auth credentials found", "code": 401}}, AuthRejected),
    # Google's OpenAI door wraps its error in a list
    (400, [{"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}}], AuthRejected),
    (
        400,
        [{"error": {"code": 400, "message": 'Invalid JSON payload received. Unknown name "seed"', "status": "INVALID_ARGUMENT"}}],
        CallerFault,
    ),
    (429, [google("GenerateRequestsPerMinutePerProjectPerModel-FreeTier")], RateLimited),
    (429, [google("GenerateRequestsPerDayPerProjectPerModel-FreeTier")], QuotaExhausted),
    (503, [{"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}], Overloaded),
    (400, [{"error": {"code": 400, "message": "Enable billing to use it here.", "status": "FAILED_PRECONDITION"}}], BillingRefused),
    # Z.ai
    (429, {"error": {"code": "1113", "message": "Insufficient balance or no resource package."}}, BillingRefused),
    (429, {"error": {"code": "1302", "message": "High concurrency usage of this API"}}, RateLimited),
    (429, {"error": {"code": "1308", "message": "Usage limit reached for 5 hour."}}, QuotaExhausted),
    (400, {"error": {"code": "1211", "message": "Unknown Model"}}, ModelNotFound),
    (400, {"error": {"code": "1301", "message": "unsafe or sensitive content"}}, ContentRefused),
    # Cerebras, Together, Fireworks, Novita, Perplexity, Cloudflare, Moonshot
    (401, {"message": "Wrong API Key", "type": "invalid_request_error", "param": "api_key", "code": "wrong_api_key"}, AuthRejected),
    (429, {"message": "high traffic", "type": "too_many_requests_error", "code": "queue_exceeded"}, Overloaded),
    (
        401,
        {"id": "x", "error": {"message": "Invalid API key provided", "type": "invalid_request_error", "code": "invalid_api_key"}},
        AuthRejected,
    ),
    (412, {"error": {"message": "Account is suspended, possibly due to reaching the monthly spending limit."}}, BillingRefused),
    (403, {"code": 403, "reason": "NOT_ENOUGH_BALANCE", "message": "not enough balance"}, BillingRefused),
    (401, envelope("You exceeded your current quota", "insufficient_quota", 401), QuotaExhausted),
    (429, {"errors": [{"code": 4006, "message": "you have used up your daily free allocation of 10,000 neurons"}]}, QuotaExhausted),
    (429, envelope("Your account is suspended, check your plan", "exceeded_current_quota_error"), QuotaExhausted),
    (429, envelope("The engine is currently overloaded", "engine_overloaded_error"), Overloaded),
    (429, b"Too many requests. For more on scraping GitHub", RateLimited),
    (422, {"detail": [{"type": "missing", "loc": ["body", "messages"], "msg": "Field required"}]}, CallerFault),
    # vLLM, more
    (
        400,
        {"error": {"message": '"auto" tool choice requires --enable-auto-tool-choice', "type": "BadRequestError", "code": 400}},
        UnsupportedRequest,
    ),
    (400, {"object": "error", "message": "x is not a multimodal model", "type": "BadRequestError", "code": 400}, UnsupportedRequest),
    (404, b"<!DOCTYPE html><title>404</title>", ModelNotFound),
]


@pytest.mark.parametrize(("status", "body", "kind"), CASES)
def test_U20_every_shape_lands_in_its_class(status, body, kind) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    error = OPENAI.parse_error(HttpResponse(status, {"content-type": "application/json"}, raw))
    assert type(error) is kind
    assert error.status == status
    error.redact()
    assert len(error.detail) <= 500


def test_the_golden_table_is_long_enough_to_mean_something() -> None:
    assert len(CASES) + len(ANTHROPIC_CASES) >= 100


CATEGORIES = {
    RateLimited: "throttle",
    QuotaExhausted: "quota",
    BillingRefused: "billing",
    AuthRejected: "auth",
    PermissionRefused: "auth",
    Overloaded: "overload",
    ServerFailed: "server",
    ConnectionLost: "transport",
    ConnectTimeout: "transport",
    CallerFault: "caller",
    ContextTooLong: "caller",
    ModelNotFound: "caller",
    UnsupportedRequest: "caller",
    ContentRefused: "policy",
}


@pytest.mark.parametrize(("kind", "category"), CATEGORIES.items())
def test_U20_every_class_says_whose_move_it_is(kind, category) -> None:
    assert kind.category == category


def test_U20_only_waiting_heals_a_throttle_and_only_paying_a_bill() -> None:
    assert (RateLimited.retry_same, RateLimited.ejects_credential) == (True, False)
    assert (BillingRefused.retry_same, BillingRefused.ejects_credential, BillingRefused.fail_over) == (False, True, True)
    assert BillingRefused.code == QuotaExhausted.code


def test_openrouter_says_what_the_provider_behind_it_said() -> None:
    body = {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": "temperature is too high"}}}
    error = OPENAI.parse_error(HttpResponse(400, {}, json.dumps(body).encode()))
    assert error.provider_message == "Provider returned error: temperature is too high"


ANTHROPIC_CASES = [
    (400, said("invalid_request_error", "messages.0: wrong"), CallerFault),
    (400, said("invalid_request_error", "prompt is too long: 3 tokens > 2 maximum"), ContextTooLong),
    (400, said("invalid_request_error", "Your credit balance is too low to access the Anthropic API."), BillingRefused),
    (401, said("authentication_error", "invalid x-api-key"), AuthRejected),
    (402, said("billing_error"), BillingRefused),
    (403, said("permission_error"), PermissionRefused),
    (404, said("not_found_error", "model: x"), ModelNotFound),
    (413, said("request_too_large"), ContextTooLong),
    (429, said("rate_limit_error"), RateLimited),
    (500, said("api_error"), ServerFailed),
    (529, said("overloaded_error"), Overloaded),
]


@pytest.mark.parametrize(("status", "body", "kind"), ANTHROPIC_CASES)
def test_anthropics_errors_land_in_their_class(status, body, kind) -> None:
    assert type(ANTHROPIC.parse_error(HttpResponse(status, {}, json.dumps(body).encode()))) is kind


def test_S09_only_faults_of_the_caller_are_quoted_and_pages_never() -> None:
    def quoted(status: int, body: bytes, content_type: str = "application/json") -> str | None:
        return OPENAI.parse_error(HttpResponse(status, {"content-type": content_type}, body)).provider_message

    assert quoted(400, b'{"error": {"message": "temperature must be below 2"}}') == "temperature must be below 2"
    assert quoted(422, b"Failed to deserialize", "text/plain") == "Failed to deserialize"
    assert quoted(500, b'{"error": {"message": "stack trace"}}') is None
    assert quoted(401, b'{"error": {"message": "bad key sk-1"}}') is None
    assert quoted(400, b"<html>internal page</html>", "text/html") is None
    assert quoted(400, b"<html>internal page</html>", "text/plain") is None


# --------------------------------------------------------------------------- waiting

NOW = 1_700_000_000.0
DATE = {"date": "Tue, 14 Nov 2023 22:13:20 GMT"}

HINTS = [
    ({"retry-after": "2"}, 2.0),
    ({"retry-after": " 2.5 "}, 2.5),
    ({"retry-after": "0"}, 0.0),
    ({"retry-after": "-5"}, 0.0),
    ({"retry-after": "1e9"}, 3600.0),
    ({"retry-after": "nan"}, None),
    ({"retry-after": "inf"}, None),
    ({"retry-after": ""}, None),
    ({"retry-after": "soon"}, None),
    ({"retry-after-ms": "660", "retry-after": "7"}, 0.66),
    ({"retry-after": "Tue, 14 Nov 2023 22:14:20 GMT", **DATE}, 60.0),
    ({"retry-after": "Tue, 14 Nov 2023 22:14:20 GMT"}, 60.0),
    ({"retry-after": "Tue, 14 Nov 2023 22:14:20", **DATE}, 60.0),
    ({"retry-after": "Tue, 14 Nov 2023 20:00:00 GMT", **DATE}, 0.0),
    ({"retry-after": "Wed, 14 Nov 2035 20:00:00 GMT", **DATE}, 3600.0),
    ({"retry-after": "2, 7"}, 7.0),  # two headers, joined as HTTP joins them: the longer wait is safe
    ({"retry-after": "3, nan"}, 3.0),
    ({"retry-after": "Tue, 14 Nov 2023 22:14:20 GMT, Tue, 14 Nov 2023 22:13:30 GMT", **DATE}, 60.0),
    ({"retry-after": "0x10"}, None),
    ({"retry-after": "1_000"}, None),
    ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "21m36.001s"}, 1296.001),
    ({"x-ratelimit-remaining-requests": "9", "x-ratelimit-reset-requests": "8h", "x-ratelimit-remaining-tokens": "0",
      "x-ratelimit-reset-tokens": "20ms"}, 0.02),
    ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1700000030000"}, 30.0),
    ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1700000030"}, 30.0),
    ({"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": "2023-11-14T22:13:50Z", **DATE}, 30.0),
    ({"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": "1970-01-01T00:00:00Z", **DATE}, 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "seconds"), HINTS)
def test_U17_hints_to_wait_in_every_form(headers, seconds) -> None:
    error = OPENAI.parse_error(HttpResponse(429, headers, b"{}", received_at_s=NOW))
    assert error.retry_after_s == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("status", "body", "seconds"),
    [
        (429, {"error": {"message": "Rate limit reached. Please try again in 2.3s. Visit"}}, 2.3),
        (429, {"error": {"message": "Please try again in 6m0s."}}, 360.0),
        (503, {"error": "Model is currently loading", "estimated_time": 22.3}, 22.3),
        (429, {"error": {"details": [{"@type": "RetryInfo", "retryDelay": "3s"}]}}, 3.0),
        (429, {"error": {"message": "no hint"}}, None),
    ],
)
def test_U17_hints_in_the_body(status, body, seconds) -> None:
    assert OPENAI.parse_error(HttpResponse(status, {}, json.dumps(body).encode())).retry_after_s == seconds


LIMITS = [
    ({"x-ratelimit-remaining-requests": "4999", "x-ratelimit-remaining-tokens": "120", "x-ratelimit-reset-requests": "12ms",
      "x-ratelimit-reset-tokens": "6s"}, RateLimitState(4999, 120, 6.0)),
    # Azure counts down in whole seconds, Together in one bucket, Mistral by the minute without a reset, Hugging Face's front plainly
    ({"x-ratelimit-remaining-requests": "278", "x-ratelimit-remaining-tokens": "89686", "x-ratelimit-reset-requests": "0"},
     RateLimitState(278, 89686, 0.0)),
    ({"x-ratelimit-remaining": "1", "x-ratelimit-remaining-tokens": "16269", "x-ratelimit-reset": "2"}, RateLimitState(1, 16269, 2.0)),
    ({"x-ratelimit-remaining-req-minute": "51", "x-ratelimit-remaining-tokens-minute": "499384"}, RateLimitState(51, 499384, None)),
    ({"ratelimit-remaining": "399", "ratelimit-reset": "19"}, RateLimitState(399, None, 19.0)),
    ({"content-type": "x"}, None),
    ({"x-ratelimit-remaining-requests": "many", "x-ratelimit-reset-requests": "soon"}, None),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "state"), LIMITS)
def test_the_providers_own_limits_are_read_from_its_headers(headers, state) -> None:
    assert OPENAI.parse_rate_limit(headers) == state


def test_anthropics_own_limits_too() -> None:
    assert ANTHROPIC.parse_rate_limit({"anthropic-ratelimit-requests-remaining": "7"}) == RateLimitState(7, None, None)


# --------------------------------------------------------------------------- keys


def test_each_style_puts_the_key_in_its_header() -> None:
    key = Secret(" sk-1 ")
    assert credential_headers(AuthStyle.BEARER, key) == {"authorization": "Bearer sk-1"}
    assert credential_headers(AuthStyle.X_API_KEY, key) == {"x-api-key": "sk-1"}
    assert credential_headers(AuthStyle.API_KEY, key) == {"api-key": "sk-1"}
    assert credential_headers(AuthStyle.NONE, key) == {}


@pytest.mark.parametrize("key", ["", "  ", "sk-\r\nx", "sk-ü", "sk-\x00", "sk-\x7f"])
def test_B11_a_key_that_no_header_can_carry_is_refused_without_being_shown(key) -> None:
    with pytest.raises(CredentialLocked) as refused:
        credential_headers(AuthStyle.BEARER, Secret(key))
    assert not key.strip() or key not in refused.value.detail
