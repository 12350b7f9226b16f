"""Budgets of every scope through the running gateway, and where requests go that no longer fit."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, User

from providers.models import ConfigVersion, Deployment, Price, Provider, Route, RouteTarget
from tests.aigateway.conftest import LiveGateway, deployment
from tests.providers.simulator.fixtures import SimulatorHandle
from usage.budgets import actions
from usage.keys.actions import update_api_key
from usage.models import ApiKey, Attempt, Budget, LedgerEntry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

NOTHING = actions.Limits(0)


@pytest.fixture
def free_route(gateway: LiveGateway) -> Route:
    """A route whose only model costs nothing."""
    Price.objects.create(deployment=deployment("sim-large"), input_nano_per_mtok=0, output_nano_per_mtok=0, source="test")
    route = Route.objects.create(name="free")
    RouteTarget.objects.create(route=route, deployment=deployment("sim-large"))
    ConfigVersion.bump()
    return route


@pytest.mark.parametrize("scope", [*Budget.Scope])
def test_R503_a_used_up_budget_of_each_scope_refuses_and_says_which(
    gateway: LiveGateway, user: User, simulator: SimulatorHandle, scope: str
) -> None:
    team = Group.objects.create(name="research")
    user.groups.add(team)
    subjects = {"user": user, "key": ApiKey.objects.get(user=user), "team": team, "provider": Provider.objects.get(), "context": "default"}
    actions.set_budget(scope, subjects.get(scope), "month", NOTHING)
    ConfigVersion.bump(f"user:{user.pk}")
    response = gateway.chat()
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (402, "budget_exceeded")
    assert scope in error["message"]
    assert simulator.journal() == []


def test_a_budget_of_another_context_or_provider_does_not_bind(gateway: LiveGateway) -> None:
    elsewhere = Provider.objects.create(slug="elsewhere", label="Elsewhere", kind="openai_compatible", base_url="http://127.0.0.1:9/v1")
    actions.set_budget(Budget.Scope.CONTEXT, "batch", "month", NOTHING)
    actions.set_budget(Budget.Scope.PROVIDER, elsewhere, "month", NOTHING)
    assert gateway.chat().status_code == 200


def test_R502_a_token_quota_is_held_at_the_worst_case_and_settled_at_what_was_used(gateway: LiveGateway, user: User) -> None:
    budget = actions.set_budget(Budget.Scope.USER, user, "day", actions.Limits(cap_tokens=10_000))
    assert gateway.chat("[sim tokens=7]", max_tokens=50).status_code == 200
    line = LedgerEntry.objects.get()
    period = budget.periods.get()
    assert line.quota_tokens == (line.input_tokens or 0) + 7
    assert (period.posted_tokens, period.held_tokens, period.requests) == (line.quota_tokens, 0, 1)
    refused = gateway.chat("[sim tokens=7]", max_tokens=10_000)
    assert (refused.status_code, "tokens budget per day" in refused.json()["error"]["message"]) == (402, True)


def test_a_used_up_budget_sends_requests_to_its_fallback_route_and_says_so(
    gateway: LiveGateway, user: User, simulator: SimulatorHandle, free_route: Route
) -> None:
    actions.set_budget(Budget.Scope.USER, user, "month", NOTHING, fallback_route=free_route)
    response = gateway.chat()
    assert response.status_code == 200
    assert response.headers["X-Gateway-Model"] == "sim-large"
    assert response.headers["X-Gateway-Degraded"] == "model: free instead of sim-small, the user's money budget per month is used up"
    attempt = Attempt.objects.get()
    assert (attempt.model_asked, attempt.model_name, attempt.hold_nano) == ("sim-small", "sim-large", 0)
    assert len(simulator.journal()) == 1


def test_a_fallback_route_that_the_key_may_not_use_or_that_does_not_fit_is_the_budgets_refusal(
    gateway: LiveGateway, user: User, free_route: Route
) -> None:
    actions.set_budget(Budget.Scope.USER, user, "month", actions.Limits(cap_requests=0), fallback_route=free_route)
    assert gateway.chat().json()["error"]["code"] == "budget_exceeded"
    key = ApiKey.objects.get(user=user)
    actions.set_budget(Budget.Scope.USER, user, "month", NOTHING, fallback_route=free_route)
    update_api_key(key, name="k", allowed_models=["sim-small"], allowed_contexts=[], expires_at=None)
    response = gateway.chat()
    assert (response.status_code, response.json()["error"]["code"]) == (402, "budget_exceeded")


def test_M07_a_ceiling_allows_an_unpriced_model_and_books_it_flagged(gateway: LiveGateway, user: User) -> None:
    Price.objects.all().delete()
    Deployment.objects.filter(name="sim-small").update(unpriced_ceiling_nano=3_000_000)
    ConfigVersion.bump()
    budget = actions.set_budget(Budget.Scope.USER, user, "month", actions.Limits(5_000_000))
    assert gateway.chat().status_code == 200
    line = LedgerEntry.objects.get()
    assert (line.basis, line.cost_nano, line.output_tokens is not None) == ("unpriced", 3_000_000, True)
    assert budget.periods.get().posted_nano == 3_000_000
    assert gateway.chat().status_code == 402
