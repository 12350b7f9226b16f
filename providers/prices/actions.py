"""Every write of a price. Rows are added, never changed; what an import finds different waits for a person's approval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Q

from providers import clock
from providers.audit import Actor, changing
from providers.catalog import ProviderKind
from providers.fields import divide_half_even
from providers.models import Price, PriceProposal, Provider
from providers.prices import importing
from providers.rates import NANO_MAX, PRICE_FIGURES, RATES, check_parts
from providers.upstream.types import JsonObject, ListedPrice

_RATE_PLACES = 10**9
CARD_FIELDS = (*PRICE_FIGURES, "context_tiers", "windows")
"""What two prices are compared by."""


# --------------------------------------------------------------------------- by hand


def set_price(price: Price, actor: Actor) -> Price:
    """Adds a price. It is valid from its own date on; what was recorded before keeps the price it had.

    Amounts are in ``native_currency``; those in another one than dollars are converted here, once, at the given rate.
    Announced prices an import had added for later give way: the next import proposes them instead.
    """
    check_price(price)
    _convert(price)
    with changing(actor):
        price.save(force_insert=True)
        for announced in price.deployment.prices.filter(_IMPORTED, valid_from__gt=max(price.valid_from, clock.database_now())):
            announced.delete()
        _drop_settled(price)
    return price


def check_price(price: Price) -> None:
    """What a form checks before saving. Brings tiers and windows into their stored form."""
    if not price._state.adding:
        raise ValidationError("A price is never changed: add a new one.")
    check_card(price)
    price.full_clean()


def check_card(price: Price) -> None:
    """The rules a database cannot tell, by field."""
    price.source = price.source.strip()
    check_source(price.source)
    price.context_tiers, price.windows = check_parts(price.context_tiers, price.windows)
    check_currency(price)


def check_source(source: str) -> None:
    """Sources of imported prices are kept for imports: only those may be superseded by one."""
    if source.startswith(importing.IMPORT_SOURCES):
        raise _refuse("source", "This source is kept for imported prices; say where you read yours.")


def check_currency(price: Price) -> None:
    """An amount in another currency needs the rate it was converted at and that rate's date."""
    price.native_currency = price.native_currency.strip().upper()
    if not (len(price.native_currency) == 3 and price.native_currency.isascii() and price.native_currency.isalpha()):
        raise _refuse("native_currency", "Three letters, as in ISO 4217: USD, EUR, CNY.")
    if price.native_currency == "USD":
        if price.usd_rate != 1:
            raise _refuse("usd_rate", "The rate of dollars in dollars is 1.")
        return
    price.usd_rate = Decimal(price.usd_rate)
    if not price.usd_rate.is_finite() or price.usd_rate <= 0:
        raise _refuse("usd_rate", f"How many dollars one {price.native_currency} was: more than zero.")
    if price.usd_rate_on is None:
        raise _refuse("usd_rate_on", "The day this rate is of.")


def _refuse(field: str, message: str) -> ValidationError:
    return ValidationError({field: [message]})


def _convert(price: Price) -> None:
    """To dollars, each amount once, half-even to the nano-dollar; what was typed is kept beside it."""
    if price.native_currency == "USD":
        return
    price.native_figures = {name: getattr(price, name) for name in CARD_FIELDS}
    rate = int(price.usd_rate * _RATE_PLACES)
    for name in PRICE_FIGURES:
        amount = getattr(price, name)
        if amount is not None:
            setattr(price, name, divide_half_even(amount * rate, _RATE_PLACES))
    price.context_tiers = [_converted(tier, rate) for tier in price.context_tiers]
    price.windows = [_converted(window, rate) for window in price.windows]
    if max(_amounts(card_of(price)), default=0) > NANO_MAX:
        raise _refuse("usd_rate", "At this rate an amount exceeds a billion dollars.")


def _converted(rates: JsonObject, rate: int) -> JsonObject:
    amounts = {name: divide_half_even(rates[name] * rate, _RATE_PLACES) for name in RATES if name in rates}
    tiers = {"context_tiers": [_converted(tier, rate) for tier in rates["context_tiers"]]} if "context_tiers" in rates else {}
    return {**rates, **amounts, **tiers}


