"""First prices come at once, changed ones wait for approval; tiers, windows and announced prices are kept."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest
from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, StartDateConstraint, Tier, TieredPrices, TimeOfDateConstraint

from providers import actions
from providers.audit import SYSTEM
from providers.catalog import KINDS
from providers.models import Deployment, Price, PriceProposal, Provider
from providers.prices import actions as price_actions
from providers.prices import importing
from providers.prices.text import tiers_text, windows_text
from providers.registry import current_prices
from providers.upstream.types import ContextTier, ListedPrice, ModelListing
from tests.providers.conftest import make_provider

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
GPT = (ModelListing("gpt-4o"),)
LISTED = ListedPrice(
    0,
    5_000_000_000,
    cache_read_nano_per_mtok=1,
    request_nano=7,
    context_tiers=(ContextTier(above_input_tokens=99, input_nano_per_mtok=1, output_nano_per_mtok=2),),
)


def openai() -> Provider:
    return make_provider("", kind="openai", label="")


def packaged(*listed: ConditionalPrice) -> ModelInfo:
    return ModelInfo(id="m", match=None, prices=list(listed))  # type: ignore[arg-type]


def flat(dollars: str, **more: str) -> ModelPrice:
    return ModelPrice(
        input_mtok=Decimal(dollars), output_mtok=Decimal(dollars) * 2, **{name: Decimal(value) for name, value in more.items()}
    )


def schedule(model: ModelInfo, at: datetime = NOW) -> tuple[importing.PriceFigures, ...]:
    return importing._schedule(model, at)


# --------------------------------------------------------------------------- what the package says


def test_R505_every_tier_of_the_package_is_kept_for_all_buckets():
    price = ModelPrice(
        input_mtok=TieredPrices(base=Decimal(1), tiers=[Tier(start=32_000, price=Decimal(2)), Tier(start=128_000, price=Decimal(3))]),
        output_mtok=TieredPrices(base=Decimal(4), tiers=[Tier(start=128_000, price=Decimal(5))]),
        cache_read_mtok=Decimal("0.1"),
        input_image_mtok=Decimal(7),
    )
    (figures,) = schedule(packaged(ConditionalPrice(prices=price)))
    assert (figures.input_nano_per_mtok, figures.output_nano_per_mtok, figures.image_input_nano_per_mtok) == (10**9, 4 * 10**9, 7 * 10**9)
    assert tiers_text(figures.context_tiers).splitlines() == [
        "above 32000: input 2, output 4, cache read 0.1, image input 7",
        "above 128000: input 3, output 5, cache read 0.1, image input 7",
    ]


def window(start: time, end: time, dollars: str) -> ConditionalPrice:
    return ConditionalPrice(TimeOfDateConstraint(start_time=start, end_time=end), prices=flat(dollars))


DEAR = "UTC: input 3, output 6"


@pytest.mark.parametrize(
    ("listed", "base", "lines"),
    [
        ((window(time(1), time(4), "3"), window(time(6), time(10), "3")), 1, [f"01:00-04:00 {DEAR}", f"06:00-10:00 {DEAR}"]),
        ((window(time(0, 30), time(16, 30), "3"),), 3, ["16:30-00:30 UTC: input 1, output 2"]),
        ((window(time(22), time(2), "3"),), 1, ["22:00-02:00 UTC: input 3, output 6"]),
        ((window(time(1), time(5), "3"), window(time(4), time(6), "2")), 1, [f"01:00-04:00 {DEAR}", "04:00-06:00 UTC: input 2, output 4"]),
        ((window(time(9, tzinfo=UTC), time(10, tzinfo=UTC), "1"),), 1, []),
    ],
)  # fmt: skip
def test_M12_daily_windows_of_the_package_are_kept(listed, base, lines):
    (figures,) = schedule(packaged(ConditionalPrice(prices=flat("1")), *listed))
    assert figures.input_nano_per_mtok == base * 10**9
    assert windows_text(figures.windows).splitlines() == lines


def test_R505_announced_prices_are_dated_and_past_ones_are_history():
    dated = [
        ConditionalPrice(StartDateConstraint(start_date=day), prices=flat(dollars))
        for day, dollars in ((date(2026, 1, 1), "2"), (date(2026, 12, 1), "3"), (date(2027, 1, 1), "3"), (date(2027, 2, 1), "4"))
    ]
    found = schedule(packaged(ConditionalPrice(prices=flat("1")), *dated))
    assert [(each.input_nano_per_mtok // 10**9, each.valid_from) for each in found] == [
        (2, None),
        (3, datetime(2026, 12, 1, tzinfo=UTC)),
        (4, datetime(2027, 2, 1, tzinfo=UTC)),
    ]


@pytest.mark.parametrize(
    "price",
    [
        flat("1", output_citation_mtok="2"),
        flat("0.0000000001"),
        ModelPrice(input_mtok=Decimal(1)),
        ModelPrice(input_mtok=TieredPrices(base=Decimal(1), tiers=[Tier(start=5, price=Decimal("0.0000000001"))]), output_mtok=Decimal(1)),
    ],
)
def test_M07_a_price_that_cannot_be_said_exactly_is_unknown(price):
    assert schedule(packaged(ConditionalPrice(prices=price))) == ()


def test_M07_a_window_that_begins_within_a_minute_is_unknown():
    assert schedule(packaged(ConditionalPrice(prices=flat("1")), window(time(1, 0, 30), time(2), "3"))) == ()


def test_M12_deepseeks_dear_hours_arrive_in_the_price_book():
    kind = KINDS["deepseek"]
    figures, *_ = importing.schedule_for(kind, kind.base_url, "deepseek-v4-pro", NOW)
    assert windows_text(figures.windows).splitlines() == [
        "01:00-04:00 UTC: input 1.32, output 3.96, cache read 0.044",
        "06:00-10:00 UTC: input 1.32, output 3.96, cache read 0.044",
    ]


def test_M07_a_price_with_parts_no_usage_tells_is_unknown():
    kind = KINDS["perplexity"]
    assert importing.schedule_for(kind, kind.base_url, "sonar-deep-research", NOW) == ()
    (sonar,) = importing.schedule_for(kind, kind.base_url, "sonar", NOW)
    assert sonar.request_nano == 12_000_000, "the fee of the largest search, so that no call is understated"


# --------------------------------------------------------------------------- what an import does


def test_R505_a_model_without_a_price_gets_its_first_ones_at_once(monkeypatch):
    announced = importing.PriceFigures(2, 2, "import: genai-prices 1", valid_from=datetime(2099, 1, 1, tzinfo=UTC))
    monkeypatch.setattr(importing, "schedule_for", lambda *_: (importing.PriceFigures(1, 1, "import: genai-prices 1"), announced))
    report = actions.import_models(openai().pk, GPT, SYSTEM)
    assert (report.priced, report.proposed) == (1, 0)
    assert list(Price.objects.order_by("valid_from").values_list("input_nano_per_mtok", flat=True)) == [1, 2]
    assert actions.import_models(Provider.objects.get().pk, GPT, SYSTEM).proposed == 0


def moved_price() -> Provider:
    """A provider whose one model has another price than the package knows."""
    provider = openai()
    actions.import_models(provider.pk, GPT, SYSTEM)
    Price.objects.update(input_nano_per_mtok=1, valid_from=NOW - timedelta(days=365))
    return provider


def test_R505_a_price_that_moved_is_proposed_and_changes_nothing():
    provider = moved_price()
    report = actions.import_models(provider.pk, GPT, SYSTEM)
    assert (report.priced, report.proposed) == (0, 1)
    assert "1 changed prices to approve" in report.summary
    assert Price.objects.get().input_nano_per_mtok == 1
    proposal = PriceProposal.objects.get()
    assert (proposal.figures["input_nano_per_mtok"], proposal.current, proposal.status) == (2_500_000_000, Price.objects.get(), "open")


def test_there_is_one_open_proposal_and_the_latest_import_refreshes_it(monkeypatch):
    provider = moved_price()
    actions.import_models(provider.pk, GPT, SYSTEM)
    before = PriceProposal.objects.get()
    monkeypatch.setattr(importing, "schedule_for", lambda *_: (importing.PriceFigures(9, 9, "import: genai-prices 2"),))
    actions.import_models(provider.pk, GPT, SYSTEM)
    after = PriceProposal.objects.get()
    assert (after.pk, after.figures["input_nano_per_mtok"]) == (before.pk, 9)
    assert after.found_at > before.found_at


@pytest.mark.parametrize(
    "found", [(), (importing.PriceFigures(1, 10_000_000_000, "import: genai-prices 2", cache_read_nano_per_mtok=1_250_000_000),)]
)
def test_a_proposal_goes_when_nothing_differs_any_more(monkeypatch, found):
    provider = moved_price()
    actions.import_models(provider.pk, GPT, SYSTEM)
    monkeypatch.setattr(importing, "schedule_for", lambda *_: found)
    assert actions.import_models(provider.pk, GPT, SYSTEM).proposed == 0
    assert not PriceProposal.objects.exists()


def test_R505_an_admins_own_price_also_only_gets_proposals():
    provider = openai()
    actions.import_models(provider.pk, GPT, SYSTEM)
    model = Deployment.objects.get()
    price_actions.set_price(Price(deployment=model, input_nano_per_mtok=7, output_nano_per_mtok=8, source="contract"), SYSTEM)
    assert actions.import_models(provider.pk, GPT, SYSTEM).proposed == 1
    assert current_prices(Deployment.objects.all())[model.pk].source == "contract"


def test_R505_an_announced_price_never_replaces_an_admins_own_by_itself(monkeypatch):
    announced = importing.PriceFigures(2, 2, "import: genai-prices 1", valid_from=datetime(2099, 1, 1, tzinfo=UTC))
    monkeypatch.setattr(importing, "schedule_for", lambda *_: (importing.PriceFigures(1, 1, "import: genai-prices 1"), announced))
    provider = openai()
    actions.import_models(provider.pk, GPT, SYSTEM)
    own = Price(deployment=Deployment.objects.get(), input_nano_per_mtok=1, output_nano_per_mtok=1, source="contract")
    price_actions.set_price(own, SYSTEM)
    assert not Price.objects.filter(valid_from__year=2099).exists()
    actions.import_models(provider.pk, GPT, SYSTEM)
    assert PriceProposal.objects.get().figures["valid_from"] == "2099-01-01T00:00:00+00:00"


def test_R205_a_price_in_the_providers_own_list_wins_over_the_package_and_keeps_its_tiers():
    provider = make_provider("", kind="openrouter", label="")
    assert actions.import_models(provider.pk, [ModelListing("openai/gpt-4o", price=LISTED)], SYSTEM).priced == 1
    price = Price.objects.get()
    assert (price.input_nano_per_mtok, price.output_nano_per_mtok, price.cache_read_nano_per_mtok, price.request_nano) == (
        0,
        5 * 10**9,
        1,
        7,
    )
    assert price.source == importing.LISTED_SOURCE
    assert price.context_tiers == [{"above_input_tokens": 99, "input_nano_per_mtok": 1, "output_nano_per_mtok": 2}]
    assert actions.import_models(provider.pk, [ModelListing("openai/gpt-4o", price=LISTED)], SYSTEM).proposed == 0
    assert actions.import_models(provider.pk, [ModelListing("openai/gpt-4o")], SYSTEM).proposed == 1


def test_a_list_of_a_host_nobody_knows_sets_no_prices():
    provider = make_provider("https://stranger.example/v1")
    assert actions.import_models(provider.pk, [ModelListing("m", price=LISTED)], SYSTEM).unpriced == ("m",)


# --------------------------------------------------------------------------- decisions


def open_proposal() -> PriceProposal:
    actions.import_models(moved_price().pk, GPT, SYSTEM)
    return PriceProposal.objects.get()


def test_R505_an_approved_price_is_a_new_row_from_now_on(superuser):
    proposal = open_proposal()
    actor = price_actions.Actor.of(superuser)
    price = price_actions.approve_proposal(proposal.pk, actor)
    assert current_prices(Deployment.objects.all())[proposal.deployment_id] == price
    assert sorted(Price.objects.values_list("input_nano_per_mtok", flat=True)) == [1, 2_500_000_000]
    proposal.refresh_from_db()
    assert (proposal.status, proposal.decided_by_id) == ("approved", superuser.pk)
    with pytest.raises(price_actions.ValidationError, match="approved already"):
        price_actions.reject_proposal(proposal.pk, actor)


def test_R505_a_rejected_price_is_not_proposed_again_until_it_changes(monkeypatch):
    proposal = open_proposal()
    price_actions.reject_proposal(proposal.pk, SYSTEM)
    provider_id = proposal.deployment.provider_id
    assert actions.import_models(provider_id, GPT, SYSTEM).proposed == 0
    monkeypatch.setattr(importing, "schedule_for", lambda *_: (importing.PriceFigures(9, 9, "import: genai-prices 2"),))
    assert actions.import_models(provider_id, GPT, SYSTEM).proposed == 1
    assert Price.objects.get().input_nano_per_mtok == 1


def test_an_announced_price_begins_at_its_own_date_but_never_in_the_past(monkeypatch):
    proposal = open_proposal()
    proposal.figures["valid_from"] = "2099-01-01T00:00:00+00:00"
    assert price_actions.begins_at(proposal, NOW) == datetime(2099, 1, 1, tzinfo=UTC)
    proposal.figures["valid_from"] = "2026-01-01T00:00:00+00:00"
    assert price_actions.begins_at(proposal, NOW) == NOW


def test_a_price_typed_by_hand_settles_the_proposal_it_equals():
    proposal = open_proposal()
    typed = price_actions.price_of(proposal, NOW)
    other = Price(deployment=proposal.deployment, input_nano_per_mtok=3, output_nano_per_mtok=3, source="page")
    price_actions.set_price(other, SYSTEM)
    proposal.refresh_from_db()
    assert proposal.current == other
    typed.source, typed.valid_from = "price page", other.valid_from + timedelta(microseconds=1)
    price_actions.set_price(typed, SYSTEM)
    assert not PriceProposal.objects.exists()
