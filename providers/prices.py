"""Where imported prices come from: the genai-prices package for services, an explicit zero for own hardware.

Unknown stays unknown: a model nobody priced gets no price row and is refused for paid use.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.metadata import version

from genai_prices import data
from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, TieredPrices, TimeOfDateConstraint
from genai_prices.types import Provider as PriceList

from providers.catalog import ProviderKind, can_chat, can_embed
from providers.fields import nano_from_dollars
from providers.simulator.catalogue import MODELS_BY_NAME as SIMULATED
from providers.upstream.types import ListedPrice, ModelListing

PACKAGE = "genai-prices"
LOCAL_SOURCE = "import: own hardware, no cost per token"
SIMULATOR_SOURCE = "import: simulator"
LISTED_SOURCE = "import: the provider's own model list"
IMPORT_SOURCES = (f"import: {PACKAGE}", LOCAL_SOURCE, SIMULATOR_SOURCE, LISTED_SOURCE)
"""Prices whose source starts like this were set by an import and may be superseded by one; all others are an admin's."""


@dataclass(frozen=True, slots=True)
class PriceFigures:
    """One price card in nano-dollars per million tokens, ready for a ``Price`` row; field names are the row's."""

    input_nano_per_mtok: int
    output_nano_per_mtok: int
    source: str
    cache_read_nano_per_mtok: int | None = None
    cache_write_nano_per_mtok: int | None = None
    cache_write_1h_nano_per_mtok: int | None = None
    reasoning_nano_per_mtok: int | None = None
    audio_input_nano_per_mtok: int | None = None
    audio_output_nano_per_mtok: int | None = None
    request_nano: int = 0


def figures_listed(kind: ProviderKind, listed: ListedPrice | None) -> PriceFigures | None:
    """The price a provider's own model list names, where the kind's lists are known to be bills (``lists_prices``)."""
    if listed is None or not kind.lists_prices:
        return None
    return PriceFigures(
        input_nano_per_mtok=listed.input_nano_per_mtok,
        output_nano_per_mtok=listed.output_nano_per_mtok,
        source=LISTED_SOURCE + (", lowest tier" if listed.is_tiered else ""),
        cache_read_nano_per_mtok=listed.cache_read_nano_per_mtok,
        cache_write_nano_per_mtok=listed.cache_write_nano_per_mtok,
        cache_write_1h_nano_per_mtok=listed.cache_write_1h_nano_per_mtok,
        reasoning_nano_per_mtok=listed.reasoning_nano_per_mtok,
        request_nano=listed.request_nano,
    )


def figures_for(kind: ProviderKind, base_url: str, upstream_model: str, at: datetime) -> PriceFigures | None:
    """The imported price of a model at an instant, or ``None`` when nobody knows it."""
    if kind.is_local:
        return PriceFigures(0, 0, LOCAL_SOURCE)
    simulated = SIMULATED.get(upstream_model)
    if simulated is not None and kind.prices_id is None:
        return PriceFigures(
            simulated.input_nano_per_mtok,
            simulated.output_nano_per_mtok,
            SIMULATOR_SOURCE,
            cache_read_nano_per_mtok=simulated.cache_read_nano_per_mtok,
            reasoning_nano_per_mtok=simulated.reasoning_nano_per_mtok,
        )
    prices = _price_list(kind, base_url)
    model = (prices.find_model(upstream_model) or prices.find_model(_bare(upstream_model))) if prices else None
    return _figures(model, at) if model else None


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


def _figures(model: ModelInfo, at: datetime) -> PriceFigures | None:
    price = _dearest_of_the_day(model, at)
    base = _dollars_per_mtok(price.input_mtok), _dollars_per_mtok(price.output_mtok)
    if base[1] is None and can_embed(model.id):
        base = base[0], Decimal(0)  # vectors are no tokens
    if base[0] is None or base[1] is None:
        return None
    if price.output_citation_mtok is not None:  # Perplexity's deep research charges for what its usage does not tell
        return None
    tiered = any(isinstance(value, TieredPrices) for value in vars(price).values())
    request = price.requests_kcount
    try:
        return PriceFigures(
            input_nano_per_mtok=nano_from_dollars(base[0]),
            output_nano_per_mtok=nano_from_dollars(base[1]),
            source=f"import: {PACKAGE} {version(PACKAGE)}{', lowest tier' if tiered else ''}",
            cache_read_nano_per_mtok=_nano(price.cache_read_mtok),
            cache_write_nano_per_mtok=_nano(price.cache_write_mtok),
            cache_write_1h_nano_per_mtok=_nano(price.cache_write_1h_mtok),
            reasoning_nano_per_mtok=_nano(price.output_reasoning_mtok),
            audio_input_nano_per_mtok=_nano(price.input_audio_mtok),
            audio_output_nano_per_mtok=_nano(price.output_audio_mtok),
            request_nano=nano_from_dollars(request / 1000) if isinstance(request, Decimal) else 0,
        )
    except ValueError:  # finer than a nano-dollar: not ours to round silently
        return None


def _dearest_of_the_day(model: ModelInfo, at: datetime) -> ModelPrice:
    """The price in force; where it changes with the time of day, the dearest, so that no budget is overspent."""
    prices = model.prices
    if isinstance(prices, ModelPrice) or not any(_by_time_of_day(price) for price in prices):
        return model.get_prices(at)
    midnight = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    of_the_day = [model.get_prices(midnight + timedelta(minutes=30 * step)) for step in range(48)]
    return max(of_the_day, key=lambda price: _dollars_per_mtok(price.output_mtok) or Decimal(0))


def _by_time_of_day(price: ConditionalPrice) -> bool:
    return isinstance(price.constraint, TimeOfDateConstraint)


def _dollars_per_mtok(value: Decimal | TieredPrices | None) -> Decimal | None:
    return value.base if isinstance(value, TieredPrices) else value


def _nano(value: Decimal | TieredPrices | None) -> int | None:
    amount = _dollars_per_mtok(value)
    return None if amount is None else nano_from_dollars(amount)
