"""What calls cost, in integer nano-dollars: no float anywhere, one half-even rounding per ledger line."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec

from providers.upstream.types import JsonObject, PriceCard, TokenUsage

TOKENS_PER_PRICE: Final = 1_000_000
MAX_TOKENS: Final = 10_000_000_000
"""Largest believable count in one bucket of one call; anything above is a provider's mistake, not a measurement."""
MAX_NANO: Final = 2**63 - 1
"""Largest amount a column holds: 9.2 billion dollars."""
IMAGE_TOKENS_MAX: Final = 50_000
"""Bound of one image sent by address, whose bytes are not in the body: the dearest vendor rule (a small model that scales
its tile count) stays below 49,000."""
ESTIMATE_BYTES_PER_TOKEN: Final = 3
"""English and code run at 3.5 to 4.5 bytes a token; 3 errs on the provider's side."""
ESTIMATE_OUTPUT_SLACK_TOKENS: Final = 16
"""Tokens a provider may have generated after the last event that reached us."""


class UsageUnknown(Exception):
    """The usage names no believable count for both directions, so no cost can be measured from it."""


def cost_of(usage: TokenUsage, card: PriceCard) -> int:
    """The exact cost in nano-dollars, rounded half-even once.

    Raises ``UsageUnknown`` when input or output is not reported, or when a count is negative or absurd.
    """
    if usage.input_tokens is None or usage.output_tokens is None:
        raise UsageUnknown("input or output tokens were not reported")
    scaled = 0
    for tokens, nano_per_mtok in _priced_buckets(usage, card):
        if not 0 <= tokens <= MAX_TOKENS:
            raise UsageUnknown("a token count is negative or absurd")
        scaled += tokens * nano_per_mtok
    cost = _divide_half_even(scaled, TOKENS_PER_PRICE) + card.request_nano
    if cost > MAX_NANO:
        raise UsageUnknown("the cost exceeds what a ledger line holds")
    return cost


def worst_case(body_bytes: int, max_output_tokens: int, choices: int, card: PriceCard, images: int = 0) -> int:
    """An upper bound of what a call can cost, in nano-dollars, rounded up: the amount to hold before dispatch.

    One token per byte of body (a token is at least one byte) at the dearest input bucket, the output limit once per
    choice at the dearest output bucket. ``images`` counts the images sent by address.
    """
    input_tokens = body_bytes + images * IMAGE_TOKENS_MAX
    scaled = input_tokens * _dearest_input(card) + max_output_tokens * choices * _dearest_output(card)
    return min(-(-scaled // TOKENS_PER_PRICE) + card.request_nano, MAX_NANO)


def estimate(body_bytes: int, delivered_output_bytes: int, events: int, card: PriceCard, hold: int) -> tuple[TokenUsage, int]:
    """Usage and cost of a call whose usage never arrived; deliberately high, never above the ``hold``.

    Input is a third of the body's bytes. Output is the larger of the delivered events (a provider sends at most a few
    tokens in each) and a third of the delivered bytes, plus slack for what was generated but not delivered. The line
    it goes into is flagged as estimated.
    """
    usage = TokenUsage(
        input_tokens=-(-body_bytes // ESTIMATE_BYTES_PER_TOKEN),
        output_tokens=max(events, -(-delivered_output_bytes // ESTIMATE_BYTES_PER_TOKEN)) + ESTIMATE_OUTPUT_SLACK_TOKENS,
    )
    return usage, min(cost_of(usage, card), hold)


@lru_cache(maxsize=4096)
def card_json(card: PriceCard) -> str:
    """The card as JSON text, as the attempt and the ledger line keep it."""
    return msgspec.json.encode(card).decode()


def card_from_json(stored: JsonObject) -> PriceCard:
    """The card of a ledger line. Raises ``msgspec.ValidationError`` for anything that is not one."""
    return msgspec.convert(stored, PriceCard)


def _priced_buckets(usage: TokenUsage, card: PriceCard) -> tuple[tuple[int, int], ...]:
    """Pairs of token count and price; a bucket without its own price costs what its direction costs."""
    inp, out = card.input_nano_per_mtok, card.output_nano_per_mtok
    return (
        (usage.input_tokens or 0, inp),
        (usage.cache_read_tokens or 0, _or(card.cache_read_nano_per_mtok, inp)),
        (usage.cache_write_tokens or 0, _or(card.cache_write_nano_per_mtok, inp)),
        (usage.cache_write_1h_tokens or 0, _or(card.cache_write_1h_nano_per_mtok, inp)),
        (usage.audio_input_tokens or 0, _or(card.audio_input_nano_per_mtok, inp)),
        (usage.output_tokens or 0, out),
        (usage.reasoning_tokens or 0, _or(card.reasoning_nano_per_mtok, out)),
        (usage.audio_output_tokens or 0, _or(card.audio_output_nano_per_mtok, out)),
    )


def _or(price: int | None, fallback: int) -> int:
    return fallback if price is None else price


def _dearest_input(card: PriceCard) -> int:
    return max(
        card.input_nano_per_mtok,
        card.cache_read_nano_per_mtok or 0,
        card.cache_write_nano_per_mtok or 0,
        card.cache_write_1h_nano_per_mtok or 0,
        card.audio_input_nano_per_mtok or 0,
    )


def _dearest_output(card: PriceCard) -> int:
    return max(card.output_nano_per_mtok, card.reasoning_nano_per_mtok or 0, card.audio_output_nano_per_mtok or 0)


def _divide_half_even(amount: int, divisor: int) -> int:
    quotient, rest = divmod(amount, divisor)
    return quotient + (2 * rest > divisor or (2 * rest == divisor and quotient % 2 == 1))
