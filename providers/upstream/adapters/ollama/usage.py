"""What Ollama counts."""

from __future__ import annotations

from providers.upstream.adapters.json_values import count_at
from providers.upstream.types import JsonObject, TokenUsage


def parse_usage(body: JsonObject) -> TokenUsage:
    """The server leaves ``prompt_eval_count`` out where the whole prompt came from its cache: unknown, not zero."""
    return TokenUsage(input_tokens=count_at(body, "prompt_eval_count"), output_tokens=count_at(body, "eval_count"))
