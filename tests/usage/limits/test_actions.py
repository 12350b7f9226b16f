"""Setting and lifting rate limits: what can be one, whom it binds, and that every process hears of it."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, User

from providers.models import ConfigChange, ConfigVersion, Provider
from usage.errors import ActionRefused
from usage.keys.actions import create_api_key
from usage.limits.actions import check_figures, delete_rate_limit, set_rate_limit
from usage.models import RateLimit, Tier

MOST = 100_000_000


@pytest.mark.parametrize(("limit", "burst"), [(0, None), (1, None), (1, 1), (1, MOST), (MOST, None), (MOST, MOST)])
def test_a_limit_is_0_to_a_hundred_million_and_a_burst_at_least_1(limit: int, burst: int | None) -> None:
    check_figures("tokens", "day", limit, burst)


@pytest.mark.parametrize(
    ("measure", "window", "limit", "burst", "reason"),
    [
        ("words", "day", 1, None, "A measure is one of requests, tokens."),
        ("tokens", "week", 1, None, "A window is one of minute, hour, day."),
        ("tokens", "day", -1, None, "A rate limit is 0 (blocks) to 100,000,000."),
        ("tokens", "day", MOST + 1, None, "A rate limit is 0 (blocks) to 100,000,000."),
        ("tokens", "day", 1, 0, "A burst is 1 to 100,000,000; leave it out for a sliding window."),
        ("tokens", "day", 1, MOST + 1, "A burst is 1 to 100,000,000; leave it out for a sliding window."),
        ("tokens", "day", 0, 1, "A limit of 0 blocks, so it has no burst."),
    ],
)
def test_M06_figures_no_limit_can_have_are_refused_with_the_reason(
    measure: str, window: str, limit: int, burst: int | None, reason: str
) -> None:
    with pytest.raises(ActionRefused) as refused:
        check_figures(measure, window, limit, burst)
    assert str(refused.value) == reason


@pytest.mark.django_db
def test_a_limit_names_exactly_what_its_scope_says() -> None:
    user, tier, group = User.objects.create_user("ann"), Tier.objects.create(name="pro"), Group.objects.create(name="research")
    key, provider = create_api_key(user, "laptop")[0], Provider.objects.create(slug="sim", label="Sim", kind="simulator")
    subjects = {"gateway": None, "tier": tier, "user": user, "key": key, "provider": provider}
    for scope, subject in subjects.items():
        row = set_rate_limit(scope, subject, "requests", "minute", 5)
        named = (row.tier, row.user, row.api_key, row.provider)
        assert [each for each in named if each is not None] == ([] if subject is None else [subject])
        for stranger in (group, *subjects.values()):
            if stranger is not subject:
                with pytest.raises(ActionRefused, match="names what its scope says"):
                    set_rate_limit(scope, stranger, "requests", "hour", 5)
    assert RateLimit.objects.count() == len(subjects)


@pytest.mark.django_db
def test_setting_a_limit_again_changes_its_figures_and_every_process_is_told() -> None:
    before = ConfigVersion.current()
    row = set_rate_limit("gateway", None, "requests", "minute", 5, 2)
    again = set_rate_limit("gateway", None, "requests", "minute", 7)
    other = set_rate_limit("gateway", None, "requests", "hour", 9)
    assert (row.pk == again.pk != other.pk, again.limit, again.burst) == (True, 7, None)
    delete_rate_limit(again)
    assert [*RateLimit.objects.all()] == [other]
    assert [*ConfigChange.objects.filter(version__gt=before).values_list("subject", flat=True)] == ["budgets"] * 4


@pytest.mark.django_db
def test_a_refused_limit_is_not_written() -> None:
    before = ConfigVersion.current()
    with pytest.raises(ActionRefused):
        set_rate_limit("gateway", None, "requests", "minute", -1)
    assert (RateLimit.objects.count(), ConfigVersion.current()) == (0, before)
