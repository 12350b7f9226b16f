"""A request that comes back to a gateway it went through already is a loop. Each gateway signs what it sends on, in one header."""

from __future__ import annotations

from contextvars import ContextVar

HEADER = "x-gateway-hops"
HOPS_MAX = 8
HOPS_CHARACTERS_MAX = 400
_came_through: ContextVar[str] = ContextVar("came_through", default="")


def arrive(hops: str, own: str) -> bool:
    """Notes where the present request has been, for what is sent on in its course. False: it was here before, or in too many places."""
    names = [name for part in hops.split(",") if (name := part.strip())]
    if own in names or len(names) >= HOPS_MAX or len(hops) > HOPS_CHARACTERS_MAX:
        return False
    _came_through.set(", ".join(names))
    return True


def signed(own: str) -> str:
    """The header's value for what is sent on in the course of the present request."""
    before = _came_through.get()
    return f"{before}, {own}" if before else own
