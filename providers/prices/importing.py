"""Where imported prices come from: the genai-prices package for services, an explicit zero for own hardware.

Unknown stays unknown: a model nobody priced gets no price row and is refused for paid use.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.metadata import version

import msgspec
from django.core.exceptions import ValidationError
from genai_prices import data
from genai_prices.types import ModelInfo, ModelPrice, StartDateConstraint, TieredPrices, TimeOfDateConstraint
from genai_prices.types import Provider as PriceList

from providers.catalog import ProviderKind, can_chat, can_embed
from providers.fields import nano_from_dollars
from providers.rates import REQUIRED_RATES, check_parts
from providers.simulator.catalogue import MODELS_BY_NAME as SIMULATED
from providers.upstream.types import JsonObject, ListedPrice, ModelListing

PACKAGE = "genai-prices"
LOCAL_SOURCE = "import: own hardware, no cost per token"
SIMULATOR_SOURCE = "import: simulator"
LISTED_SOURCE = "import: the provider's own model list"
IMPORT_SOURCES = (f"import: {PACKAGE}", LOCAL_SOURCE, SIMULATOR_SOURCE, LISTED_SOURCE)
"""Prices whose source starts like this were set by an import and may be superseded by one; all others are an admin's."""


@dataclass(frozen=True, slots=True)
class PriceFigures:
    """One price card in nano-dollars per million tokens, ready for a ``Price`` row; field names are the row's.

    ``valid_from is None``: in force when it is read.
    """

    input_nano_per_mtok: int
    output_nano_per_mtok: int
    source: str
    cache_read_nano_per_mtok: int | None = None
    cache_write_nano_per_mtok: int | None = None
    cache_write_1h_nano_per_mtok: int | None = None
    reasoning_nano_per_mtok: int | None = None
    audio_input_nano_per_mtok: int | None = None
    audio_output_nano_per_mtok: int | None = None
    image_input_nano_per_mtok: int | None = None
    request_nano: int = 0
    tool_call_nano: int | None = None
    context_tiers: list[JsonObject] = field(default_factory=list)
    windows: list[JsonObject] = field(default_factory=list)
    valid_from: datetime | None = None


def figures_listed(kind: ProviderKind, listed: ListedPrice | None) -> PriceFigures | None:
    """The price a provider's own model list names, where the kind's lists are known to be bills (``lists_prices``)."""
    if listed is None or not kind.lists_prices:
        return None
    return PriceFigures(
        input_nano_per_mtok=listed.input_nano_per_mtok,
        output_nano_per_mtok=listed.output_nano_per_mtok,
        source=LISTED_SOURCE,
        cache_read_nano_per_mtok=listed.cache_read_nano_per_mtok,
        cache_write_nano_per_mtok=listed.cache_write_nano_per_mtok,
        cache_write_1h_nano_per_mtok=listed.cache_write_1h_nano_per_mtok,
        reasoning_nano_per_mtok=listed.reasoning_nano_per_mtok,
        request_nano=listed.request_nano,
        context_tiers=[_without_nothing(msgspec.to_builtins(tier)) for tier in listed.context_tiers],
    )


def schedule_for(kind: ProviderKind, base_url: str, upstream_model: str, at: datetime) -> tuple[PriceFigures, ...]:
    """The price of a model at an instant and the ones announced for later, each with its date; empty when nobody knows."""
    if kind.is_local:
        return (PriceFigures(0, 0, LOCAL_SOURCE),)
    simulated = SIMULATED.get(upstream_model)
    if simulated is not None and kind.prices_id is None:
        simulation = PriceFigures(
            simulated.input_nano_per_mtok,
            simulated.output_nano_per_mtok,
            SIMULATOR_SOURCE,
            cache_read_nano_per_mtok=simulated.cache_read_nano_per_mtok,
            reasoning_nano_per_mtok=simulated.reasoning_nano_per_mtok,
        )
        return (simulation,)
    prices = _price_list(kind, base_url)
    model = (prices.find_model(upstream_model) or prices.find_model(_bare(upstream_model))) if prices else None
    return _schedule(model, at) if model else ()


