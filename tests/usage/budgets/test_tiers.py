"""What a tier gives, what is set for one user, and that neither touches what belongs to others."""

from __future__ import annotations

from dataclasses import astuple, replace

import pytest
from django.contrib.auth.models import Group, User

from providers.models import ConfigChange, ConfigVersion
from tests.usage.world import reserve_order, settlement
from usage.budgets.actions import Limits, set_budget
from usage.budgets.binding import budgets_for
from usage.budgets.tiers import apply_to_members, delete_tier_limit, replace_quota, reset_quota, set_account, set_tier_limit
from usage.errors import ActionRefused
from usage.ledger.front import reserve_now, settle_now
from usage.models import Budget, Tier, TierLimit, UserAccount

pytestmark = pytest.mark.django_db(transaction=True)

OWN = Limits(7, 8, 9, "warn")


@pytest.fixture
def user(transactional_db: None) -> User:
    return User.objects.create_user("ann")


@pytest.fixture
def pro(transactional_db: None) -> Tier:
    return Tier.objects.create(name="pro")


def caps(user: User) -> dict[str, tuple[object, ...]]:
    rows = Budget.objects.filter(user=user).order_by("pk")
    return {row.period: (row.cap_nano, row.cap_tokens, row.cap_requests, *rules(row)) for row in rows}


def rules(row: Budget) -> tuple[object, ...]:
    return row.enforcement, row.charge_failed_attempts, row.tier and row.tier.name


def announced(since: int) -> list[str]:
    return [*ConfigChange.objects.filter(version__gt=since).values_list("subject", flat=True)]


def test_R502_a_tier_hands_on_every_figure_and_leaves_what_was_set_by_hand(user: User, pro: Tier) -> None:
    set_budget("user", user, "day", OWN)
    made = set_tier_limit(pro, "month", Limits(1, 2, 3, "warn", charge_failed_attempts=False))
    assert [*TierLimit.objects.all()] == [made]
    set_tier_limit(pro, "day", Limits(5))
    stranger = User.objects.create_user("bob")
    set_budget("user", stranger, "month", OWN)
    account = set_account(user, pro)
    assert caps(user) == {"day": (*astuple(OWN), None), "month": (1, 2, 3, "warn", False, "pro")}
    assert caps(stranger) == {"month": (*astuple(OWN), None)}
    assert (account.user, account.tier, account.team) == (user, pro, None)
    other = Tier.objects.create(name="free")
    set_tier_limit(other, "week", Limits(4))
    set_account(user, other)
    assert caps(user) == {"day": (*astuple(OWN), None), "week": (4, None, None, "hard", True, "free")}
    assert UserAccount.objects.get() == account


def test_what_a_tier_changes_reaches_every_process(user: User, pro: Tier) -> None:
    before = ConfigVersion.current()
    set_account(user, pro)
    assert announced(before) == [f"user:{user.pk}"]
    made = set_tier_limit(pro, "day", Limits(5))
    assert caps(user) == {"day": (5, None, None, "hard", True, "pro")}
    before = ConfigVersion.current()
    delete_tier_limit(made)
    assert (caps(user), announced(before), TierLimit.objects.count()) == ({}, ["budgets"], 0)


def test_a_tier_limit_set_past_the_action_is_brought_to_its_members_on_request(user: User, pro: Tier) -> None:
    set_account(user, pro)
    TierLimit.objects.create(tier=pro, period="day", cap_requests=6)
    assert caps(user) == {}
    apply_to_members(pro)
    assert caps(user) == {"day": (None, None, 6, "hard", True, "pro")}


def test_R503_a_team_is_one_of_the_users_groups(user: User, pro: Tier) -> None:
    team, foreign = (Group.objects.create(name=name) for name in ("research", "sales"))
    user.groups.add(team)
    assert set_account(user, None, team.pk).team == team
    with pytest.raises(ActionRefused, match="not a member"):
        set_account(user, pro, foreign.pk)
    account = UserAccount.objects.get()
    assert (account.team, account.tier) == (team, None), "nothing has changed"


def test_R124_a_quota_replaces_own_limits_and_tier_and_keeps_the_team(user: User, pro: Tier) -> None:
    team = Group.objects.create(name="research")
    user.groups.add(team)
    set_account(user, None, team.pk)
    set_tier_limit(pro, "week", Limits(4))
    for period in ("hour", "day"):
        set_budget("user", user, period, OWN)
    stranger = User.objects.create_user("bob")
    set_budget("user", stranger, "hour", OWN)
    replace_quota(user, {"day": Limits(1), "month": Limits(2)}, pro)
    assert {period: (figures[0], figures[-1]) for period, figures in caps(user).items()} == {
        "day": (1, None), "month": (2, None), "week": (4, "pro")
    }  # fmt: skip
    assert UserAccount.objects.get(user=user).team == team
    replace_quota(stranger, {}, None)
    assert (caps(stranger), UserAccount.objects.get(user=stranger).team) == ({}, None)


def test_R124_an_unknown_period_changes_nothing(user: User, pro: Tier) -> None:
    set_budget("user", user, "hour", OWN)
    with pytest.raises(ActionRefused, match="A period is one of hour, day, week, month, total"):
        replace_quota(user, {"day": Limits(1), "decade": Limits(1)}, pro)
    assert ([*caps(user)], UserAccount.objects.count()) == (["hour"], 0)


def test_R124_a_reset_is_of_the_users_own_periods_named_or_all_that_counted_something(user: User) -> None:
    for unit in ("day", "month"):
        set_budget("user", user, unit, OWN)
    stranger = User.objects.create_user("bob")
    set_budget("user", stranger, "day", Limits(100))
    for spender in (user, stranger):
        order = replace(reserve_order(5, user_id=spender.pk), budgets=budgets_for(spender.pk, ""))
        reserve_now(order)
        settle_now(settlement(order, 5, basis="estimated"))
    set_budget("user", user, "total", OWN)
    (by_name,) = reset_quota(user, "goodwill", 9, ["month"])
    assert (by_name.subject, by_name.amount_nano, by_name.reason, by_name.actor_id) == ("ann per month", -5, "goodwill", 9)
    assert [made.subject for made in reset_quota(user, "goodwill", 9)] == ["ann per day", "ann per total"]
    assert reset_quota(user, "goodwill", 9) == []
