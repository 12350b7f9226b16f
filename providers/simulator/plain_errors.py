"""Wire formats whose error is one text: which status and which words each fault has."""

from __future__ import annotations

from collections.abc import Mapping

from providers.simulator.controls import Fault

FAILURES: Mapping[Fault, tuple[int, str]] = {
    Fault.HTTP_400: (400, "invalid request: refused on demand"),
    Fault.HTTP_401: (401, "invalid api token"),
    Fault.HTTP_402: (402, "payment required: no credit is left"),
    Fault.HTTP_403: (403, "access denied"),
    Fault.HTTP_404: (404, "model 'sim-gone' not found"),
    Fault.HTTP_429: (429, "rate limit reached, please slow down"),
    Fault.HTTP_500: (500, "internal server error"),
    Fault.HTTP_503: (503, "server overloaded, please try again later"),
    Fault.HTTP_529: (503, "server overloaded, please try again later"),
    Fault.QUOTA: (402, "You have exceeded your monthly included credits."),
    Fault.BLOCKED: (400, "the prompt was blocked by the content filter"),
}


def failure_of(fault: Fault, retry_after: str) -> tuple[int, str, dict[str, str]]:
    """Status, text and further headers."""
    status, text = FAILURES[fault]
    return status, text, {"retry-after": retry_after} if fault is Fault.HTTP_429 else {}


def bearer(headers: Mapping[str, str]) -> str | None:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None
