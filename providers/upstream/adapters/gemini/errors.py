"""Rows of the error table that only Google's APIs need (https://ai.google.dev/gemini-api/docs/troubleshooting,
https://cloud.google.com/resource-manager/docs/reference/rest/Shared.Types/ErrorReason)."""

from __future__ import annotations

from providers.upstream.adapters.error_rules import Rule, rule
from providers.upstream.errors import AuthRejected, ContextTooLong, PermissionRefused, QuotaExhausted, UnsupportedRequest

_KEY_REFUSED = (
    "api_key_invalid",
    "api_key_service_blocked",
    "api_key_ip_address_blocked",
    "api_key_http_referrer_blocked",
    "access_token_expired",
    "access_token_type_unsupported",
    "consumer_invalid",
    "consumer_suspended",
    "credentials_missing",
    "service_disabled",
)

ERRORS: tuple[Rule, ...] = (
    rule(AuthRejected, (400, 401, 403), _KEY_REFUSED),
    rule(AuthRejected, (403,), (), ("reported as leaked",)),
    # The text is the same for a minute's and a day's quota (details tell), but a limit of zero never frees anything.
    rule(QuotaExhausted, (429,), (), ("limit: 0,", "limit: 0\n")),
    rule(PermissionRefused, (400,), ("failed_precondition",), ("user location is not supported",)),
    rule(ContextTooLong, (400,), (), ("exceeds the maximum number of tokens", "exceeds the limit of", "token count exceeds")),
    rule(UnsupportedRequest, (400,), (), ("is not enabled for", "only works in thinking mode", "is not supported by this model")),
)
