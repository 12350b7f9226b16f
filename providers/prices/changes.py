"""Two price cards side by side, figure by figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from providers.rates import BUCKET_OF_RATE
from providers.upstream.types import JsonObject


@dataclass(frozen=True, slots=True)
class FigureChange:
    """One figure of both cards in nano-dollars; ``None`` has no price of its own there."""

    figure: str
    ours: int | None
    theirs: int | None

    @property
    def is_changed(self) -> bool:
        return self.ours != self.theirs

    @property
    def percent(self) -> str | None:
        """``+20.0``; ``None`` where there is nothing to compare with."""
        if not self.ours or self.theirs is None:
            return None
        return f"{Decimal(self.theirs - self.ours) * 100 / Decimal(self.ours):+.1f}"


def changes(ours: JsonObject | None, theirs: JsonObject) -> list[FigureChange]:
    """Every figure either card has, in the order of the cards."""
    before = _flat(ours) if ours is not None else {}
    after = _flat(theirs)
    return [FigureChange(figure, before.get(figure), after.get(figure)) for figure in {**after, **before}]


def _flat(card: JsonObject) -> dict[str, int]:
    figures = _rates("", card)
    if card.get("request_nano"):
        figures["per request"] = card["request_nano"]
    if card.get("tool_call_nano") is not None:
        figures["per tool call"] = card["tool_call_nano"]
    figures |= _tiers("", card)
    for window in card.get("windows") or ():
        span = f"{window['start']}-{window['end']} {window['zone']}"
        figures |= {**_rates(f"{span}: ", window), **_tiers(f"{span}, ", window)}
    return figures


def _tiers(prefix: str, card: Mapping[str, object]) -> dict[str, int]:
    tiers = card.get("context_tiers") or ()
    assert isinstance(tiers, (list, tuple))
    return {name: nano for tier in tiers for name, nano in _rates(f"{prefix}above {tier['above_input_tokens']:,} tokens: ", tier).items()}


def _rates(prefix: str, rates: JsonObject) -> dict[str, int]:
    named = ((bucket, rates.get(rate)) for rate, bucket in BUCKET_OF_RATE.items())
    return {f"{prefix}{bucket}": nano for bucket, nano in named if nano is not None}