def known_models(kind: ProviderKind) -> tuple[ModelListing, ...]:
    """The chat models the price package knows of a service, for when the service itself cannot be asked."""
    prices = _price_list(kind, kind.base_url)
    if prices is None or not kind.base_url:  # at an address of one's own, the models are one's own choice too
        return ()
    return tuple(
        ModelListing(model.id, display_name=model.name, context_window_tokens=model.context_window)
        for model in prices.models
        if not model.deprecated and (can_chat(model.id) or can_embed(model.id)) and _is_a_name(model, prices)
    )


def _price_list(kind: ProviderKind, base_url: str) -> PriceList | None:
    """By the kind's row; a host of no particular kind is recognised by its address."""
    for prices in data.providers:
        if prices.id == kind.prices_id:
            return prices
    if kind.prices_id is not None:
        return None
    return next((prices for prices in data.providers if _serves(prices, base_url)), None)


def _serves(prices: PriceList, base_url: str) -> bool:
    # The package's patterns are unanchored regular expressions; match() keeps evil.org/https://api.openai.com out.
    return re.match(prices.api_pattern, base_url) is not None


def _bare(upstream_model: str) -> str:
    """Without the prefixes some services put in front: ``models/x`` (Gemini), ``accounts/fireworks/models/x``."""
    return upstream_model.rpartition("models/")[2]


def _is_a_name(model: ModelInfo, prices: PriceList) -> bool:
    """The package also has rows for families (``ft:gpt-4o``, ``...ft-``); only names one can ask for are wanted."""
    return not model.id.endswith("-") and not model.id.startswith("ft:") and prices.find_model(model.id) is model


def _schedule(model: ModelInfo, at: datetime) -> tuple[PriceFigures, ...]:
    today = at.astimezone(UTC).date()
    first = _figures(model, today)
    if first is None:
        return ()
    known = [first]
    for day in _start_dates(model):
        later = _figures(model, day) if day > today else None
        if later is not None and later != replace(known[-1], valid_from=None):
            known.append(replace(later, valid_from=datetime.combine(day, time(), UTC)))
    return tuple(known)


def _start_dates(model: ModelInfo) -> list[date]:
    conditions = [] if isinstance(model.prices, ModelPrice) else [price.constraint for price in model.prices]
    return sorted({condition.start_date for condition in conditions if isinstance(condition, StartDateConstraint)})


def _figures(model: ModelInfo, day: date) -> PriceFigures | None:
    """The price of one day (UTC) with its tiers and windows; ``None`` where a part of it is unknown or cannot be said exactly."""
    spans = _spans(model, day)
    try:
        cards = [_card(price, can_embed(model.id)) for _, price in spans]
        base = cards[_longest([start for start, _ in spans])]
        if any(card["request_nano"] != base["request_nano"] for card in cards):
            return None
        tiers, windows = check_parts(base["context_tiers"], _windows([start for start, _ in spans], cards, base))
    except (ValueError, ValidationError):  # finer than a nano-dollar, or of no known shape: not ours to round silently
        return None
    return PriceFigures(**{**base, "context_tiers": tiers, "windows": windows}, source=f"import: {PACKAGE} {version(PACKAGE)}")


def _spans(model: ModelInfo, day: date) -> list[tuple[time, ModelPrice]]:
    """The price from each of these times of the day on, in UTC; the first begins at midnight."""
    conditions = [] if isinstance(model.prices, ModelPrice) else [price.constraint for price in model.prices]
    daily = [condition for condition in conditions if isinstance(condition, TimeOfDateConstraint)]
    edges = {_utc(edge) for condition in daily for edge in (condition.start_time, condition.end_time)}
    spans: list[tuple[time, ModelPrice]] = []
    for edge in sorted({time(), *edges}):
        price = model.get_prices(datetime.combine(day, edge, UTC))
        if not spans or spans[-1][1] != price:
            spans.append((edge, price))
    return spans


