"""How many bytes of request bodies a process holds: bounded as a whole and for each caller (C17).

A body counts from the moment its size is known until its request is answered: so long it is in memory, in one form or another.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from django.conf import settings

from aigateway.api.errors import Category
from aigateway.errors import GatewayError, overloaded

RETRY_AFTER_S = 1


class Bodies:
    """The bodies under way in this process."""

    def __init__(self) -> None:
        self.held_bytes = 0
        self._of_caller: dict[Hashable, int] = {}

    def held_by(self, caller: Hashable) -> int:
        return self._of_caller.get(caller, 0)

    def change(self, caller: Hashable, by: int) -> None:
        self.held_bytes += by
        held = self.held_by(caller) + by
        if held:
            self._of_caller[caller] = held
        else:
            self._of_caller.pop(caller, None)


class Hold:
    """What one request holds. ``caller_bytes_max`` is what all requests of ``caller`` may hold together."""

    def __init__(self, bodies: Bodies, caller: Hashable, caller_bytes_max: int) -> None:
        self._bodies = bodies
        self._caller = caller
        self._caller_bytes_max = caller_bytes_max
        self._bytes = 0

    def grow_to(self, size: int) -> None:
        """Raises ``GatewayError``: 429 where it is the caller's own requests that hold too much, 503 where it is everybody's."""
        more = size - self._bytes
        if more <= 0:
            return
        if self._bodies.held_by(self._caller) + more > self._caller_bytes_max:
            raise _caller_holds_too_much(self._caller_bytes_max)
        if self._bodies.held_bytes + more > max(settings.BODIES_MAX_BYTES, settings.MAX_BODY_BYTES):
            raise _all_hold_too_much()
        self._bodies.change(self._caller, more)
        self._bytes = size

    def release(self) -> None:
        self._bodies.change(self._caller, -self._bytes)
        self._bytes = 0


def of_known_caller(bodies: Bodies, caller: Hashable) -> Hold:
    """One body of the largest size must always fit, whatever the settings say."""
    return Hold(bodies, caller, max(settings.CALLER_BODIES_MAX_BYTES, settings.MAX_BODY_BYTES))


def _caller_holds_too_much(bytes_max: int) -> GatewayError:
    return GatewayError(
        429,
        Category.RATE_LIMIT,
        "too_many_body_bytes",
        f"The bodies of your requests under way would be more than {bytes_max} bytes together.",
        "Wait until some of your requests are answered, or send smaller ones.",
        retry_after_s=RETRY_AFTER_S,
    )


def _all_hold_too_much() -> GatewayError:
    return replace(overloaded(), message="The bodies of the requests under way fill the memory set aside for them.")
