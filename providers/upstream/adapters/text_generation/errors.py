"""What errors of text generation mean."""

from __future__ import annotations

from providers.upstream.adapters.error_rules import Rule, rule
from providers.upstream.errors import BillingRefused, ContextTooLong, Overloaded, QuotaExhausted, UnsupportedRequest

ERRORS: tuple[Rule, ...] = (
    # Limits of the free tier: a used-up month is a quota, a used-up minute or hour is a throttle (the common row for 429).
    rule(QuotaExhausted, (402, 429), (), ("monthly included credits", "monthly usage limit", "exceeded your monthly")),
    rule(BillingRefused, (403,), (), ("requires a pro subscription", "pro subscription")),
    rule(Overloaded, (), ("overloaded",)),
    rule(ContextTooLong, (), (), ("`max_new_tokens` must be <=", "`inputs` must have less than", "tokens + `max_new_tokens`")),
    rule(UnsupportedRequest, (), (), ("grammar is not supported", "grammars are not supported")),
)