def _amounts(card: JsonObject) -> Iterator[int]:
    yield from (card[name] for name in PRICE_FIGURES if card.get(name) is not None)
    for part in (*card.get("context_tiers", ()), *card.get("windows", ())):
        yield from _amounts(part)


# --------------------------------------------------------------------------- by import


@dataclass(frozen=True, slots=True)
class PriceImport:
    """``priced`` models got their first price; for ``proposed`` ones another price than ours waits for approval."""

    priced: int = 0
    proposed: int = 0


_IMPORTED = Q(*(Q(source__startswith=source) for source in importing.IMPORT_SOURCES), _connector=Q.OR)


def import_prices(provider: Provider, kind: ProviderKind, listed: Mapping[str, ListedPrice] = MappingProxyType({})) -> PriceImport:
    """First prices at once, everything else as proposals. The price a provider's own list names wins over the package's.

    Runs inside the caller's transaction.
    """
    now = clock.database_now()
    open_proposals = {
        proposal.deployment_id: proposal
        for proposal in PriceProposal.objects.select_for_update().filter(deployment__provider=provider, status=PriceProposal.Status.OPEN)
    }
    # After the lock: a decision under way has added its price by now.
    rows, rejected = _rows_by_model(provider), _last_rejections(provider)
    priced = proposed = 0
    for deployment in provider.deployments.all():
        listing = importing.figures_listed(kind, listed.get(deployment.upstream_model))
        found = (listing,) if listing else importing.schedule_for(kind, provider.base_url, deployment.upstream_model, now)
        known = rows.get(deployment.pk, [])
        found = tuple(_with_our_tool_fee(figures, known, now) for figures in found)
        if found and in_force(known, now) is None:
            known = [*known, *_first_prices(deployment.pk, found, known, now)]
            priced += 1
        wanted = _first_difference(found, known, now)
        if wanted is not None and figures_json(wanted) == rejected.get(deployment.pk):
            wanted = None
        proposed += wanted is not None
        _propose(deployment.pk, wanted, known, open_proposals.get(deployment.pk), now)
    return PriceImport(priced, proposed)


def _with_our_tool_fee(figures: importing.PriceFigures, known: Sequence[Price], now: datetime) -> importing.PriceFigures:
    """No price list that is imported names fees of tools: ours stays."""
    ours = in_force(known, figures.valid_from or now)
    return figures if ours is None else replace(figures, tool_call_nano=ours.tool_call_nano)


def in_force(rows: Sequence[Price], instant: datetime) -> Price | None:
    """The newest of a model's rows that has begun; of two of one instant the later row."""
    begun = [row for row in rows if row.valid_from <= instant]
    return max(begun, key=lambda row: (row.valid_from, row.pk), default=None)


def card_of(price: Price | importing.PriceFigures) -> JsonObject:
    """The amounts, tiers and windows, comparable."""
    return {name: getattr(price, name) for name in CARD_FIELDS}


def figures_json(figures: importing.PriceFigures) -> JsonObject:
    """What a proposal keeps: without the source, whose version changes although the price does not."""
    began = {} if figures.valid_from is None else {"valid_from": figures.valid_from.isoformat()}
    return {**card_of(figures), **began}


def _rows_by_model(provider: Provider) -> dict[int, list[Price]]:
    rows: dict[int, list[Price]] = {}
    for row in Price.objects.filter(deployment__provider=provider):
        rows.setdefault(row.deployment_id, []).append(row)
    return rows


def _last_rejections(provider: Provider) -> dict[int, JsonObject]:
    """What a person turned down last, by model: not asked again until an import finds something else."""
    decided = PriceProposal.objects.filter(deployment__provider=provider, status=PriceProposal.Status.REJECTED).order_by("decided_at", "pk")
    return {proposal.deployment_id: _without_source(proposal.figures) for proposal in decided}


def _without_source(figures: JsonObject) -> JsonObject:
    return {"tool_call_nano": None, **{name: value for name, value in figures.items() if name != "source"}}


