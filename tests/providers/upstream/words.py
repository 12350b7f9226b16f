"""What an error says, for ``pytest.raises(..., check=says("..."))``: its text as an exception names its class only."""

from __future__ import annotations

from collections.abc import Callable

from providers.upstream.errors import UpstreamError


def says(words: str) -> Callable[[UpstreamError], bool]:
    return lambda error: words in error.detail
