"""Refusals as the events of a Responses stream tell them."""

from __future__ import annotations

import msgspec

from aigateway.errors import GatewayError


def error_event(error: GatewayError, request_id: str, number: int) -> bytes:
    """The ``error`` event of the API; its fields are on the top level. Our own are added under ``error``."""
    body = {"type": "error", "code": error.code, "message": error.message, "param": error.param, "sequence_number": number}
    return b"event: error\ndata: " + msgspec.json.encode({**body, **error.body(request_id)}) + b"\n\n"
