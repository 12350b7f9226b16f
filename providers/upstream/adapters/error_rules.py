"""Which class is this error? A table, because providers disagree by (status, code or type, text); first match wins.

The status decides wherever it can; text is looked at last, and only where the vendor offers nothing else. Evidence for
every row: wire.md section 11 and the per-provider tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from providers.upstream.adapters import retry_hints
from providers.upstream.adapters.json_values import decode_or_none, list_at, object_at, snippet, text_at
from providers.upstream.errors import (
    AuthRejected,
    BillingRefused,
    CallerFault,
    ContentRefused,
    ContextTooLong,
    ForeignState,
    LoopDetected,
    ModelNotFound,
    Overloaded,
    PermissionRefused,
    QuotaExhausted,
    RateLimited,
    ServerFailed,
    UnsupportedRequest,
    UpstreamError,
)
from providers.upstream.redaction import READ_MAX
from providers.upstream.types import HttpResponse


@dataclass(frozen=True, slots=True)
class ErrorFacts:
    """What an error body says, whatever its shape; ``codes`` are its code, type and reason in lower case."""

    status: int
    codes: frozenset[str]
    message: str


@dataclass(frozen=True, slots=True)
class Rule:
    """Matches when every non-empty column does: a status, one of the codes, one of the markers in the lower-case message.

    A ``*`` in a marker stands for anything.
    """

    error: type[UpstreamError]
    statuses: frozenset[int] = frozenset()
    codes: frozenset[str] = frozenset()
    markers: tuple[str, ...] = ()

    def matches(self, facts: ErrorFacts, text: str) -> bool:
        return (
            (not self.statuses or facts.status in self.statuses)
            and (not self.codes or not self.codes.isdisjoint(facts.codes))
            and (not self.markers or any(_holds(text, marker) for marker in self.markers))
        )


def _holds(text: str, marker: str) -> bool:
    position = 0
    for piece in marker.split("*"):
        found = text.find(piece, position)
        if found < 0:
            return False
        position = found + len(piece)
    return True


def rule(error: type[UpstreamError], statuses: tuple[int, ...] = (), codes: tuple[str, ...] = (), markers: tuple[str, ...] = ()) -> Rule:
    return Rule(error, frozenset(statuses), frozenset(codes), markers)


_CALLER = (400, 413, 422)
# Some call a prompt that does not fit a rate limit (Anthropic: 429 "prompt is too long") or a failure of theirs.
_TOO_LONG = (*_CALLER, 429, 500)

_BILLING_CODES = (
    "arrearage",  # Alibaba
    "billing_error",
    "billing_hard_limit_reached",
    "billing_not_active",
    "not_enough_balance",  # Novita
)

RULES: tuple[Rule, ...] = (
    rule(LoopDetected, (508,)),  # RFC 5842; what a gateway says to its own request
    # The account. A quota returns with the next period, a bill must be paid; both are told by the vendor's code wherever it has one.
    rule(RateLimited, (429,), ("insufficient_quota",), ("allocated quota exceeded",)),  # Alibaba throttles with this code
    rule(BillingRefused, (400, 403, 429), _BILLING_CODES),
    rule(BillingRefused, (429,), ("1113", "1309")),  # Z.ai: no balance, plan expired
    rule(BillingRefused, (400, 403), (), ("credit balance is too low",)),  # Anthropic
    rule(BillingRefused, (403, 412, 429), (), ("used all available credits", "monthly spending limit", "past invoices")),  # xAI, Fireworks
    rule(BillingRefused, (400,), ("failed_precondition",), ("billing",)),  # Gemini: no free tier in this country
    rule(QuotaExhausted, (402,), (), ("monthly included credits",)),  # Hugging Face's free tier
    rule(BillingRefused, (402,)),
    rule(QuotaExhausted, (401, 403, 429), ("insufficient_quota", "exceeded_current_quota_error", "allocationquota.freetieronly")),
    rule(QuotaExhausted, (429,), ("1308", "1310", "quota_per_day")),  # Z.ai's plans; Google's daily quotas
    rule(QuotaExhausted, (429,), (), ("daily free allocation",)),  # Cloudflare
    # The key.
    rule(AuthRejected, (401,)),
    rule(AuthRejected, (400,), ("api_key_invalid", "invalid_api_key", "wrong_api_key", "authentication_error")),
    rule(AuthRejected, (400, 403), (), ("incorrect api key", "api key not valid")),
    rule(AuthRejected, (403,), ("unauthorized", "forbidden", "api_key_invalid", "invalid_api_key", "authentication_error")),
    rule(AuthRejected, (403,), (), ("unregistered callers", "invalid api key")),
    rule(PermissionRefused, (400,), ("organization_restricted",)),  # Groq
    # Too large: no waiting heals it, a larger window may.
    rule(ContextTooLong, _TOO_LONG, (), ("request too large",)),
    rule(ContextTooLong, (413,)),
    rule(
        ContextTooLong,
        _TOO_LONG,
        ("context_length_exceeded", "exceed_context_size_error", "request_too_large", "too_many_prompt_tokens", "too_many_tokens", "1261"),
    ),
    rule(
        ContextTooLong,
        _TOO_LONG,
        (),
        (
            "prompt is too long",
            "prompt too long",
            "maximum context length",
            "exceeds the context length",
            "exceeds the available context size",
            "exceed context limit",
            "exceeds the context window",
            "longer than the model's context",
        ),
    ),
    rule(ContextTooLong, (500,), ("server_error",), ("input is too large to process",)),  # llama.cpp: larger than the batch
    # State of another account (https://platform.openai.com/docs/guides/conversation-state).
    rule(ForeignState, (400, 404), ("previous_response_not_found", "invalid_encrypted_content")),
    rule(
        ForeignState,
        (400, 404),
        (),
        ("response with id*not found", "item with id*not found", "conversation with id*not found", "encrypted content*could not be"),
    ),
    # Content.
    rule(
        ContentRefused,
        (*_CALLER, 403),
        (
            "content_filter",
            "content_policy_violation",
            "responsibleaipolicyviolation",
            "data_inspection_failed",
            "datainspectionfailed",
            "1301",
        ),
    ),
    rule(ContentRefused, (400,), ("invalid_prompt",), ("usage policy",)),  # OpenAI
    rule(ContentRefused, (400,), (), ("content exists risk",)),  # DeepSeek
    rule(ContentRefused, (403,), (), ("input was flagged",)),  # OpenRouter
    # The model name.
    rule(
        ModelNotFound,
        (400, 404, 422),
        ("model_not_found", "invalid_model", "deploymentnotfound", "model_not_supported", "1211"),
    ),
    rule(UnsupportedRequest, (404,), (), ("no endpoints found that support", "no endpoints found that can handle")),  # OpenRouter
    rule(
        ModelNotFound,
        (400, 422),
        (),
        (
            "is not a valid model",
            "supported api model names",
            "model not exist",
            "model not found",
            "invalid model:",
            "model *does not exist",
        ),
    ),
    # Load.
    rule(Overloaded, (429,), ("1305", "queue_exceeded")),  # Z.ai, Cerebras
    rule(Overloaded, (429, 500), ("overloaded_error", "engine_overloaded", "engine_overloaded_error")),
    rule(Overloaded, (500,), ("1000",)),  # Mistral
    # What the target cannot do. llama.cpp reports some of it as its own fault; Groq's models fail at tools another one may use.
    rule(UnsupportedRequest, (500,), ("server_error",), ("mmproj", "image input is not supported", "--jinja")),
    rule(UnsupportedRequest, (400,), ("tool_use_failed", "json_validate_failed")),
    rule(UnsupportedRequest, (400, 422), ("unsupported_parameter", "unsupported_value", "not_supported_error", "operationnotsupported")),
    rule(
        UnsupportedRequest,
        (400, 422),
        (),
        (
            "does not support tools",
            "does not support image",
            "is not a multimodal model",
            "--enable-auto-tool-choice",
            "thinking mode does not support",
        ),
    ),
)

_BY_STATUS: dict[int, type[UpstreamError]] = {
    403: PermissionRefused,
    404: ModelNotFound,
    405: PermissionRefused,
    408: ServerFailed,
    409: Overloaded,
    424: ServerFailed,
    425: Overloaded,
    429: RateLimited,
    498: Overloaded,
    501: UnsupportedRequest,
    503: Overloaded,
    529: Overloaded,
}

# An error inside a 200 has no status of its own; its code or type stands for one.
_STATUS_BY_CODE = {
    "api_error": 500,
    "authentication_error": 401,
    "billing_error": 402,
    "content_filter": 400,
    "context_length_exceeded": 400,
    "engine_overloaded": 503,
    "insufficient_quota": 429,
    "internal_server_error": 500,
    "invalid_api_key": 401,
    "invalid_request_error": 400,
    "not_found_error": 404,
    "overloaded": 503,
    "overloaded_error": 529,
    "permission_error": 403,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "rate_limited": 429,
    "request_too_large": 413,
    "server_error": 500,
    "timeout_error": 504,
    "tool_use_failed": 400,
    "validation": 422,
}


_CLASSIFIED_MAX = 2000
"""So much of an error's text says what it is; what follows repeats the request."""


