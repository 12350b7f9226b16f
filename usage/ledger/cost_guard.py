"""PostgreSQL computes the cost of every measured usage line again, from the line's own card and counts, and refuses another.

The formula is written a second time on purpose, in SQL: a mistake in ``usage.money``, or between it and the ledger, cannot be
booked. SQLite's integers do not reach that far; there only ``verify_ledger`` computes the costs again.
"""

from __future__ import annotations

from typing import Final

from django.db.backends.base.base import BaseDatabaseWrapper

_FUNCTION: Final = """
CREATE OR REPLACE FUNCTION usage_measured_cost(
    card jsonb, input_tokens bigint, cache_read_tokens bigint, cache_write_tokens bigint, cache_write_1h_tokens bigint,
    audio_input_tokens bigint, image_input_tokens bigint, output_tokens bigint, reasoning_tokens bigint, audio_output_tokens bigint,
    tool_calls bigint)
RETURNS numeric LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    total_input numeric := input_tokens::numeric + coalesce(cache_read_tokens, 0) + coalesce(cache_write_tokens, 0)
        + coalesce(cache_write_1h_tokens, 0) + coalesce(audio_input_tokens, 0) + coalesce(image_input_tokens, 0);
    rates jsonb := card;
    input_rate numeric;
    output_rate numeric;
    divisor numeric := 1000000;
    listed numeric;
    cost numeric;
    twice_the_rest numeric;
BEGIN
    IF jsonb_array_length(card -> 'context_tiers') > 0 THEN
        SELECT tier INTO rates FROM jsonb_array_elements(card -> 'context_tiers') tier
        WHERE total_input > (tier ->> 'above_input_tokens')::numeric ORDER BY (tier ->> 'above_input_tokens')::numeric DESC LIMIT 1;
        rates := coalesce(rates, card);
    END IF;
    input_rate := rates ->> 'input_nano_per_mtok';
    output_rate := rates ->> 'output_nano_per_mtok';
    listed := input_tokens * input_rate + output_tokens * output_rate
        + coalesce(cache_read_tokens, 0) * coalesce((rates ->> 'cache_read_nano_per_mtok')::numeric, input_rate)
        + coalesce(cache_write_tokens, 0) * coalesce((rates ->> 'cache_write_nano_per_mtok')::numeric, input_rate)
        + coalesce(cache_write_1h_tokens, 0) * coalesce((rates ->> 'cache_write_1h_nano_per_mtok')::numeric, input_rate)
        + coalesce(audio_input_tokens, 0) * coalesce((rates ->> 'audio_input_nano_per_mtok')::numeric, input_rate)
        + coalesce(image_input_tokens, 0) * coalesce((rates ->> 'image_input_nano_per_mtok')::numeric, input_rate)
        + coalesce(reasoning_tokens, 0) * coalesce((rates ->> 'reasoning_nano_per_mtok')::numeric, output_rate)
        + coalesce(audio_output_tokens, 0) * coalesce((rates ->> 'audio_output_nano_per_mtok')::numeric, output_rate)
        + coalesce((card ->> 'request_nano')::numeric, 0) * 1000000
        + coalesce(tool_calls, 0) * coalesce((card ->> 'tool_call_nano')::numeric, 0) * 1000000;
    IF (card ->> 'discount_ppm')::numeric <> 0 THEN
        listed := listed * (1000000 - (card ->> 'discount_ppm')::numeric);
        divisor := divisor * 1000000;
    END IF;
    cost := div(listed, divisor);
    twice_the_rest := 2 * (listed - cost * divisor);
    IF twice_the_rest > divisor OR (twice_the_rest = divisor AND cost % 2 = 1) THEN
        cost := cost + 1;  -- half to even
    END IF;
    RETURN cost;
END
$$
"""
# NOT VALID: older lines are left to verify_ledger, so upgrading a large ledger neither reads it nor locks it for long.
_ADD: Final = """
ALTER TABLE usage_ledgerentry ADD CONSTRAINT ledger_cost_follows_from_card_and_counts CHECK (
    kind <> 'usage' OR basis <> 'measured' OR coalesce(cost_nano = usage_measured_cost(
        price_card, input_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, audio_input_tokens,
        image_input_tokens, output_tokens, reasoning_tokens, audio_output_tokens, provider_tool_calls), false)) NOT VALID
"""
_DROP: Final = "ALTER TABLE usage_ledgerentry DROP CONSTRAINT IF EXISTS ledger_cost_follows_from_card_and_counts"


def install(connection: BaseDatabaseWrapper) -> None:
    """May be called twice."""
    _execute(connection, _DROP, _FUNCTION, _ADD)


def remove(connection: BaseDatabaseWrapper) -> None:
    """Takes the constraint away; the function stays."""
    _execute(connection, _DROP)


def _execute(connection: BaseDatabaseWrapper, *statements: str) -> None:
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
