"""What Anthropic's errors mean beyond the common rules (https://docs.anthropic.com/en/api/errors)."""

from __future__ import annotations

from providers.upstream.adapters.error_rules import error_of
from providers.upstream.errors import ContextTooLong, RateLimited, UpstreamError
from providers.upstream.types import HttpResponse


def parse_error(response: HttpResponse) -> UpstreamError:
    """A 429 that says it should not be retried is one request above the whole bucket: too large, not too soon."""
    error = error_of(response)
    if isinstance(error, RateLimited) and response.headers.get("x-should-retry") == "false":
        return ContextTooLong(error.detail, status=error.status, quotes_provider=True)
    return error
