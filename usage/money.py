"""What calls cost, in integer nano-dollars: no float anywhere, one half-even rounding per ledger line."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import datetime, time
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from providers.fields import divide_half_even
from providers.upstream.types import JsonObject, PriceCard, PriceWindow, Rates, TokenUsage

TOKENS_PER_PRICE: Final = 1_000_000
PPM: Final = 1_000_000
INPUT_BUCKETS: Final = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "audio_input_tokens",
    "image_input_tokens",
)
OUTPUT_BUCKETS: Final = ("output_tokens", "reasoning_tokens", "audio_output_tokens")
BUCKETS: Final = INPUT_BUCKETS + OUTPUT_BUCKETS
COUNTS: Final = (*BUCKETS, "provider_tool_calls")
"""All that a card prices of a line beside the request itself."""
RATE_OF_BUCKET: Final = {bucket: f"{bucket.removesuffix('_tokens')}_nano_per_mtok" for bucket in BUCKETS}
_RATE_NAMES: Final = tuple(rate.name for rate in fields(Rates))
MAX_TOKENS: Final = 10_000_000_000
"""Largest believable count in one bucket of one call; anything above is a provider's mistake, not a measurement."""
TOOL_CALLS_MAX: Final = 100_000
"""Largest believable number of calls of the provider's own tools in one call."""
SAID_DIGITS_MAX: Final = 24
_CALLS: Final = ("provider_tool_calls",)
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


def card_at(card: PriceCard, instant: datetime) -> PriceCard:
    """The card to fix at dispatch: the first window that ``instant`` (aware) lies in, or the card's own rates; no windows left."""
    if not card.windows:
        return card
    for window in card.windows:
        if _contains(window, instant):
            rates = {name: getattr(window, name) for name in _RATE_NAMES}
            return replace(card, **rates, context_tiers=window.context_tiers, windows=())
    return replace(card, windows=())


def _contains(window: PriceWindow, instant: datetime) -> bool:
    local = instant.astimezone(ZoneInfo(window.zone)).time()
    start, end = time.fromisoformat(window.start), time.fromisoformat(window.end)
    return start <= local < end if start < end else local >= start or local < end


def cost_of(usage: TokenUsage, card: PriceCard) -> int:
    """The exact cost in nano-dollars, rounded half-even once.

    Raises ``UsageUnknown`` when input or output is not reported, or when a count is negative or absurd.
    """
    if usage.input_tokens is None or usage.output_tokens is None:
        raise UsageUnknown("input or output tokens were not reported")
    counts = [getattr(usage, bucket) or 0 for bucket in BUCKETS]
    if not all(0 <= tokens <= MAX_TOKENS for tokens in counts):
        raise UsageUnknown("a token count is negative or absurd")
    rates = rates_for(card, usage.total_input_tokens or 0)
    scaled = sum(tokens * rate_of(rates, bucket) for bucket, tokens in zip(BUCKETS, counts, strict=True))
    tool_calls = usage.provider_tool_calls or 0
    if not 0 <= tool_calls <= MAX_TOKENS:
        raise UsageUnknown("a number of tool calls is negative or absurd")
    listed = scaled + (card.request_nano + tool_calls * (card.tool_call_nano or 0)) * TOKENS_PER_PRICE
    if not card.discount_ppm:
        cost = divide_half_even(listed, TOKENS_PER_PRICE)
    else:
        cost = divide_half_even(listed * (PPM - card.discount_ppm), TOKENS_PER_PRICE * PPM)
    if cost > MAX_NANO:
        raise UsageUnknown("the cost exceeds what a ledger line holds")
    return cost


def believable(usage: TokenUsage, input_tokens_max: int, output_tokens_max: int) -> tuple[TokenUsage, str]:
    """``usage`` without the counts of a direction that cannot be, and what was said of them, as text; empty: all of it can be.

    The bounds come from what the request and the model can be. What is left out is unknown, so its cost becomes an estimate.
    """
    said: dict[str, int] = {}
    for buckets, most in ((INPUT_BUCKETS, input_tokens_max), (OUTPUT_BUCKETS, output_tokens_max), (_CALLS, TOOL_CALLS_MAX)):
        counts = {bucket: count for bucket in buckets if (count := getattr(usage, bucket)) is not None}
        if not 0 <= sum(counts.values()) <= min(most, MAX_TOKENS) or any(count < 0 for count in counts.values()):
            said |= counts
    if not said:
        return usage, ""
    words = ", ".join(f"{name}={_short(count)}" for name, count in said.items() if count)
    return replace(usage, **dict.fromkeys(said)), f"not believed: {words}"


def _short(count: int) -> str:
    digits = str(count)
    return digits if len(digits) <= SAID_DIGITS_MAX else f"{digits[:3]}... ({len(digits)} digits)"


def knows_fee(card: PriceCard, tool_calls: int | None) -> bool:
    """Whether the card can price so many calls of the provider's own tools: a fee it does not name is unknown, not zero."""
    return not tool_calls or card.tool_call_nano is not None


def rates_for(card: PriceCard, input_tokens: int) -> Rates:
    """The rates of a call with so much input: those of the highest tier it exceeds, else the card's own."""
    exceeded = [tier for tier in card.context_tiers if input_tokens > tier.above_input_tokens]
    return max(exceeded, key=lambda tier: tier.above_input_tokens) if exceeded else card


def rate_of(rates: Rates, bucket: str) -> int:
    """Nano-dollars per million tokens of ``bucket`` (a field of ``TokenUsage``), after the fall back to its direction."""
    own: int | None = getattr(rates, RATE_OF_BUCKET[bucket])
    if own is not None:
        return own
    return rates.output_nano_per_mtok if bucket in OUTPUT_BUCKETS else rates.input_nano_per_mtok


def worst_case(body_bytes: int, max_output_tokens: int, choices: int, card: PriceCard, images: int = 0, tool_calls: int = 0) -> int:
    """An upper bound of what a call can cost, in nano-dollars, rounded up: the amount to hold before dispatch.

    One token per byte of body (a token is at least one byte) at the dearest input bucket, the output limit once per
    choice at the dearest output bucket, each in the dearest tier the input can reach. ``images`` counts those sent by address,
    ``tool_calls`` the most of tools that the provider runs.
    """
    input_tokens, output_tokens = most_tokens(body_bytes, max_output_tokens, choices, images)
    reachable: list[Rates] = [card, *(tier for tier in card.context_tiers if tier.above_input_tokens < input_tokens)]
    dearest_input = max(rate_of(rates, bucket) for rates in reachable for bucket in INPUT_BUCKETS)
    dearest_output = max(rate_of(rates, bucket) for rates in reachable for bucket in OUTPUT_BUCKETS)
    once = card.request_nano + tool_calls * (card.tool_call_nano or 0)
    listed = input_tokens * dearest_input + output_tokens * dearest_output + once * TOKENS_PER_PRICE
    return min(-(-listed * (PPM - card.discount_ppm) // (TOKENS_PER_PRICE * PPM)), MAX_NANO)


def most_tokens(body_bytes: int, max_output_tokens: int, choices: int, images: int = 0) -> tuple[int, int]:
    """Upper bounds of a call's input and output tokens."""
    return body_bytes + images * IMAGE_TOKENS_MAX, max_output_tokens * choices


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
