"""Errors as clients see them on the inference edge, and the one mapping from what went wrong inside.

The body is the OpenAI envelope with our own fields added (``category``, ``recovery``, ``request_id``, ``attempts``), so the
official clients raise their typed exceptions and people still read what to do. Only errors listed here reach a client.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from django.db import InterfaceError, OperationalError

from aigateway.api.credentials import AMBIGUOUS, AMBIGUOUS_WORDS
from aigateway.api.errors import Category
from aigateway.api.scopes import SCOPE_MISSING
from providers.upstream import errors as upstream
from providers.upstream.dispatch import AllTargetsFailed, AttemptRecord
from providers.upstream.types import Plan
from usage.ledger import BudgetExceeded, LedgerUnavailable
from usage.limits import RateLimitExceeded


@dataclass(eq=False)
class GatewayError(Exception):
    """An error a client may see. ``param`` names the offending field, ``retry_after_s`` becomes ``Retry-After``."""

    status: int
    category: Category
    code: str
    message: str
    recovery: str
    param: str | None = None
    retry_after_s: float | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def body(self, request_id: str) -> dict[str, Any]:
        error: dict[str, Any] = {
            "message": self.message,
            "type": self.category.value,
            "param": self.param,
            "code": self.code,
            "category": self.category.value,
            "recovery": self.recovery,
            "request_id": request_id,
        }
        if self.attempts:
            error["attempts"] = [explain_attempt(record) for record in self.attempts]
        return {"error": error}

    def encoded(self, request_id: str) -> bytes:
        return msgspec.json.encode(self.body(request_id))

    def http_headers(self) -> dict[str, str]:
        headers = dict(self.headers)
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after_s)))
        return headers


def explain_attempt(record: AttemptRecord) -> dict[str, Any]:
    """One physical call as clients may see it: where it went and how it ended, never the provider's own text."""
    return {
        "provider": record.target.provider.slug,
        "model": record.target.name,
        "outcome": record.code,
        "latency_ms": record.latency_ms,
    }


def invalid_request(message: str, *, param: str | None = None, code: str = "invalid_request", status: int = 400) -> GatewayError:
    return GatewayError(status, Category.VALIDATION, code, message, "Correct the request and send it again.", param=param)


def missing_key() -> GatewayError:
    return GatewayError(
        401,
        Category.AUTHENTICATION,
        "missing_api_key",
        "No API key was sent.",
        "Send your gateway key as 'Authorization: Bearer gw_...'.",
        headers={"WWW-Authenticate": "Bearer"},
    )


def invalid_key() -> GatewayError:
    return GatewayError(
        401,
        Category.AUTHENTICATION,
        "invalid_api_key",
        "The API key is not valid: unknown, expired, revoked, or its user is inactive.",
        "Check the key, or ask an administrator for a new one.",
        headers={"WWW-Authenticate": "Bearer"},
    )


def ambiguous_key() -> GatewayError:
    """Two keys in one request: whichever was taken, somebody else's could have been meant (C26)."""
    return GatewayError(
        401,
        Category.AUTHENTICATION,
        AMBIGUOUS,
        AMBIGUOUS_WORDS,
        "Send one key, in one place.",
        headers={"WWW-Authenticate": "Bearer"},
    )


def scope_missing(scope: str) -> GatewayError:
    return GatewayError(
        403,
        Category.PERMISSION,
        SCOPE_MISSING,
        f"This API key may not do this: it lacks the scope '{scope}'.",
        "Use a key that has this scope, or ask an administrator to give it.",
    )


def access_unknown() -> GatewayError:
    """The database is away, so nobody can say whether the key is good: never 401 (I07)."""
    return GatewayError(
        503, Category.SERVICE, "access_unknown", "Access cannot be checked right now.", "Try again shortly.", retry_after_s=2
    )


def context_not_allowed(context: str) -> GatewayError:
    return GatewayError(
        403,
        Category.PERMISSION,
        "context_not_allowed",
        f"This key may not use the context '{context}'.",
        "Use an allowed context, or ask an administrator to widen the key.",
        param="context",
    )


