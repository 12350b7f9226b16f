"""What OpenAI Responses count: tokens, and calls of tools that are billed one by one."""

from __future__ import annotations

from typing import Any

from providers.upstream.adapters.json_values import count_at, list_at, object_at, text_at
from providers.upstream.types import JsonObject, TokenUsage

_UNBILLED_CALLS = frozenset(
    ("function_call", "mcp_call", "computer_call", "local_shell_call", "apply_patch_call", "custom_tool_call", "tool_search_call")
)


def parse_usage(body: JsonObject) -> TokenUsage | None:
    """Cached and cache-written tokens are inside the input, reasoning is inside the output; ``None`` without usage."""
    usage = object_at(body, "usage")
    inputs = count_at(usage, "input_tokens", "prompt_tokens")
    outputs = count_at(usage, "output_tokens", "completion_tokens")
    if inputs is None and outputs is None:
        return None
    details, out_details = object_at(usage, "input_tokens_details"), object_at(usage, "output_tokens_details")
    uncached, cached = _taken(inputs, count_at(details, "cached_tokens"))
    uncached, written = _taken(uncached, count_at(details, "cache_write_tokens", "cache_creation_tokens"))
    uncached, audio_in = _taken(uncached, count_at(details, "audio_tokens"))
    uncached, image_in = _taken(uncached, count_at(details, "image_tokens"))
    visible, reasoning = _taken(outputs, count_at(out_details, "reasoning_tokens"))
    visible, audio_out = _taken(visible, count_at(out_details, "audio_tokens"))
    return TokenUsage(
        input_tokens=uncached,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        output_tokens=visible,
        reasoning_tokens=reasoning,
        audio_input_tokens=audio_in,
        audio_output_tokens=audio_out,
        image_input_tokens=image_in,
        provider_tool_calls=sum(map(is_billed_call, list_at(body, "output"))),
    )


def is_billed_call(item: Any) -> bool:
    """A call of a tool that OpenAI ran and bills by the call; reading a page that a search found costs nothing."""
    kind = text_at(item, "type")
    if kind == "web_search_call":
        return text_at(object_at(item, "action"), "type") in ("", "search")
    return kind.endswith("_call") and kind not in _UNBILLED_CALLS


def _taken(total: int | None, part: int | None) -> tuple[int | None, int | None]:
    """The rest, and the part, which never exceeds what there was."""
    if total is None or part is None:
        return total, part
    part = min(part, total)
    return total - part, part
