"""What Anthropic counts, and what it bills by the call."""

from __future__ import annotations

from providers.upstream.adapters.json_values import count_at, object_at
from providers.upstream.types import JsonObject, TokenUsage


def parse_usage(usage: JsonObject) -> TokenUsage:
    """``input_tokens`` already excludes both cache buckets; thinking is part of ``output_tokens``.

    Only top-level figures count: ``iterations`` repeats parts of them.
    """
    written = count_at(usage, "cache_creation_input_tokens")
    written_1h = count_at(object_at(usage, "cache_creation"), "ephemeral_1h_input_tokens")
    if written is not None and written_1h is not None:
        written_1h = min(written_1h, written)
        written -= written_1h
    output = count_at(usage, "output_tokens")
    thinking = count_at(object_at(usage, "output_tokens_details"), "thinking_tokens")
    if output is not None and thinking is not None:
        thinking = min(thinking, output)
        output -= thinking
    return TokenUsage(
        input_tokens=count_at(usage, "input_tokens"),
        cache_read_tokens=count_at(usage, "cache_read_input_tokens"),
        cache_write_tokens=written,
        cache_write_1h_tokens=written_1h,
        output_tokens=output,
        reasoning_tokens=thinking,
        provider_tool_calls=count_at(object_at(usage, "server_tool_use"), "web_search_requests"),
    )
