"""Who is calling: cached, bounded, dropped at once when configuration moves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from aigateway import callers
from aigateway.callers import CACHE_TTL_S, UNKNOWN_TTL_S, CallerDirectory, presented_key
from aigateway.errors import GatewayError
from usage.keys.actions import create_api_key
from usage.models import ApiKey


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The key ids that were looked up in the database, in order."""
    asked: list[str] = []
    real = callers._load_caller

    def counted(key_id: str) -> Any:
        asked.append(key_id)
        return real(key_id)

    monkeypatch.setattr(callers, "_load_caller", counted)
    return asked


@pytest.fixture
def directory(transactional_db: None, clock: Clock) -> Iterator[CallerDirectory]:
    with ThreadPoolExecutor(max_workers=1) as executor:
        yield CallerDirectory(executor, clock)


@pytest.fixture
def key(transactional_db: None) -> str:
    return create_api_key(get_user_model().objects.create_user("ursula"), "test")[1]


async def refusal(directory: CallerDirectory, plaintext: str) -> str:
    with pytest.raises(GatewayError) as caught:
        await directory.authenticate(plaintext)
    return f"{caught.value.status} {caught.value.code}"


async def test_a_caller_is_looked_up_once_and_again_after_the_cache_expires(
    directory: CallerDirectory, clock: Clock, loads: list[str], key: str
) -> None:
    for _ in range(3):
        caller = await directory.authenticate(key)
        assert caller.username == "ursula"
    assert len(loads) == 1
    clock.now_s += CACHE_TTL_S + 1
    await directory.authenticate(key)
    assert len(loads) == 2


async def test_S16_an_unknown_id_costs_one_look_up_for_a_while_not_one_each_time(
    directory: CallerDirectory, clock: Clock, loads: list[str]
) -> None:
    unknown = "gw_aaaaaaaaaaaa_" + "b" * 43
    for _ in range(3):
        assert await refusal(directory, unknown) == "401 invalid_api_key"
    assert len(loads) == 1
    clock.now_s += UNKNOWN_TTL_S + 1
    await refusal(directory, unknown)
    assert len(loads) == 2


async def test_S18_a_right_id_with_a_wrong_secret_is_refused_even_when_the_key_is_cached(directory: CallerDirectory, key: str) -> None:
    await directory.authenticate(key)
    assert await refusal(directory, key[:-1] + ("A" if key[-1] != "A" else "B")) == "401 invalid_api_key"


@pytest.mark.parametrize("subject", ["key:{key}", "user:{user}", "budgets", "all"])
async def test_a_change_drops_what_it_names(directory: CallerDirectory, loads: list[str], key: str, subject: str) -> None:
    caller = await directory.authenticate(key)
    directory.drop((subject.format(key=caller.api_key_id, user=caller.user_id),))
    await directory.authenticate(key)
    assert len(loads) == 2


async def test_a_change_leaves_the_callers_it_does_not_name(directory: CallerDirectory, loads: list[str], key: str) -> None:
    await directory.authenticate(key)
    directory.drop(("key:somebodyelse", "user:0", "registry"))
    await directory.authenticate(key)
    assert len(loads) == 1


def test_an_expired_revoked_or_inactive_key_is_refused(directory: CallerDirectory, key: str) -> None:

    row, user = ApiKey.objects.get(), User.objects.get()

    def now_refused() -> str:
        directory.drop(("all",))
        return asyncio.run(refusal(directory, key))

    ApiKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert now_refused() == "401 invalid_api_key"
    ApiKey.objects.update(expires_at=None, revoked_at=timezone.now())
    assert now_refused() == "401 invalid_api_key"
    ApiKey.objects.update(revoked_at=None)
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert now_refused() == "401 invalid_api_key"
    User.objects.filter(pk=user.pk).update(is_active=True)
    directory.drop(("all",))
    assert asyncio.run(directory.authenticate(key)).api_key_id == row.pk


async def test_I07_a_database_that_is_away_is_503_and_never_401(
    directory: CallerDirectory, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(key_id: str) -> Any:
        raise OperationalError("connection refused")

    monkeypatch.setattr(callers, "_load_caller", away)
    assert await refusal(directory, key) == "503 access_unknown"


async def test_a_database_that_is_away_does_not_matter_to_a_cached_caller(
    directory: CallerDirectory, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await directory.authenticate(key)
    monkeypatch.setattr(callers, "_load_caller", lambda key_id: pytest.fail("asked the database"))
    await directory.authenticate(key)


def test_last_use_is_written_aside_and_once(directory: CallerDirectory, key: str) -> None:

    async def use() -> None:
        await directory.authenticate(key)
        await directory.flush_last_used()
        await directory.flush_last_used()

    asyncio.run(use())
    assert ApiKey.objects.get().last_used_at is not None
    with CaptureQueriesContext(connection) as queries:
        asyncio.run(directory.flush_last_used())
    assert len(queries) == 0


@pytest.mark.parametrize(("authorization", "x_api_key"), [("", ""), ("Bearer ", ""), ("Basic abc", ""), ("gw_x", "")])
def test_no_key_is_said_so(authorization: str, x_api_key: str) -> None:
    with pytest.raises(GatewayError) as caught:
        presented_key({"HTTP_AUTHORIZATION": authorization, "HTTP_X_API_KEY": x_api_key})
    assert caught.value.code == "missing_api_key"


@pytest.mark.parametrize(
    "meta",
    [
        {"HTTP_AUTHORIZATION": "bearer  abc "},
        {"HTTP_X_API_KEY": "abc"},
        {"HTTP_X_GOOG_API_KEY": "abc", "QUERY_STRING": "alt=sse&key=abc"},
        {"HTTP_API_KEY": "abc", "HTTP_AUTHORIZATION": "Bearer abc"},
    ],
)
def test_every_header_of_every_client_carries_a_key(meta: dict[str, str]) -> None:
    assert presented_key(meta) == "abc"


OTHERS = ({"HTTP_AUTHORIZATION": "Bearer b"}, {"HTTP_X_API_KEY": "b"}, {"HTTP_X_GOOG_API_KEY": "b"}, {"HTTP_API_KEY": "b"})


@pytest.mark.parametrize("other", [*OTHERS, {"QUERY_STRING": "key=b"}, {"QUERY_STRING": "key=a&key=b"}])
@pytest.mark.parametrize("first", OTHERS)
def test_C26_two_different_keys_in_one_request_are_refused(first: dict[str, str], other: dict[str, str]) -> None:
    sent = {name: value.replace("b", "a") for name, value in first.items()}
    if sent.keys() & other.keys():
        return
    with pytest.raises(GatewayError) as caught:
        presented_key({**sent, **other})
    assert (caught.value.status, caught.value.code) == (401, "ambiguous_api_key")
