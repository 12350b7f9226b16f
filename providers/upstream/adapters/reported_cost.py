"""What a provider itself says a call cost, read exactly: the numbers of the body's text, never rounded through a float.

Sources: https://openrouter.ai/docs/use-cases/usage-accounting (``usage.cost`` in dollars), https://docs.x.ai/docs/api-reference
(``usage.cost_in_usd_ticks``), https://docs.perplexity.ai/api-reference (``usage.cost.total_cost``), and what was recorded
(wire.md, section 10).
"""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

import msgspec

from providers.upstream.adapters.json_values import object_at
from providers.upstream.types import JsonObject, TokenUsage

_TICK_PLACES: Final = 10
"""xAI counts in ticks of 1e-10 dollars: its recorded costs equal its list prices times the tokens."""
DOLLARS_MAX: Final = Decimal(1_000_000)
"""A dearer single call is a mistake and no report."""
_NANO: Final = Decimal("1e-9")
_decode: Final = msgspec.json.Decoder(float_hook=Decimal).decode


def with_reported_cost(usage: TokenUsage, raw: bytes) -> TokenUsage:
    """``usage`` with the cost that the JSON text ``raw`` reports, if any; nearly every text is not even decoded."""
    if b'"cost' not in raw:
        return usage
    try:
        body: Any = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return usage
    nano = reported_nano(object_at(body, "usage") or object_at(object_at(body, "response"), "usage"))
    return usage if nano is None else replace(usage, reported_cost_nano=nano)


def reported_nano(usage: JsonObject) -> int | None:
    """Nano-dollars, half-even; ``None`` where nothing believable is said. Zero is a price, but not in ticks: hosts of
    Grok that bill otherwise (Azure) report zero ticks for every call."""
    ticks = usage.get("cost_in_usd_ticks")
    if isinstance(ticks, int) and not isinstance(ticks, bool) and ticks > 0:
        return _nano_of(Decimal(ticks).scaleb(-_TICK_PLACES))
    cost = usage.get("cost")
    if isinstance(cost, dict):
        cost = cost.get("total_cost") if cost.get("currency", "USD") == "USD" else None
    if isinstance(cost, bool) or not isinstance(cost, (int, Decimal)):
        return None
    return _nano_of(Decimal(cost))


def _nano_of(amount: Decimal) -> int | None:
    if not amount.is_finite() or not 0 <= amount < DOLLARS_MAX:
        return None
    return int(amount.quantize(_NANO, ROUND_HALF_EVEN).scaleb(9))
