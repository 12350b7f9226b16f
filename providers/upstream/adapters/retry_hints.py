"""When may a provider be asked again? Every form the hint comes in, as seconds from receipt (wire.md, section 11)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from providers.upstream.adapters.json_values import decode_or_none, list_at, object_at, text_at
from providers.upstream.types import HttpResponse, RateLimitState

RETRY_AFTER_MAX_S = 3600.0

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = re.compile(r"[-+]?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")  # float() would also take "1_000", "nan" and other scripts
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_TRY_AGAIN = re.compile(r"(?:try again|retry) (?:in|after) ((?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+)")
# Numbers above these are Unix times, not waits: no provider asks for 30 years.
_EPOCH_S, _EPOCH_MS = 1e9, 1e12


def retry_after_s(response: HttpResponse) -> float | None:
    """The provider's hint in seconds, clamped to [0, 3600]; ``None`` when it gave none that can be read."""
    headers = response.headers
    now = _receipt_time(headers, response.received_at_s)
    hints = (
        _scaled(headers.get("retry-after-ms"), 0.001),
        _retry_after_s(headers.get("retry-after"), now),
        _hint_of_body(response.body) if response.status >= 400 else None,
        _exhausted_reset_s(headers, now) if response.status == 429 else None,
    )
    return next((clamp(hint) for hint in hints if hint is not None), None)


def rate_limit_state(headers: Mapping[str, str]) -> RateLimitState | None:
    """OpenAI-like ``x-ratelimit-*``, Anthropic's ``anthropic-ratelimit-*`` and plain ``ratelimit-*`` headers, Mistral's minute
    buckets included."""
    requests = _first_count(headers, _REMAINING_REQUESTS)
    tokens = _first_count(headers, _REMAINING_TOKENS)
    reset = _exhausted_reset_s(headers, _receipt_time(headers, None))
    if requests is None and tokens is None and reset is None:
        return None
    return RateLimitState(requests, tokens, None if reset is None else clamp(reset))


def clamp(seconds: float) -> float:
    return min(max(seconds, 0.0), RETRY_AFTER_MAX_S)


_REMAINING_REQUESTS = (
    "x-ratelimit-remaining-requests",
    "anthropic-ratelimit-requests-remaining",
    "x-ratelimit-remaining-req-minute",
    "x-ratelimit-remaining",
    "ratelimit-remaining",
)
_REMAINING_TOKENS = (
    "x-ratelimit-remaining-tokens",
    "anthropic-ratelimit-tokens-remaining",
    "anthropic-ratelimit-input-tokens-remaining",
    "x-ratelimit-remaining-tokens-minute",
)
# (remaining, reset) of one bucket each.
_BUCKETS = (
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("x-ratelimit-remaining-tokens-minute", "x-ratelimit-reset-tokens-minute"),  # Cerebras
    ("ratelimit-remaining", "ratelimit-reset"),  # Hugging Face's front: draft-ietf-httpapi-ratelimit-headers-03
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
)


def _first_count(headers: Mapping[str, str], names: tuple[str, ...]) -> int | None:
    return next((int(headers[name]) for name in names if headers.get(name, "").isdecimal()), None)


def _exhausted_reset_s(headers: Mapping[str, str], now: float | None) -> float | None:
    """The wait for the empty bucket; without an empty one, the longest wait of all."""
    known = [(headers.get(remaining), _reset_s(headers.get(reset), now)) for remaining, reset in _BUCKETS]
    waits = [wait for remaining, wait in known if wait is not None and remaining == "0"]
    waits = waits or [wait for _, wait in known if wait is not None]
    return max(waits) if waits else None


def _reset_s(text: str | None, now: float | None) -> float | None:
    """A duration, a number of seconds, a Unix time in seconds or milliseconds, or an instant."""
    if not text:
        return None
    duration = _duration_s(text.strip())
    if duration is not None:
        return duration
    number = _scaled(text, 1.0)
    if number is not None and number >= _EPOCH_S:
        return None if now is None else number / (1000.0 if number >= _EPOCH_MS else 1.0) - now
    return _seconds_or_date(text, now)


def _retry_after_s(text: str | None, now: float | None) -> float | None:
    """Two headers arrive as one, joined by a comma: the longer wait is the safe one."""
    single = _seconds_or_date(text, now)
    if single is not None or not text:
        return single
    return max((number for part in text.split(",") if (number := _scaled(part, 1.0)) is not None), default=None)


def _seconds_or_date(text: str | None, now: float | None) -> float | None:
    number = _scaled(text, 1.0)
    if number is not None:
        return number
    moment = _moment(text.strip()) if text else None
    return None if moment is None or now is None else moment - now


def _scaled(text: str | None, factor: float) -> float | None:
    if not text or not _NUMBER.fullmatch(text.strip()):
        return None
    number = float(text) * factor
    return number if math.isfinite(number) else None


def _moment(text: str) -> float | None:
    """Unix time of an HTTP-date or an RFC 3339 instant; one without a zone is UTC."""
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = parse(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return None


def _duration_s(text: str) -> float | None:
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(amount) * _UNITS_S[unit] for amount, unit in _DURATION_PART.findall(text))


def _receipt_time(headers: Mapping[str, str], received_at_s: float | None) -> float | None:
    """The provider's own clock where it shows it: a difference of two of its times is free of our skew."""
    date = headers.get("date")
    return received_at_s if date is None else (_moment(date) or received_at_s)


def _hint_of_body(body: bytes) -> float | None:
    """Google's RetryInfo, Hugging Face's ``estimated_time`` and "try again in 2.3s"."""
    value: Any = decode_or_none(body[:65536])
    if isinstance(value, dict):
        estimated = value.get("estimated_time")
        if isinstance(estimated, (int, float)) and math.isfinite(estimated):
            return float(estimated)
        for detail in list_at(object_at(value, "error"), "details"):
            delay = _duration_s(text_at(detail, "retryDelay"))
            if delay is not None:
                return delay
    match = _TRY_AGAIN.search(body[:4096].decode("utf-8", "replace").lower())
    return _duration_s(match[1]) if match else None
