"""Which class an error belongs to, and when to ask again: wire.md section 11 as plain code."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from providers.upstream import errors

# What a class may be called by this gateway. The first two words of section 11 that fit win.
CLASSES: Mapping[str, tuple[type[errors.UpstreamError], ...]] = {
    "auth": (errors.AuthRejected,),
    "permission": (errors.PermissionRefused, errors.AuthRejected),
    "quota": (errors.QuotaExhausted,),
    "context_length": (errors.ContextTooLong,),
    "rate_limit": (errors.RateLimited,),
    "overloaded": (errors.Overloaded,),
    "content_filter": (errors.ContentRefused,),
    "not_found": (errors.ModelNotFound,),
    "unsupported": (errors.UnsupportedRequest,),
    "bad_request": (errors.CallerFault,),
    "server": (errors.ServerFailed,),
}
# What a recording's label may stand for. One request above the whole bucket is labelled by its status (429), and so is what
# llama.cpp calls its own failure although the caller asked for something it cannot do.
LABELS: Mapping[str, frozenset[str]] = {
    "auth": frozenset({"auth", "permission"}),
    "permission": frozenset({"permission", "auth"}),
    "rate_limit": frozenset({"rate_limit", "context_length", "overloaded"}),
    "server": frozenset({"server", "unsupported", "overloaded", "context_length"}),
    "overloaded": frozenset({"overloaded"}),
    "quota": frozenset({"quota"}),
    "validation": frozenset({"bad_request", "context_length", "unsupported"}),
    "bad_request": frozenset({"bad_request", "unsupported"}),
    "content_filter": frozenset({"content_filter"}),
    "context_length": frozenset({"context_length"}),
    "not_found": frozenset({"not_found"}),
}
_TOO_LARGE = re.compile(
    r"request too large|prompt is too long|prompt too long|maximum context length|exceeds the context|context_length_exceeded"
    r"|exceed_context_size|exceeds the available context|too_many_tokens|too_many_prompt_tokens|larger than the batch"
    r"|`max_new_tokens` must be <="
    r"|input is too large to process"
)
_LOADED = re.compile(r"overloaded_error|\"error_type\": ?\"overloaded\"|requires more system memory")
_FILTERED = re.compile(r"\bcontent_filter\b|responsibleaipolicyviolation|content_policy_violation")
_NO_MODEL = re.compile(
    r"deploymentnotfound"
    r"|model_not_found|\binvalid_model\b|model not found|is not a valid model|supported api model names|model [^ ]+ does not exist|\b1500\b"
)
_CANNOT = re.compile(r"does not support tools|unsupported_parameter|tool_use_failed|thinking mode does not support|operationnotsupported")
_ABLE_ELSEWHERE = re.compile(r"mmproj|--jinja|image input is not supported")
_BAD_KEY = re.compile(r"api_key_invalid|incorrect api key|api key not valid|unregistered callers|unauthorized|\bforbidden\b")


def class_of(status: int, body: bytes, headers: Mapping[str, str]) -> str:
    """A name of ``CLASSES``."""
    text = " ".join(body.decode("utf-8", "replace").lower().split())
    code = _code(body)
    if status == 401 or (status in (400, 403) and _BAD_KEY.search(text)):
        return "auth"
    if status == 402 or (status == 429 and "insufficient_quota" in text) or (status == 429 and "perday" in text):
        return "quota"
    if status in (400, 403) and "credit balance is too low" in text:
        return "quota"
    if status == 413 or (status in (400, 422, 429, 500) and _TOO_LARGE.search(text)):
        return "context_length"
    if status == 429 and headers.get("x-should-retry") == "false":
        return "context_length"
    if status in (409, 425, 498, 503, 529) or (status, code) in ((429, "1305"), (500, "1000")):
        return "overloaded"
    if status in (429, 500) and _LOADED.search(text):
        return "overloaded"
    return _by_request(status, text)


def _by_request(status: int, text: str) -> str:
    if status == 429:
        return "rate_limit"
    if status in (400, 403, 422) and _FILTERED.search(text):
        return "content_filter"
    if status == 404 or (status in (400, 422) and _NO_MODEL.search(text)):
        return "not_found"
    if status == 501 or (status == 500 and _ABLE_ELSEWHERE.search(text)) or (status in (400, 422) and _CANNOT.search(text)):
        return "unsupported"
    if status in (403, 405):
        return "permission"
    if 400 <= status < 500 and status not in (408, 424):
        return "bad_request"
    return "server"


_STATUS_OF_WORD = {
    "overloaded_error": 529,
    "rate_limit_error": 429,
    "authentication_error": 401,
    "invalid_request_error": 400,
    "api_error": 500,
    "server_error": 500,
    "internal_server_error": 500,
    "overloaded": 503,
    "validation": 422,
    "tool_use_failed": 400,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
}


def class_in_success(body: Mapping[str, Any]) -> str:
    """An error without a status of its own: the one it names, or the one its words stand for."""
    inner = body.get("error")
    found: list[Any] = []
    for source in (inner, body):
        if isinstance(source, dict):
            found += [source.get(key) for key in ("status_code", "code", "type", "error_type", "status")]
    numbers = [int(value) for value in found if str(value).isdecimal() and 400 <= int(value) < 600]
    words = [_STATUS_OF_WORD[value] for value in found if isinstance(value, str) and value in _STATUS_OF_WORD]
    return class_of((numbers or words or [502])[0], json.dumps(body).encode(), {})


def _code(body: bytes) -> str:
    try:
        decoded = json.loads(body)
    except ValueError:
        return ""
    if not isinstance(decoded, dict):
        return ""
    error = decoded.get("error")
    return str((error if isinstance(error, dict) else decoded).get("code", ""))


_LONGEST_S = 3600.0


def wait_of(body: bytes, headers: Mapping[str, str]) -> float | None:
    """Seconds, where the answer says so in a number; dates and buckets are not read here."""
    for name, factor in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if re.fullmatch(r"\d+(\.\d+)?", headers.get(name, "")):
            return min(float(headers[name]) * factor, _LONGEST_S)
    text = body.decode("utf-8", "replace")
    delay = re.search(r'"retryDelay":\s*"(\d+(?:\.\d+)?)s"', text) or re.search(r'"estimated_time":\s*(\d+(?:\.\d+)?)', text)
    return min(float(delay[1]), _LONGEST_S) if delay else None
