"""Tools that providers run themselves."""

from __future__ import annotations

from dataclasses import dataclass

TOOL_CALLS_UNSAID = 5
"""Calls of a provider's own tools that leave with a request which names no bound where its format has a field for one."""


@dataclass(frozen=True, slots=True)
class ProviderTools:
    """Tools the provider runs itself and bills by the call. ``fields`` are their paths in the client's body, at least one.

    ``calls_max`` bounds the calls of all of them together; ``None``: nothing does.
    """

    fields: tuple[str, ...]
    calls_max: int | None
