"""What Cohere's errors mean: ``{"message"}`` or ``{"id", "message"}``, sometimes with ``error_type``
(https://docs.cohere.com/reference/errors)."""

from __future__ import annotations

from providers.upstream.adapters.error_rules import Rule, rule
from providers.upstream.errors import AuthRejected, BillingRefused, ContextTooLong, QuotaExhausted, ServerFailed, UnsupportedRequest

ERRORS: tuple[Rule, ...] = (
    rule(AuthRejected, (498,)),  # invalid token; elsewhere this status means load
    rule(ServerFailed, (499,)),  # cancelled on their side
    rule(QuotaExhausted, (429,), (), ("calls / month", "calls per month", "monthly limit")),  # trial keys
    rule(BillingRefused, (429,), (), ("billing limit", "add or update your payment method")),
    rule(ContextTooLong, (400,), (), ("too many tokens",)),
    rule(
        UnsupportedRequest,
        (400, 422),
        (),
        ("not supported by the provided model", "not supported by this model", "is not supported with", "does not support"),
    ),
)