def _utc(edge: time) -> time:
    """The package means UTC where it names no zone."""
    return datetime.combine(date(2000, 1, 2), edge, edge.tzinfo or UTC).astimezone(UTC).time()


def _longest(starts: list[time]) -> int:
    """The span that covers most of the day: its price is the card's own, the others are windows."""
    minutes = [start.hour * 60 + start.minute for start in starts]
    lengths = [end - start for start, end in zip(minutes, [*minutes[1:], 24 * 60], strict=True)]
    return lengths.index(max(lengths))


def _windows(starts: list[time], cards: list[JsonObject], base: JsonObject) -> list[JsonObject]:
    """Every span at another price than the card's own; one over midnight is a single window."""
    if any(start.second or start.microsecond for start in starts):
        raise ValueError("a window that does not begin at a full minute")
    clock = [f"{start:%H:%M}" for start in starts]
    ends = [*clock[1:], clock[0]]
    spans = [(start, end, card) for start, end, card in zip(clock, ends, cards, strict=True) if card != base]
    if len(spans) > 1 and spans[0][0] == spans[-1][1] and spans[0][2] == spans[-1][2]:
        (_, end, card), *between, (start, _, _) = spans
        spans = [*between, (start, end, card)]
    return [{"start": start, "end": end, "zone": "UTC", **_rates_and_tiers(card)} for start, end, card in spans]


def _rates_and_tiers(card: JsonObject) -> JsonObject:
    return {name: value for name, value in card.items() if name != "request_nano"}


def _card(price: ModelPrice, embeds: bool) -> JsonObject:
    """Raises ``ValueError`` where a part is unknown or finer than a nano-dollar."""
    if price.output_citation_mtok is not None:  # Perplexity's deep research charges for what its usage does not tell
        raise ValueError("a price with parts no usage tells")
    amounts = {rate: getattr(price, name) for rate, name in _PACKAGE_NAMES.items()}
    if embeds and amounts["output_nano_per_mtok"] is None:
        amounts["output_nano_per_mtok"] = Decimal(0)  # vectors are no tokens
    if any(amounts[name] is None for name in REQUIRED_RATES):
        raise ValueError("a price without input or output")
    bounds = sorted({tier.start for amount in amounts.values() if isinstance(amount, TieredPrices) for tier in amount.tiers})
    request = price.requests_kcount
    return {
        **_rates_above(amounts, 0),
        "request_nano": nano_from_dollars(request / 1000) if isinstance(request, Decimal) else 0,
        "context_tiers": [{"above_input_tokens": bound, **_rates_above(amounts, bound)} for bound in bounds],
    }


_PACKAGE_NAMES = {
    "input_nano_per_mtok": "input_mtok",
    "output_nano_per_mtok": "output_mtok",
    "cache_read_nano_per_mtok": "cache_read_mtok",
    "cache_write_nano_per_mtok": "cache_write_mtok",
    "cache_write_1h_nano_per_mtok": "cache_write_1h_mtok",
    "reasoning_nano_per_mtok": "output_reasoning_mtok",
    "audio_input_nano_per_mtok": "input_audio_mtok",
    "audio_output_nano_per_mtok": "output_audio_mtok",
    "image_input_nano_per_mtok": "input_image_mtok",
}


def _rates_above(amounts: dict[str, Decimal | TieredPrices | None], bound: int) -> JsonObject:
    """The rates of a call with more than ``bound`` input tokens; what has no price of its own is left out."""
    rates: JsonObject = {}
    for rate, listed in amounts.items():
        amount = _amount_above(listed, bound) if isinstance(listed, TieredPrices) else listed
        if amount is not None:
            rates[rate] = nano_from_dollars(amount)
    return rates


def _amount_above(listed: TieredPrices, bound: int) -> Decimal:
    reached = [tier.price for tier in listed.tiers if tier.start <= bound]
    return reached[-1] if bound and reached else listed.base


def _without_nothing(row: JsonObject) -> JsonObject:
    return {name: value for name, value in row.items() if value is not None}
