from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.utils import timezone

from providers import actions, clock, registry, secrets
from providers.audit import SYSTEM
from providers.models import ConfigChange, ConfigVersion, Deployment, Price, Provider, Route, RouteTarget, RoutingConfiguration
from providers.prices import actions as price_actions
from providers.registry import EVERYTHING, SnapshotHolder, build_snapshot, changes_since
from providers.upstream.types import Capability, ModelListing, Policy
from tests.providers.conftest import CANARY, make_provider

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def with_model(provider: Provider, name: str = "m", *, price: int | None = 5, **fields) -> Deployment:
    model = actions.save_deployment(
        Deployment(provider=provider, name=name, upstream_model=f"up-{name}", capabilities=["chat", "stream"], **fields), SYSTEM
    )
    if price is not None:
        price_actions.set_price(Price(deployment=model, input_nano_per_mtok=price, output_nano_per_mtok=price, source="test"), SYSTEM)
    return model


def test_an_empty_installation_has_an_empty_snapshot():
    snapshot = build_snapshot()
    assert (snapshot.targets, snapshot.routes, snapshot.routing.max_attempts) == ({}, {}, 3)


def test_a_target_carries_all_that_a_call_needs():
    model = with_model(make_provider(label="Host"))
    target = build_snapshot().targets[model.pk]
    assert (target.address, target.upstream_model) == ("host/m", "up-m")
    assert target.capabilities == {Capability.CHAT, Capability.STREAM}
    assert target.price is not None
    assert target.price.input_nano_per_mtok == 5
    assert target.provider.credentials[0].secret.reveal() == CANARY
    assert CANARY not in repr(target)


def test_targets_of_one_name_stand_in_order_of_priority():
    low = with_model(make_provider(label="Low", priority=200))
    high = with_model(make_provider(label="High", priority=10))
    assert build_snapshot().targets_by_name == {"m": (high.pk, low.pk)}


def test_what_is_disabled_or_deleted_is_left_out():
    off, gone, kept = make_provider(label="Off"), make_provider(label="Gone"), make_provider(label="Kept")
    for provider in (off, gone):
        with_model(provider)
    with_model(kept, "off", enabled=False)
    model = with_model(kept, "on")
    actions.toggle_provider(off.pk, False, SYSTEM)
    actions.delete_provider(gone.pk, SYSTEM)
    assert set(build_snapshot().targets) == {model.pk}


def test_an_unpriced_target_has_no_price():
    model = with_model(make_provider(), price=None)
    assert build_snapshot().targets[model.pk].price is None


def test_the_price_in_force_is_the_newest_that_has_begun():
    model = with_model(make_provider(), price=None)
    now = timezone.now()
    for amount, begins in ((1, now - timedelta(days=9)), (3, now + timedelta(days=1)), (2, now - timedelta(days=1))):
        Price.objects.create(deployment=model, input_nano_per_mtok=amount, output_nano_per_mtok=amount, source="x", valid_from=begins)
    card = build_snapshot().targets[model.pk].price
    assert card is not None
    assert card.input_nano_per_mtok == 2


def test_of_two_prices_of_one_instant_the_later_row_counts():
    model, now = with_model(make_provider(), price=None), timezone.now()
    rows = [
        Price.objects.create(deployment=model, input_nano_per_mtok=n, output_nano_per_mtok=n, source="x", valid_from=now) for n in (1, 2)
    ]
    card = build_snapshot().targets[model.pk].price
    assert card is not None
    assert card.id == rows[1].pk


def test_a_locked_key_is_left_out_and_the_provider_marked(settings):
    model = with_model(make_provider())
    settings.KEY_RING = secrets.new_ring_entry("other")
    spec = build_snapshot().targets[model.pk].provider
    assert spec.credentials == ()
    assert spec.credential_locked