def classify(facts: ErrorFacts, own_rules: tuple[Rule, ...] = ()) -> type[UpstreamError]:
    """``own_rules`` are those of one wire format or provider; they are asked before the common ones."""
    text = facts.message[:_CLASSIFIED_MAX].lower()
    for row in (*own_rules, *RULES):
        if row.matches(facts, text):
            return row.error
    found = _BY_STATUS.get(facts.status)
    if found is None:
        found = CallerFault if 400 <= facts.status < 500 else ServerFailed
    return found


def error_of(response: HttpResponse, own_rules: tuple[Rule, ...] = ()) -> UpstreamError:
    """The error behind a complete answer, of whatever shape: JSON of any vendor, HTML, plain text or nothing."""
    body = decode_or_none(response.body)
    if isinstance(body, list) and len(body) == 1:  # Google's OpenAI door
        body = body[0]
    facts = facts_of(response.status, body) if isinstance(body, dict) else ErrorFacts(response.status, frozenset(), snippet(response.body))
    # A page for people (proxy, captive portal) says nothing about the request: its words never reach a client.
    return build(
        facts,
        retry_after_s=retry_hints.retry_after_s(response),
        quotable=isinstance(body, dict) or _is_plain(response),
        own_rules=own_rules,
    )


def error_in_success(body: dict[str, Any], own_rules: tuple[Rule, ...] = ()) -> UpstreamError | None:
    """The error in a body that came with status 200 or in a stream event, ``None`` when there is none.

    Its status is the one it names itself, else the one its code stands for, else 502.
    """
    error = body.get("error")
    is_error = bool(error) or body.get("object") == "error" or body.get("type") == "error"
    if not is_error:
        return None
    facts = facts_of(0, body)
    status = _own_status(body) or next((_STATUS_BY_CODE[code] for code in sorted(facts.codes) if code in _STATUS_BY_CODE), 502)
    return build(ErrorFacts(status, facts.codes, facts.message), retry_after_s=None, quotable=True, own_rules=own_rules)


