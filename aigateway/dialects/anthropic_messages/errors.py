"""Refusals in Anthropic's words (https://docs.anthropic.com/en/api/errors)."""

from __future__ import annotations

import msgspec

from aigateway.errors import GatewayError

# The rest of 4xx is invalid_request_error, the rest of 5xx api_error.
_ERROR_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_out(error: GatewayError, request_id: str) -> bytes:
    """Anthropic's envelope. ``type`` is Anthropic's word for the status; our code, category and recovery stand beside it."""
    ours = error.body(request_id)["error"]
    kind = _ERROR_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    own = {name: value for name, value in ours.items() if name not in ("type", "message", "request_id")}
    shown = {"type": kind, "message": error.message, **own}
    return msgspec.json.encode({"type": "error", "error": shown, "request_id": request_id})
