"""What is left of a caller's own limits in the period of an instant, measure by measure."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from usage.budgets.quotas import Measure, quotas_of, states_of
from usage.keys.actions import create_api_key
from usage.models import Budget, BudgetPeriod, Tier

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("limit", "used", "held", "remaining"),
    [(10, 3, 4, 3), (10, 10, 0, 0), (10, 9, 2, 0), (10, 9, 0, 1), (0, 0, 0, 0), (None, 3, 4, None), (10, -3, 0, 13)],
)
def test_what_remains_is_neither_used_nor_held_and_never_below_0(limit: int | None, used: int, held: int, remaining: int | None) -> None:
    assert Measure(limit, used, held).remaining == remaining


def test_a_state_tells_the_counters_of_the_period_of_its_instant() -> None:
    user = User.objects.create_user("ann")
    budget = Budget.objects.create(scope="user", user=user, period="month", cap_nano=100, cap_tokens=50, cap_requests=5, enforcement="warn")
    counted = {"posted_nano": 30, "held_nano": 20, "posted_tokens": 7, "held_tokens": 2, "requests": 1}
    BudgetPeriod.objects.create(budget=budget, key="2026-11", **counted)
    BudgetPeriod.objects.create(budget=budget, key="2026-10", posted_nano=99)
    (state,) = states_of([budget], NOW)
    assert (state.budget_id, state.scope, state.subject, state.period, state.key) == (budget.pk, "user", "ann", "month", "2026-11")
    assert (state.money, state.tokens, state.requests) == (Measure(100, 30, 20), Measure(50, 7, 2), Measure(5, 1, 0))
    assert (state.starts_at, state.resets_at) == (datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
    assert (state.enforcement, state.tier) == ("warn", None)
    (before,) = states_of([budget], datetime(2026, 10, 31, tzinfo=UTC))
    assert (before.key, before.money) == ("2026-10", Measure(100, 99, 0))
    (after,) = states_of([budget], datetime(2026, 12, 1, tzinfo=UTC))
    assert (after.key, after.money, after.requests) == ("2026-12", Measure(100, 0, 0), Measure(5, 0, 0))


def test_a_total_has_no_instants_and_a_tiers_limit_names_its_tier() -> None:
    user = User.objects.create_user("ann")
    budget = Budget.objects.create(scope="user", user=user, period="total", cap_nano=100, tier=Tier.objects.create(name="pro"))
    BudgetPeriod.objects.create(budget=budget, key="total", posted_nano=30)
    (state,) = states_of([budget], NOW)
    assert (state.starts_at, state.resets_at, state.tier, state.money.used) == (None, None, "pro", 30)


def test_R111_a_caller_sees_the_limits_of_user_key_and_teams_and_no_others() -> None:
    user, stranger = User.objects.create_user("ann"), User.objects.create_user("bob")
    key, other_key = create_api_key(user, "laptop")[0], create_api_key(user, "phone")[0]
    teams = [Group.objects.create(name=name) for name in ("a", "b", "c")]
    user.groups.add(*teams[:2])
    stranger.groups.add(*teams)
    subjects = [{"team": team} for team in teams] + [{"user": user}, {"user": stranger}, {"api_key": key}, {"api_key": other_key}, {}]
    scopes = ["team", "team", "team", "user", "user", "key", "key", "gateway"]
    made = [
        Budget.objects.create(scope=scope, period="day", cap_requests=1, **subject) for scope, subject in zip(scopes, subjects, strict=True)
    ]
    assert [state.budget_id for state in quotas_of(user.pk, key.pk)] == [made[5].pk, made[0].pk, made[1].pk, made[3].pk]
    assert [state.budget_id for state in quotas_of(user.pk, "")] == [made[0].pk, made[1].pk, made[3].pk]
    assert all(state.starts_at <= datetime.now(UTC) < state.resets_at for state in quotas_of(user.pk, ""))


def test_periods_long_past_are_not_read() -> None:
    budget = Budget.objects.create(scope="gateway", period="hour", cap_requests=1)
    BudgetPeriod.objects.bulk_create([BudgetPeriod(budget=budget, key=f"2026-11-{day:02}T12Z", requests=day) for day in range(1, 29)])
    with CaptureQueriesContext(connection) as asked:
        (state,) = states_of([budget], NOW)
    assert state.requests.used == 21
    assert "2026-11-21T12Z" in asked[-1]["sql"], "the database chooses"
