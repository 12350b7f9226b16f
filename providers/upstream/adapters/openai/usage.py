"""Token usage as OpenAI and everybody compatible with it report it (wire.md, section 0)."""

from __future__ import annotations

from providers.upstream.adapters.json_values import count_at, object_at
from providers.upstream.types import JsonObject, TokenUsage

# Beside ``prompt_tokens_details``, and inside of ``prompt_tokens`` like those: DeepSeek, Mistral, Together, Venice.
_CACHED = ("prompt_cache_hit_tokens", "num_cached_tokens", "cached_tokens", "cache_read_input_tokens")


def parse_usage(body: JsonObject) -> TokenUsage | None:
    """Disjoint buckets from inclusive counts; ``None`` when the body carries no usage.

    Cached and cache-written tokens are part of ``prompt_tokens``; where a host reports more of them than prompt tokens
    (Grok on Azure) or both for the same tokens (OpenRouter), reads count first and the rest is clamped. Whether reasoning
    and audio are part of the counts differs by vendor and is told by ``total_tokens``: what it holds beyond prompt and completion
    is billed, so it is never left out.
    """
    if not (body.get("usage") or body.get("x_groq") or body.get("timings")):
        return None  # nearly every event of a stream
    usage = object_at(body, "usage") or object_at(object_at(body, "x_groq"), "usage")
    prompt = count_at(usage, "prompt_tokens", "input_tokens")
    completion = count_at(usage, "completion_tokens", "output_tokens")
    if prompt is None and completion is None:
        return _usage_of_timings(object_at(body, "timings"))
    prompt_details = object_at(usage, "prompt_tokens_details")
    completion_details = object_at(usage, "completion_tokens_details")
    cached = _told(count_at(prompt_details, "cached_tokens"), *(count_at(usage, name) for name in _CACHED))
    if cached is None:
        cached = count_at(object_at(body, "timings"), "cache_n")  # llama.cpp before it had prompt_tokens_details
    written = count_at(prompt_details, "cache_write_tokens")
    audio_in, image_in = count_at(prompt_details, "audio_tokens"), count_at(prompt_details, "image_tokens")
    reasoning = _told(count_at(completion_details, "reasoning_tokens"), count_at(usage, "reasoning_tokens"))
    audio_out = count_at(completion_details, "audio_tokens")
    outside = _outside_total(count_at(usage, "total_tokens"), prompt, completion)
    if outside > 0 and prompt is not None and (outside == audio_in or usage.get("prompt_audio_seconds")):
        prompt += outside  # Mistral: audio input comes on top
        audio_in = audio_in or outside
    elif outside > 0 and completion is not None:
        completion += outside  # xAI: reasoning comes on top; Google's OpenAI door shows its thinking nowhere but in the total
        reasoning = reasoning or outside
    elif reasoning and completion is not None and (reasoning > completion or "market_cost" in usage):
        # Perplexity's deep research and Vercel's gateway, whose own cost shows it: on top, and outside of the total as well.
        completion += reasoning
    uncached, (cached, written, audio_in, image_in) = _split(prompt, cached, written, audio_in, image_in)
    visible, (reasoning, audio_out) = _split(completion, reasoning, audio_out)
    return TokenUsage(
        input_tokens=uncached,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        output_tokens=visible,
        reasoning_tokens=reasoning,
        audio_input_tokens=audio_in,
        audio_output_tokens=audio_out,
        image_input_tokens=image_in,
    )


def _told(*counts: int | None) -> int | None:
    """The first that says something: a zero may be the default of a field that is never filled. ``None`` where none is there."""
    return next((count for count in counts if count), None if all(count is None for count in counts) else 0)


def _outside_total(total: int | None, prompt: int | None, completion: int | None) -> int:
    return 0 if total is None or prompt is None or completion is None else total - prompt - completion


def _split(total: int | None, *parts: int | None) -> tuple[int | None, list[int | None]]:
    """What is left of ``total`` after taking the parts out one by one; no part exceeds what is left."""
    left = total
    taken: list[int | None] = []
    for part in parts:
        counted = part if part is None or left is None else min(part, left)
        if left is not None:
            left -= counted or 0
        taken.append(counted)
    return left, taken


def _usage_of_timings(timings: JsonObject) -> TokenUsage | None:
    """Older llama.cpp servers count in ``timings`` only; ``prompt_n`` excludes what the cache held."""
    prompt, predicted = count_at(timings, "prompt_n"), count_at(timings, "predicted_n")
    if prompt is None or predicted is None:
        return None
    return TokenUsage(input_tokens=prompt, cache_read_tokens=count_at(timings, "cache_n"), output_tokens=predicted)
