"""I06: a full Redis that drops counters lets more in than a rate limit says. The check and readiness tell before it happens."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import Client

from aigateway import checks
from tests import servers
from tests.usage.limits.world import limit
from usage.limits.limiter import RateLimiter
from usage.limits.types import Ask

pytestmark = pytest.mark.both_databases

KEEPING = ("noeviction", "volatile-ttl")
EVICTING = ("allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.PrivateRedis]:
    server = servers.PrivateRedis(Path(tmp_path_factory.mktemp("redis")))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def admin(server: servers.PrivateRedis, settings: Any) -> Iterator[redis.Redis]:
    settings.REDIS_URL = server.url
    settings.ROOT_URLCONF = "tests.control_plane_urls"
    with redis.Redis.from_url(server.url) as admin:
        admin.config_set("maxmemory", "2mb")
        yield admin


def found() -> list[str | None]:
    return [message.id for message in checks.redis_keeps_its_counters()]


def readiness() -> tuple[int, str, str]:
    answer = Client().get("/readyz")
    return answer.status_code, answer.json()["status"], answer.json()["checks"]["redis"]


@pytest.mark.django_db
@pytest.mark.parametrize("policy", EVICTING)
def test_I06_a_redis_that_drops_counters_is_named_by_check_and_readiness(admin: redis.Redis, policy: str) -> None:
    admin.config_set("maxmemory-policy", policy)
    [message] = checks.redis_keeps_its_counters()
    assert message.id == ("aigateway.E007" if policy.startswith("allkeys") else "aigateway.W003")
    assert f"({policy})" in message.msg
    assert readiness() == (200, "degraded", "evicts_counters")


@pytest.mark.django_db
@pytest.mark.parametrize("policy", KEEPING)
def test_I06_a_redis_that_keeps_them_is_well(admin: redis.Redis, policy: str) -> None:
    admin.config_set("maxmemory-policy", policy)
    assert (found(), readiness()) == ([], (200, "ready", "ok"))


@pytest.mark.django_db
def test_I06_without_a_bound_nothing_is_ever_dropped(admin: redis.Redis) -> None:
    admin.config_set("maxmemory-policy", "allkeys-lru")
    admin.config_set("maxmemory", "0")
    assert (found(), readiness()) == ([], (200, "ready", "ok"))


def test_I06_the_check_before_a_deployment_fails(admin: redis.Redis) -> None:
    admin.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(SystemCheckError, match=r"aigateway\.E007"):
        call_command("check", deploy=True, tags=["caches"], fail_level="ERROR", stderr=StringIO())


@pytest.mark.django_db
def test_a_redis_that_does_not_tell_its_policy_is_taken_as_it_is(admin: redis.Redis, server: servers.PrivateRedis, settings: Any) -> None:
    admin.config_set("maxmemory-policy", "allkeys-lru")
    admin.acl_setuser("shy", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-info"])
    settings.REDIS_URL = server.url.replace("redis://", "redis://shy:any@")
    assert (found(), readiness()) == ([], (200, "ready", "ok"))


def test_without_redis_or_while_it_is_away_the_check_says_nothing(settings: Any) -> None:
    for url in (None, f"redis://127.0.0.1:{servers.free_port()}/0"):
        settings.REDIS_URL = url
        assert found() == []


async def test_I06_a_full_redis_that_drops_nothing_leaves_the_decision_to_each_process(
    admin: redis.Redis, server: servers.PrivateRedis
) -> None:
    admin.config_set("maxmemory-policy", "noeviction")
    five = limit(5, window="hour")
    limiter = RateLimiter(server.url)
    await limiter.start()
    try:
        assert (await limiter.take((Ask(five, 1),))).is_shared
        admin.config_set("maxmemory", "1")
        verdicts = [await limiter.take((Ask(five, 1),)) for _ in range(6)]
        assert [verdict.admitted for verdict in verdicts] == [True] * 5 + [False]
        assert limiter.is_degraded
        admin.config_set("maxmemory", "0")
        assert (await limiter.take((Ask(five, 1),))).states[0].remaining == 3, "what was counted before is still there"
    finally:
        admin.config_set("maxmemory", "0")
        await limiter.stop()
