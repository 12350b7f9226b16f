"""Refusals in Google's words (https://google.aip.dev/193)."""

from __future__ import annotations

from typing import Any

import msgspec

from aigateway.errors import GatewayError, explain_attempt

# google.rpc.Code; the rest of 4xx is INVALID_ARGUMENT, the rest of 5xx INTERNAL.
_STATUSES = {
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_DOMAIN = "aigateway"


def error_out(error: GatewayError, request_id: str) -> bytes:
    """Google's envelope; our code, recovery and request id stand in the details, where all values are texts.

    ``error`` comes first: Google's client looks for it at the beginning of a stream's chunk.
    """
    ours = {"code": error.code, "category": error.category.value, "recovery": error.recovery, "request_id": request_id}
    if error.param:
        ours["param"] = error.param
    if error.attempts:
        shown = (explain_attempt(record) for record in error.attempts)
        ours["attempts"] = "; ".join(f"{one['provider']}/{one['model']}: {one['outcome']}" for one in shown)
    details: list[dict[str, Any]] = [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": error.code.upper(), "domain": _DOMAIN, "metadata": ours}
    ]
    if error.retry_after_s is not None:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{error.retry_after_s:g}s"})
    status = _STATUSES.get(error.status, "INVALID_ARGUMENT" if error.status < 500 else "INTERNAL")
    return msgspec.json.encode({"error": {"code": error.status, "message": error.message, "status": status, "details": details}})
