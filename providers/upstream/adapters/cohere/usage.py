"""What Cohere counts, and what of it is billed."""

from __future__ import annotations

from providers.upstream.adapters.json_values import count_at, object_at
from providers.upstream.types import JsonObject, TokenUsage


def parse_usage(usage: JsonObject) -> TokenUsage:
    """What is billed: ``billed_units``, which leaves out the tokens of Cohere's own prompt template.

    ``tokens`` and ``cached_tokens`` count that template as well (8 billed of 1,394, 1,360 of them cached), so neither has a
    place in the buckets where ``billed_units`` is given. Reasoning is part of the billed output.
    """
    tokens = object_at(usage, "tokens")
    counted = object_at(usage, "billed_units") or tokens
    output = count_at(counted, "output_tokens")
    reasoning = count_at(tokens, "reasoning_tokens")
    if output is not None and reasoning is not None:
        reasoning = min(reasoning, output)
        output -= reasoning
    return TokenUsage(input_tokens=count_at(counted, "input_tokens"), output_tokens=output, reasoning_tokens=reasoning)