def build(facts: ErrorFacts, *, retry_after_s: float | None, quotable: bool, own_rules: tuple[Rule, ...] = ()) -> UpstreamError:
    kind = classify(facts, own_rules)
    code = ",".join(sorted(facts.codes))
    return kind(
        f"{facts.status} {code} {facts.message}".strip(),
        status=facts.status,
        retry_after_s=retry_after_s,
        provider_message=facts.message if quotable and issubclass(kind, CallerFault) else None,
        quotes_provider=True,
    )


_CODE_KEYS = ("code", "type", "reason", "status", "error_type", "error_code")


def facts_of(status: int, body: dict[str, Any]) -> ErrorFacts:
    """Flattens the shapes in use: nested or flat envelope, text, list, ``detail``, ``message`` as an object."""
    error = body.get("error")
    sources = [source for source in (error, body) if isinstance(source, dict)]
    codes: list[str] = []
    for source in sources:
        codes += [
            str(source[key]).lower()
            for key in ("code", "type", "reason", "status", "error_type", "error_code")
            if _is_scalar(source.get(key))
        ]
        inner = source.get("innererror")
        if isinstance(inner, dict) and _is_scalar(inner.get("code")):
            codes.append(str(inner["code"]).lower())
        codes += _codes_of_details(source.get("details"))
    if isinstance(error, str):
        codes.append(error.lower())
    message = next((text for text in _messages(body) if text), "")
    raw = object_at(object_at(body, "error"), "metadata").get("raw")
    if isinstance(raw, str) and raw:  # OpenRouter: the words of the provider behind it
        message = f"{message}: {raw}"
    return ErrorFacts(status, frozenset(codes) - {"error"}, message[:READ_MAX])


def _codes_of_details(details: Any) -> list[str]:
    """Google's details: the reasons they name, and ``quota_per_day`` where a daily quota is used up (the text never says which)."""
    codes: list[str] = []
    for item in details if isinstance(details, list) else ():
        if isinstance(item, dict) and "reason" in item:
            codes.append(str(item["reason"]).lower())
        if any("PerDay" in text_at(violation, "quotaId") for violation in list_at(item, "violations")):
            codes.append("quota_per_day")
    return codes


def _messages(body: dict[str, Any]) -> list[str]:
    error = body.get("error")
    nested = error.get("message") if isinstance(error, dict) else error
    return [_as_text(nested), _as_text(body.get("message")), _as_text(body.get("detail")), _as_text(body.get("errors"))]


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(text for text in map(_as_text, value[:5]) if text)
    if isinstance(value, dict):
        return next((_as_text(value[key]) for key in ("msg", "message", "detail") if value.get(key)), "")
    return ""


def _own_status(body: dict[str, Any]) -> int | None:
    for source in (body.get("error"), body):
        for key in ("status_code", "code", "raw_status_code", "status"):
            value = source.get(key) if isinstance(source, dict) else None
            if isinstance(value, str) and value.isdecimal():
                value = int(value)
            if isinstance(value, int) and 400 <= value < 600:
                return value
    return None


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def _is_plain(response: HttpResponse) -> bool:
    return response.headers.get("content-type", "").startswith("text/plain") and not response.body.lstrip().startswith(b"<")
