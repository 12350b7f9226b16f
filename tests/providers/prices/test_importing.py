"""Prices set by hand: never edited, in any currency, explicit where free; discounts and ceilings."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError

from providers import actions
from providers.audit import SYSTEM
from providers.models import Deployment, Price
from providers.prices import actions as price_actions
from providers.prices import importing
from providers.rates import PRICE_FIGURES
from providers.registry import build_snapshot
from providers.upstream.types import ContextTier, PriceCard, PriceWindow
from tests.providers.conftest import make_provider

pytestmark = pytest.mark.django_db


@pytest.fixture
def model(db) -> Deployment:
    return actions.save_deployment(Deployment(provider=make_provider(), name="m", upstream_model="m", capabilities=["chat"]), SYSTEM)


def price_of(model: Deployment, **fields) -> Price:
    return Price(**{"deployment": model, "input_nano_per_mtok": 1, "output_nano_per_mtok": 2, "source": "page", **fields})


def refused_fields(price: Price) -> set[str]:
    with pytest.raises(ValidationError) as caught:
        price_actions.set_price(price, SYSTEM)
    assert not Price.objects.filter(source=price.source).exists()
    return set(caught.value.message_dict)


def card_of(model: Deployment) -> PriceCard | None:
    return build_snapshot().targets[model.pk].price


def test_M13_a_stored_price_is_never_changed(model):
    price = price_actions.set_price(price_of(model), SYSTEM)
    price.input_nano_per_mtok = 5
    with pytest.raises(ValidationError, match="never changed"):
        price_actions.set_price(price, SYSTEM)


@pytest.mark.parametrize("figure", PRICE_FIGURES)
def test_the_database_refuses_a_negative_figure_whoever_writes_it(model, figure):
    with pytest.raises(IntegrityError, match="price_not_negative"):
        price_of(model, **{figure: -1}).save()


def test_a_price_may_not_pretend_to_be_imported(model):
    assert refused_fields(price_of(model, source=importing.LOCAL_SOURCE)) == {"source"}
    assert refused_fields(price_of(model, source=f"  {importing.LOCAL_SOURCE}")) == {"source"}


def test_R505_tiers_and_windows_reach_the_card_that_prices_calls(model):
    tier = {"above_input_tokens": 10, "input_nano_per_mtok": 3, "output_nano_per_mtok": 4}
    window = {"start": "01:00", "end": "02:00", "input_nano_per_mtok": 5, "output_nano_per_mtok": 6, "context_tiers": [tier]}
    price_actions.set_price(price_of(model, context_tiers=[tier], windows=[window]), SYSTEM)
    card = card_of(model)
    assert card is not None
    own = ContextTier(above_input_tokens=10, input_nano_per_mtok=3, output_nano_per_mtok=4)
    assert card.context_tiers == (own,)
    assert card.windows == (
        PriceWindow(start="01:00", end="02:00", zone="UTC", input_nano_per_mtok=5, output_nano_per_mtok=6, context_tiers=(own,)),
    )


def test_R505_a_wrong_part_is_refused_by_field(model):
    assert refused_fields(price_of(model, context_tiers=[{}], windows="x")) == {"context_tiers", "windows"}


# --------------------------------------------------------------------------- currencies


def in_yuan(model: Deployment, **fields) -> Price:
    rate = {"native_currency": "cny ", "usd_rate": Decimal("0.14"), "usd_rate_on": date(2026, 11, 20)}
    return price_of(model, **{**rate, "input_nano_per_mtok": 2_000_000_000, "output_nano_per_mtok": 8_000_000_000, **fields})


def test_M16_a_native_price_is_converted_once_and_kept_with_its_rate_and_date(model):
    tier = {"above_input_tokens": 10, "input_nano_per_mtok": 3_000_000_000, "output_nano_per_mtok": 9_000_000_000}
    window = {
        "start": "01:00",
        "end": "02:00",
        "zone": "Asia/Shanghai",
        "input_nano_per_mtok": 1,
        "output_nano_per_mtok": 100,
        "context_tiers": [tier],
    }
    price = price_actions.set_price(in_yuan(model, request_nano=50, context_tiers=[tier], windows=[window]), SYSTEM)
    price = Price.objects.get(pk=price.pk)
    # 2 CNY x 0.14 = 0.28 USD, 8 x 0.14 = 1.12, 3 x 0.14 = 0.42, 9 x 0.14 = 1.26
    assert (price.input_nano_per_mtok, price.output_nano_per_mtok, price.request_nano) == (280_000_000, 1_120_000_000, 7)
    converted = {"above_input_tokens": 10, "input_nano_per_mtok": 420_000_000, "output_nano_per_mtok": 1_260_000_000}
    assert price.context_tiers == [converted]
    assert (price.windows[0]["input_nano_per_mtok"], price.windows[0]["output_nano_per_mtok"]) == (0, 14)
    assert price.windows[0]["context_tiers"] == [converted]
    assert (price.native_currency, price.usd_rate, price.usd_rate_on) == ("CNY", Decimal("0.14"), date(2026, 11, 20))
    assert price.native_figures["input_nano_per_mtok"] == 2_000_000_000
    assert price.native_figures["context_tiers"] == [tier]


@pytest.mark.parametrize(
    ("native", "rate", "nano"), [(1, "0.5", 0), (3, "0.5", 2), (5, "0.5", 2), (1, "0.500000001", 1), (10**17, "1.1", 11 * 10**16)]
)
def test_M16_the_conversion_rounds_half_to_even_once(model, native, rate, nano):
    price = price_actions.set_price(in_yuan(model, input_nano_per_mtok=native, usd_rate=Decimal(rate)), SYSTEM)
    assert price.input_nano_per_mtok == nano


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"usd_rate_on": None}, "usd_rate_on"),
        ({"usd_rate": Decimal(0)}, "usd_rate"),
        ({"usd_rate": Decimal(-1)}, "usd_rate"),
        ({"usd_rate": Decimal("nan")}, "usd_rate"),
        ({"native_currency": "yuan"}, "native_currency"),
        ({"native_currency": "€€€"}, "native_currency"),
        ({"native_currency": "USD"}, "usd_rate"),
        ({"input_nano_per_mtok": 10**18, "usd_rate": Decimal("1.1")}, "usd_rate"),
    ],
)
def test_M16_a_currency_without_its_rate_is_refused(model, fields, field):
    assert refused_fields(in_yuan(model, **fields)) == {field}


# --------------------------------------------------------------------------- free, discounted, unpriced


def test_R208_zero_is_a_price(model):
    assert card_of(model) is None
    price_actions.set_price(price_of(model, input_nano_per_mtok=0, output_nano_per_mtok=0), SYSTEM)
    card = card_of(model)
    assert card is not None
    assert (card.input_nano_per_mtok, card.output_nano_per_mtok, card.is_ceiling) == (0, 0, False)


def test_a_discount_is_on_every_card_of_the_provider(model):
    price_actions.set_price(price_of(model), SYSTEM)
    provider = model.provider
    provider.discount_ppm = 125_000
    actions.update_provider(provider, SYSTEM)
    card = card_of(model)
    assert card is not None
    assert card.discount_ppm == 125_000


def test_M07_a_ceiling_admits_an_unpriced_model_and_gives_way_to_its_price(model):
    model.unpriced_ceiling_nano = 50_000_000
    actions.save_deployment(model, SYSTEM)
    assert card_of(model) == PriceCard(id=0, input_nano_per_mtok=0, output_nano_per_mtok=0, request_nano=50_000_000, is_ceiling=True)
    price_actions.set_price(price_of(model), SYSTEM)
    card = card_of(model)
    assert card is not None
    assert (card.is_ceiling, card.request_nano) == (False, 0)
