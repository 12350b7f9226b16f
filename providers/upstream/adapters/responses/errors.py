"""Errors inside of a response: its status tells them, whatever the status line said."""

from __future__ import annotations

from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.errors import ServerFailed, UpstreamError
from providers.upstream.types import JsonObject


def failure_of(body: JsonObject) -> UpstreamError | None:
    """The error of a response that failed, or of a body that is one."""
    if body.get("status") == "failed" or body.get("error"):
        return error_in_success(body) or ServerFailed("the response failed without a reason")
    return error_in_success(body)