def overloaded() -> GatewayError:
    return GatewayError(
        503, Category.SERVICE, "gateway_overloaded", "Too many requests are in flight.", "Try again shortly.", retry_after_s=1
    )


def shutting_down() -> GatewayError:
    """The drain time is over and the request is not (I18)."""
    return GatewayError(
        503,
        Category.SERVICE,
        "server_shutdown",
        "The gateway is being restarted and could not wait for the end of this answer.",
        "Send the request again.",
        retry_after_s=2,
    )


def unexpected() -> GatewayError:
    return GatewayError(
        500,
        Category.INTERNAL,
        "internal_error",
        "The gateway failed on this request.",
        "Try again; if it persists, report the request id to an administrator.",
    )


# --------------------------------------------------------------------------- from the inside out


def from_budget(error: BudgetExceeded) -> GatewayError:
    return GatewayError(
        402,
        Category.BUDGET,
        "budget_exceeded",
        f"The {error.measure} budget per {error.period} of this {error.scope} cannot cover the most this request may use.",
        "Ask for fewer output tokens, choose a cheaper or free model, wait for the next period, or have the budget raised.",
    )


def from_rate_limit(error: RateLimitExceeded) -> GatewayError:
    """429 that names the limit, with the exact wait; none where waiting never helps."""
    blocks = error.wait_ms is None
    return GatewayError(
        429,
        Category.RATE_LIMIT,
        "rate_limit_exceeded",
        f"The rate limit of {error.limit.name} is reached.",
        "The limit blocks: an administrator raises it." if blocks else "Wait for the time in Retry-After, or have the limit raised.",
        retry_after_s=None if error.wait_ms is None else error.wait_ms / 1000,
        headers={} if blocks else {"Retry-After-Ms": str(error.wait_ms)},
    )


def from_ledger(_: LedgerUnavailable) -> GatewayError:
    return GatewayError(
        503,
        Category.SERVICE,
        "ledger_unavailable",
        "The request was not sent because its cost could not be recorded.",
        "Try again shortly.",
        retry_after_s=2,
    )


def from_unknown_model(error: upstream.ModelUnknown) -> GatewayError:
    near = f" Near: {', '.join(error.nearest)}." if error.nearest else ""
    return GatewayError(
        404,
        Category.MODEL,
        "model_not_found",
        f"There is no model or route named '{error.name[:100]}'.{near}",
        "Use a name from GET /v1/models, or 'auto'.",
        param="model",
    )


def from_forbidden_model(error: upstream.ModelNotAllowed) -> GatewayError:
    return GatewayError(
        403,
        Category.PERMISSION,
        "model_not_allowed",
        f"This key may not use '{error.name[:100]}'.",
        "Use a model from GET /v1/models, or ask an administrator to widen the key.",
        param="model",
    )


def from_empty_plan(plan: Plan) -> GatewayError:
    """No target is left: the answer names the reason that, mended, would help first."""
    reasons = {skipped.reason for skipped in plan.skipped}
    left_out = "; ".join(f"{skipped.address}: {skipped.detail}" for skipped in plan.skipped[:5])
    if reasons & {"circuit_open", "unhealthy"}:
        return GatewayError(
            503, Category.SERVICE, "no_healthy_target", f"No healthy target is left. {left_out}", "Try again shortly.", retry_after_s=5
        )
    if "unpriced" in reasons:
        return GatewayError(
            402,
            Category.BUDGET,
            "price_missing",
            f"The model has no price, so its cost cannot be limited. {left_out}",
            "An administrator sets a price for it (an explicit zero for a free model).",
            param="model",
        )
    if "credential_locked" in reasons:
        return GatewayError(
            503,
            Category.SERVICE,
            "credential_locked",
            f"The key of the provider cannot be opened. {left_out}",
            "An administrator restores the key ring or enters the key again.",
            retry_after_s=60,
        )
    if "no_capability" in reasons or "context_too_small" in reasons:
        return GatewayError(
            400,
            Category.MODEL,
            "unsupported_feature",
            f"No target can do what the request needs. {left_out}",
            "Choose another model or leave the feature out.",
            param="model",
        )
    return GatewayError(
        503, Category.SERVICE, "no_target", f"No target is available. {left_out}", "An administrator enables a provider and its key."
    )