def _first_prices(deployment_id: int, found: Sequence[importing.PriceFigures], known: Sequence[Price], now: datetime) -> list[Price]:
    """The price in force, and the announced ones unless somebody entered prices for later."""
    added = [_row(deployment_id, figures, now) for figures in (found[:1] if known else found)]
    for price in added:
        price.save(force_insert=True)
    return added


def _row(deployment_id: int, figures: importing.PriceFigures, now: datetime) -> Price:
    values = {each.name: getattr(figures, each.name) for each in fields(figures)}
    return Price(**{**values, "deployment_id": deployment_id, "valid_from": figures.valid_from or now})


def _first_difference(found: Sequence[importing.PriceFigures], known: Sequence[Price], now: datetime) -> importing.PriceFigures | None:
    for figures in found:
        ours = in_force(known, figures.valid_from or now)
        if ours is None or card_of(ours) != card_of(figures):
            return figures
    return None


def _propose(
    deployment_id: int, wanted: importing.PriceFigures | None, known: Sequence[Price], open_one: PriceProposal | None, now: datetime
) -> None:
    """The one open proposal of a model says what the latest import found, or is gone."""
    if wanted is None:
        if open_one is not None:
            open_one.delete()
        return
    current = in_force(known, wanted.valid_from or now)
    proposal = open_one or PriceProposal(deployment_id=deployment_id)
    proposal.current, proposal.found_at = current, now
    proposal.figures = {**figures_json(wanted), "source": wanted.source}
    proposal.save()


def _drop_settled(price: Price) -> None:
    """An open proposal is void once a price was added that equals it, and else compares with that price."""
    now = clock.database_now()
    for proposal in PriceProposal.objects.select_for_update().filter(deployment=price.deployment_id, status=PriceProposal.Status.OPEN):
        begins = begins_at(proposal, now)
        ours = in_force(list(Price.objects.filter(deployment=price.deployment_id)), begins)
        if ours is not None and card_of(ours) == card_of(price_of(proposal, begins)):
            proposal.delete()
        else:
            proposal.current = ours
            proposal.save(update_fields=["current"])


# --------------------------------------------------------------------------- decisions


def approve_proposal(proposal_id: int, actor: Actor) -> Price:
    """Adds the proposed price, from its own date or from now on. Refused when somebody decided already."""
    with changing(actor):
        proposal = _undecided(proposal_id)
        price = price_of(proposal, begins_at(proposal, clock.database_now()))
        price.context_tiers, price.windows = check_parts(price.context_tiers, price.windows)
        price.full_clean()
        price.save(force_insert=True)
        _decide(proposal, PriceProposal.Status.APPROVED, actor)
    return price


def reject_proposal(proposal_id: int, actor: Actor) -> PriceProposal:
    """Keeps our price. The same figures are not proposed again."""
    with changing(actor):
        proposal = _undecided(proposal_id)
        _decide(proposal, PriceProposal.Status.REJECTED, actor)
    return proposal


def begins_at(proposal: PriceProposal, now: datetime) -> datetime:
    """When the proposed price would begin: never in the past."""
    announced = proposal.figures.get("valid_from")
    return max(datetime.fromisoformat(announced), now) if announced else now


def price_of(proposal: PriceProposal, valid_from: datetime) -> Price:
    """The proposed price as an unsaved row."""
    known: dict[str, Any] = {name: proposal.figures.get(name) for name in (*CARD_FIELDS, "source")}
    return Price(**{**known, "deployment_id": proposal.deployment_id, "valid_from": valid_from})


def _undecided(proposal_id: int) -> PriceProposal:
    proposal = PriceProposal.objects.select_for_update().get(pk=proposal_id)
    if proposal.status != PriceProposal.Status.OPEN:
        raise ValidationError(f"This proposal was {proposal.status} already.")
    return proposal


def _decide(proposal: PriceProposal, status: PriceProposal.Status, actor: Actor) -> None:
    proposal.status, proposal.decided_at = status, clock.database_now()
    proposal.decided_by_id = actor.user.pk if actor.user else None
    proposal.save(update_fields=["status", "decided_at", "decided_by_id"])