def test_routes_keep_the_order_and_drop_targets_that_left():
    provider = make_provider()
    first, second, gone = (with_model(provider, name) for name in ("a", "b", "c"))
    route = actions.save_route(Route(name="fast", policy=Policy.COST), SYSTEM)
    actions.save_route_choices(
        [
            RouteTarget(route=route, deployment=second, priority=20),
            RouteTarget(route=route, deployment=first, priority=10, weight=3),
            RouteTarget(route=route, deployment=gone, priority=1),
        ],
        [],
        SYSTEM,
    )
    actions.toggle_deployments([gone.pk], False, SYSTEM)
    spec = build_snapshot().routes["fast"]
    assert spec.policy is Policy.COST
    assert [(choice.target_id, choice.weight) for choice in spec.choices] == [(first.pk, 3), (second.pk, 1)]


def test_the_routing_configuration_reaches_the_snapshot():
    actions.update_routing_configuration(RoutingConfiguration(default_policy=Policy.COST, max_attempts=9, breaker_open_s=5), SYSTEM)
    routing = build_snapshot().routing
    assert (routing.default_policy, routing.max_attempts, routing.breaker_open_s) == (Policy.COST, 9, 5)


def test_the_number_of_queries_does_not_grow_with_the_data(django_assert_num_queries, on_postgresql):
    """One more where the database has a clock of its own to ask."""
    for number in range(4):
        provider = make_provider(label=f"Host {number}")
        for name in ("a", "b", "c"):
            with_model(provider, name)
    with django_assert_num_queries(7 + on_postgresql):
        build_snapshot()


# --------------------------------------------------------------------------- what moved


def test_changes_name_their_subjects_once_in_order():
    start = ConfigVersion.current()
    for subject in ("registry", "user:3", "registry"):
        ConfigVersion.bump(subject)
    assert changes_since(start) == (start + 3, ("registry", "user:3"))
    assert changes_since(start + 3) == (start + 3, ())


def test_changes_that_were_swept_mean_everything_moved():
    for _ in range(3):
        ConfigVersion.bump("user:1")
    ConfigChange.objects.order_by("version").first().delete()
    assert EVERYTHING in changes_since(0)[1]
    assert EVERYTHING not in changes_since(1)[1]


# --------------------------------------------------------------------------- the holder


def test_a_holder_rebuilds_only_when_the_version_moves(monkeypatch):
    built: list[int] = []
    real = registry.build_snapshot
    monkeypatch.setattr(registry, "build_snapshot", lambda: built.append(1) or real())
    holder = SnapshotHolder()
    assert holder.current.version == -1
    first = holder.refresh()
    assert holder.refresh() is first
    with_model(make_provider())
    assert holder.refresh() is holder.current is not first
    assert len(built) == 2


def test_a_price_that_begins_later_is_taken_when_it_is_due(monkeypatch):
    model = with_model(make_provider(), price=1)
    begins = timezone.now() + timedelta(hours=1)
    price_actions.set_price(Price(deployment=model, input_nano_per_mtok=2, output_nano_per_mtok=2, source="x", valid_from=begins), SYSTEM)
    holder = SnapshotHolder()
    assert holder.refresh().targets[model.pk].price.input_nano_per_mtok == 1
    assert holder.due_at == begins
    monkeypatch.setattr(clock, "database_now", lambda: begins)
    assert holder.refresh().targets[model.pk].price.input_nano_per_mtok == 2
    assert holder.due_at is None


@pytest.mark.django_db(transaction=True)
def test_parallel_refreshes_share_one_rebuild(monkeypatch):
    from django.db import connection

    actions.import_models(make_provider().pk, [ModelListing("m")], SYSTEM)
    built: list[int] = []
    real = registry.build_snapshot
    monkeypatch.setattr(registry, "build_snapshot", lambda: built.append(1) or real())
    holder, gate = SnapshotHolder(), threading.Barrier(6)

    def refresh() -> None:
        try:
            gate.wait()
            holder.refresh()
        finally:
            connection.close()

    threads = [threading.Thread(target=refresh) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert len(holder.current.targets) == 1
