"""Rate limits through the running gateway: what is set is enforced, told in headers and shown by the quota page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from providers.models import ConfigVersion, Provider, Route, RouteTarget
from tests.aigateway.conftest import LiveGateway, deployment, register_simulator
from tests.providers.simulator.fixtures import SimulatorHandle
from tests.servers import PrivateRedis
from usage.budgets import actions
from usage.budgets.tiers import set_account
from usage.errors import ActionRefused
from usage.limits.actions import delete_rate_limit, set_rate_limit
from usage.models import ApiKey, Attempt, LedgerEntry, RateLimit, Tier

pytestmark = pytest.mark.django_db(transaction=True)


def remaining(response: object, measure: str = "Requests") -> int:
    return int(response.headers[f"X-RateLimit-Remaining-{measure}"])


@pytest.mark.parametrize("scope", [*RateLimit.Scope])
@pytest.mark.parametrize("burst", [None, 2])
def test_R501_M06_a_limit_of_each_scope_is_enforced_and_named(
    gateway: LiveGateway, user: User, simulator: SimulatorHandle, scope: str, burst: int | None
) -> None:
    tier = Tier.objects.create(name="pro")
    set_account(user, tier)
    subjects = {"user": user, "key": ApiKey.objects.get(), "tier": tier, "provider": Provider.objects.get()}
    row = set_rate_limit(scope, subjects.get(scope), "requests", "minute", 2, burst)
    assert [gateway.chat().status_code for _ in range(3)] == [200, 200, 429]
    refused = gateway.chat()
    error = refused.json()["error"]
    assert (error["code"], error["category"]) == ("rate_limit_exceeded", "rate_limit")
    assert f"2 requests per minute{' (at most 2 at once)' if burst else ''} of the " in error["message"]
    assert 1 <= int(refused.headers["Retry-After"]) <= 61
    assert len(simulator.journal()) == LedgerEntry.objects.count() == 2
    assert Attempt.objects.count() == 2, "a refused call leaves no trace on the ledger"
    delete_rate_limit(row)
    ConfigVersion.bump()
    assert RateLimit.objects.count() == 0


def test_R501_headers_tell_the_tightest_limit_on_every_answer(gateway: LiveGateway, user: User) -> None:
    set_rate_limit("user", user, "requests", "minute", 10)
    set_rate_limit("gateway", None, "requests", "hour", 1000)
    set_rate_limit("user", user, "tokens", "hour", 100_000)
    answer = gateway.chat("[sim tokens=7]")
    assert (answer.headers["X-RateLimit-Limit-Requests"], remaining(answer)) == ("10", 9)
    used = LedgerEntry.objects.get()
    assert remaining(answer, "Tokens") == 100_000 - (used.input_tokens or 0) - 7, "what was really used, not what was reserved"
    assert answer.headers["X-RateLimit-Reset-Requests"].endswith("s")
    assert remaining(gateway.chat(model="nothing")) == 9, "a refusal consumes nothing"
    with gateway.client.stream("POST", "/v1/chat/completions", json={
        "model": "sim-small", "stream": True, "messages": [{"role": "user", "content": "Hi"}]
    }) as stream:  # fmt: skip
        assert remaining(stream) == 8
        stream.read()
    shown = gateway.client.get("/api/v1/ai/quota").json()["rate_limits"]
    assert [(each["scope"], each["measure"], each["limit"]) for each in shown] == [
        ("gateway", "requests", 1000), ("user", "requests", 10), ("user", "tokens", 100_000)
    ]  # fmt: skip
    assert [each["remaining"] for each in shown[:2]] == [998, 8]
    last = gateway.chat(model="nothing")
    assert remaining(last, "Tokens") == shown[2]["remaining"]


def test_without_limits_there_are_no_headers(gateway: LiveGateway) -> None:
    assert not [name for name in gateway.chat().headers if name.lower().startswith("x-ratelimit")]


def test_tokens_refuse_before_anything_is_sent_and_a_failed_call_gives_them_back(
    gateway: LiveGateway, user: User, simulator: SimulatorHandle
) -> None:
    set_rate_limit("user", user, "tokens", "hour", 3_000)
    assert gateway.chat("[sim fault=http_400]", max_tokens=1000).status_code == 400
    first = gateway.chat("[sim tokens=5]", max_tokens=2_500)
    assert first.status_code == 200
    assert remaining(first, "Tokens") > 2_900
    sent = len(simulator.journal())
    assert gateway.chat("[sim tokens=5]", max_tokens=2_990).status_code == 429
    assert len(simulator.journal()) == sent


def test_what_a_budget_refuses_has_used_no_rate_limit(gateway: LiveGateway, user: User) -> None:
    set_rate_limit("user", user, "requests", "minute", 2)
    actions.set_budget("user", user, "month", actions.Limits(0))
    refused = [gateway.chat() for _ in range(3)]
    assert [(each.status_code, remaining(each)) for each in refused] == [(402, 2)] * 3


def test_R307_a_provider_over_its_limit_is_left_out_with_a_reason(
    start_gateway: Callable[[], LiveGateway], new_simulator: Callable[..., SimulatorHandle]
) -> None:
    first, second = new_simulator(), new_simulator()
    limited = register_simulator(first, "first", priority=1)
    register_simulator(second, "second", priority=2)
    route = Route.objects.create(name="both")
    for position, slug in enumerate(("first", "second")):
        RouteTarget.objects.create(route=route, deployment=deployment("sim-small", slug), priority=position)
    set_rate_limit("provider", limited, "requests", "minute", 1)
    gateway = start_gateway()
    answers = [gateway.chat(model="both") for _ in range(2)]
    assert [answer.headers["X-Gateway-Provider"] for answer in answers] == ["first", "second"]
    native = gateway.generate(model="both").json()
    assert [(each["provider"], each["outcome"]) for each in native["attempts"]] == [
        ("first", "rate_limit_exceeded"), ("second", "ok")
    ]  # fmt: skip
    assert (len(first.journal()), len(second.journal())) == (1, 2)
    assert set(Attempt.objects.values_list("attempt_no", flat=True)) == {1}, "no call was made, so none is counted"


def test_M06_the_admin_page_writes_what_is_enforced_and_refuses_what_is_none(
    gateway: LiveGateway, user: User, simulator: SimulatorHandle
) -> None:
    root = User.objects.create_superuser("root")
    browser = Client()
    browser.force_login(root)
    add = reverse("admin:usage_ratelimit_add")
    form = {"scope": "user", "user": user.pk, "measure": "requests", "window": "hour", "limit": "1"}
    for wrong in (
        {"user": ""},
        {"limit": "-1"},
        {"burst": "0"},
        {"limit": "0", "burst": "3"},
        {"window": "week"},
        {"limit": "1" + "0" * 12},
    ):
        assert browser.post(add, {**form, **wrong}).status_code == 200, wrong
    assert RateLimit.objects.count() == 0
    assert browser.post(add, form).status_code == 302
    assert [gateway.chat().status_code for _ in range(2)] == [200, 429]
    assert browser.post(add, form).status_code == 200, "one limit of a kind"
    change = reverse("admin:usage_ratelimit_change", args=[RateLimit.objects.get().pk])
    assert browser.post(change, {"limit": "0"}).status_code == 302
    assert b"blocks" in browser.get(reverse("admin:usage_ratelimit_changelist")).content
    assert browser.post(reverse("admin:usage_ratelimit_delete", args=[RateLimit.objects.get().pk]), {"post": "yes"}).status_code == 302


@pytest.mark.parametrize(
    ("scope", "subject", "figures"),
    [
        ("user", None, (1, None)),
        ("gateway", "x", (1, None)),
        ("gateway", None, (-1, None)),
        ("gateway", None, (0, 1)),
        ("team", None, (1, 1)),
    ],
)
def test_the_action_refuses_what_no_limit_can_be(scope: str, subject: object, figures: tuple[int, int | None]) -> None:
    with pytest.raises(ActionRefused):
        set_rate_limit(scope, subject, "requests", "minute", *figures)


@pytest.mark.parametrize(("measure", "window"), [("words", "minute"), ("tokens", "week")])
def test_the_action_refuses_other_measures_and_windows(measure: str, window: str) -> None:
    with pytest.raises(ActionRefused):
        set_rate_limit("gateway", None, measure, window, 1)


def test_the_admin_can_lift_several_limits_at_once(user: User) -> None:
    rows = [set_rate_limit("gateway", None, "requests", "minute", 1), set_rate_limit("user", user, "tokens", "day", 1)]
    assert {str(row) for row in rows} == {"1 requests per minute (gateway)", "1 tokens per day (user)"}
    browser = Client()
    browser.force_login(User.objects.create_superuser("root"))
    changelist = reverse("admin:usage_ratelimit_changelist")
    assert b"Whole gateway" in browser.get(changelist).content
    before = ConfigVersion.current()
    chosen = {"action": "delete_selected", "_selected_action": [row.pk for row in rows], "post": "yes"}
    browser.post(changelist, chosen)
    assert not RateLimit.objects.exists()
    assert ConfigVersion.current() > before


def test_I01_limits_go_on_in_this_process_while_redis_is_away_and_say_so(
    start_gateway: Callable[[], LiveGateway], simulator: SimulatorHandle, user: User, tmp_path: Path, settings: object
) -> None:
    redis = PrivateRedis(tmp_path)
    redis.start()
    try:
        settings.REDIS_URL = redis.url
        register_simulator(simulator)
        set_rate_limit("user", user, "requests", "hour", 3)
        gateway = start_gateway()
        shared = gateway.chat()
        assert remaining(shared) == 2
        assert "X-Gateway-Degraded" not in shared.headers
        redis.stop()
        alone = [gateway.chat() for _ in range(4)]
        assert [answer.status_code for answer in alone] == [200, 200, 200, 429]
        assert "rate limits" in alone[0].headers["X-Gateway-Degraded"]
        assert LedgerEntry.objects.count() == 4
    finally:
        redis.stop()
