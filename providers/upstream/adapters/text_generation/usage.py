"""What a server of text generation counts, in the details of an answer or in its headers."""

from __future__ import annotations

from collections.abc import Mapping

from providers.upstream.adapters.json_values import count_at, list_at
from providers.upstream.types import JsonObject, TokenUsage


def parse_usage(details: JsonObject, headers: Mapping[str, str]) -> TokenUsage:
    """``details`` always counts the generated tokens. Those of the prompt are counted there in streams only (``input_length``, and
    ``prefill`` where it is asked for), else in a header; the task endpoint may say neither: unknown, not zero."""
    prompt = count_at(details, "input_length")
    if prompt is None and list_at(details, "prefill"):
        prompt = len(list_at(details, "prefill"))
    if prompt is None:
        prompt = _count(headers.get("x-prompt-tokens"))
    output = count_at(details, "generated_tokens")
    return TokenUsage(input_tokens=prompt, output_tokens=_count(headers.get("x-generated-tokens")) if output is None else output)


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) < 10 else None
