"""What clients see of what went wrong inside (R604)."""

from __future__ import annotations

import inspect

import pytest
from django.db import OperationalError

from aigateway.errors import to_gateway_error
from providers.upstream import errors as upstream
from providers.upstream.dispatch import AllTargetsFailed, AttemptRecord
from providers.upstream.errors import ModelNotAllowed, ModelUnknown, UpstreamError
from tests.aigateway.samples import target
from usage.ledger.types import BudgetExceeded, LedgerUnavailable

CLASSES = [
    value for _, value in inspect.getmembers(upstream, inspect.isclass) if issubclass(value, UpstreamError) and value is not UpstreamError
]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_upstream_error_has_an_answer_without_the_providers_words(kind: type[UpstreamError]) -> None:
    shown = to_gateway_error(kind("internal detail sk-canary"))
    assert shown is not None
    assert shown.code == kind.code
    assert 400 <= shown.status <= 504 or shown.status == 508  # RFC 5842: a loop
    assert shown.status != 401
    assert shown.recovery
    if not issubclass(kind, upstream.CallerFault):
        assert "sk-canary" not in shown.message


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (BudgetExceeded("user", "month", "money", cap=10, posted=5, held=5, wanted=1), 402, "budget_exceeded"),
        (LedgerUnavailable("away"), 503, "ledger_unavailable"),
        (OperationalError("away"), 503, "access_unknown"),
        (ModelUnknown("gtp", ("gpt",)), 404, "model_not_found"),
        (ModelNotAllowed("gpt"), 403, "model_not_allowed"),
        (upstream.RateLimited(retry_after_s=7), 429, "upstream_rate_limited"),
        (upstream.AuthRejected(status=401), 502, "upstream_auth_rejected"),
        (upstream.FirstByteTimeout(), 504, "upstream_first_byte_timeout"),
        (upstream.ContextTooLong(provider_message="too long by 5"), 400, "context_length_exceeded"),
    ],
)
def test_errors_map_to_status_and_code(error: Exception, status: int, code: str) -> None:
    shown = to_gateway_error(error)
    assert shown is not None
    assert (shown.status, shown.code) == (status, code)


def test_an_error_nobody_listed_is_a_defect() -> None:
    assert to_gateway_error(KeyError("secret")) is None


def test_U17_the_soonest_moment_any_target_named_is_the_retry_after() -> None:
    records = (AttemptRecord(target(), 1, "upstream_rate_limited", 5), AttemptRecord(target(), 2, "upstream_rate_limited", 5))
    shown = to_gateway_error(AllTargetsFailed(records, upstream.RateLimited(retry_after_s=30), retry_after_s=4.2))
    assert shown is not None
    assert shown.http_headers()["Retry-After"] == "5"
    assert len(shown.body("req_1")["error"]["attempts"]) == 2
    assert shown.message.startswith("All 2 attempts failed")


def test_the_caller_reads_the_providers_words_only_about_its_own_fault() -> None:
    shown = to_gateway_error(upstream.CallerFault("detail", provider_message="temperature must be below 2"))
    assert shown is not None
    assert shown.message == "temperature must be below 2"


def test_C16_words_of_a_provider_pass_only_after_redaction() -> None:
    error = upstream.CallerFault("400 sk-1", provider_message="bad key sk-1", quotes_provider=True)
    shown = to_gateway_error(error)
    assert shown is not None
    assert shown.message == "The provider refused the request."
    assert "sk-1" not in f"{error} {error!r}"
    error.redact()
    assert to_gateway_error(error).message == "bad key sk-1"