def _caller_fault(error: upstream.CallerFault, attempts: tuple[AttemptRecord, ...]) -> GatewayError:
    message = error.provider_message or error.detail or "The provider refused the request."
    mend = "Correct the request and send it again."
    return GatewayError(400, Category.VALIDATION, error.code, message, mend, param=error.field, attempts=attempts)


_STATUS_OF: Sequence[tuple[type[upstream.UpstreamError], int, Category, str]] = (
    (upstream.RateLimited, 429, Category.RATE_LIMIT, "The provider limits the rate of requests."),
    (upstream.GatewayLimited, 429, Category.RATE_LIMIT, "The gateway limits the rate of requests to the provider."),
    (upstream.CircuitOpen, 503, Category.SERVICE, "The target was failing and is given time to recover."),
    (upstream.PoolExhausted, 503, Category.SERVICE, "Every connection to the provider is busy."),
    (upstream.Overloaded, 503, Category.SERVICE, "The provider is overloaded."),
    (upstream.QuotaExhausted, 502, Category.SERVICE, "The gateway's account at the provider has no quota left."),
    (upstream.AuthRejected, 502, Category.SERVICE, "The provider refused the gateway's credential; your own key is fine."),
    (upstream.CredentialLocked, 503, Category.SERVICE, "The provider's credential cannot be unlocked."),
    (upstream.FirstByteTimeout, 504, Category.NETWORK, "The provider did not answer in time."),
    (upstream.AttemptTimeout, 504, Category.NETWORK, "The provider took too long."),
    (upstream.IdleTimeout, 504, Category.NETWORK, "The provider stopped answering."),
    (upstream.DeadlineExceeded, 504, Category.NETWORK, "The deadline of the request passed."),
    (upstream.ConnectFailed, 502, Category.NETWORK, "The provider cannot be reached."),
    (upstream.UpstreamError, 502, Category.SERVICE, "The provider failed."),
)


def from_upstream(error: upstream.UpstreamError, attempts: tuple[AttemptRecord, ...] = ()) -> GatewayError:
    """One provider failure as a client sees it. The provider's own words pass only where the client caused the failure."""
    if isinstance(error, upstream.CallerFault):
        return _caller_fault(error, attempts)
    _, status, category, message = next(row for row in _STATUS_OF if isinstance(error, row[0]))
    if isinstance(error, upstream.GatewayLimited) and error.limit:
        message = f"The rate limit of {error.limit} is reached."
    return GatewayError(
        status,
        category,
        error.code,
        message,
        "Try again; add a fallback target to the route if this happens often.",
        retry_after_s=error.retry_after_s if status in (429, 503) else None,
        attempts=attempts,
    )


def from_all_failed(error: AllTargetsFailed) -> GatewayError:
    shown = from_upstream(error.last, error.attempts)
    if error.retry_after_s is not None and shown.status in (429, 503):
        shown.retry_after_s = error.retry_after_s
    if len(error.attempts) > 1 and not isinstance(error.last, upstream.CallerFault):
        shown.message = f"All {len(error.attempts)} attempts failed; the last: {shown.message}"
    return shown


def to_gateway_error(error: Exception) -> GatewayError | None:
    """The one mapping. ``None`` means that nobody listed the error: it is a defect, answered as 500 without details."""
    match error:
        case GatewayError():
            return error
        case AllTargetsFailed():
            return from_all_failed(error)
        case upstream.UpstreamError():
            return from_upstream(error)
        case BudgetExceeded():
            return from_budget(error)
        case RateLimitExceeded():
            return from_rate_limit(error)
        case LedgerUnavailable():
            return from_ledger(error)
        case OperationalError() | InterfaceError():
            return access_unknown()
        case upstream.ModelUnknown():
            return from_unknown_model(error)
        case upstream.ModelNotAllowed():
            return from_forbidden_model(error)
    return None
