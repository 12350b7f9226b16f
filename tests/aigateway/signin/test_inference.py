"""Access tokens on the inference plane: callers without a key, bound by their user, dropped when the user changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from django.test import Client

from aigateway import callers, env
from aigateway.callers import CACHE_TTL_S, CallerDirectory
from aigateway.errors import GatewayError
from aigateway.models import SignIn
from aigateway.signin import standing
from providers.models import ConfigVersion
from tests.aigateway.conftest import LiveGateway
from tests.aigateway.signin.conftest import PASSWORD, link, token_of
from tests.aigateway.signin.issuer import SmallIssuer
from tests.aigateway.test_callers import Clock
from usage.models import Budget, LedgerEntry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def user(quick_hashes: None, transactional_db: None) -> User:
    return User.objects.create_user("ursula", password=PASSWORD)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def directory(clock: Clock) -> Iterator[CallerDirectory]:
    with ThreadPoolExecutor(max_workers=1) as executor:
        made = CallerDirectory(executor, clock)
        yield made
        made.close()


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    real, counted = callers._load_bearer, []

    def load(proven: Any) -> Any:
        counted.append(1)
        return real(proven)

    monkeypatch.setattr(callers, "_load_bearer", load)
    return counted


def ask(directory: CallerDirectory, token: str) -> Any:
    """The caller, or how he was refused."""
    try:
        return asyncio.run(directory.authenticate(token))
    except GatewayError as error:
        return f"{error.status} {error.code}"


@pytest.mark.both_databases
def test_R705_a_token_is_its_users_caller_without_a_key(directory: CallerDirectory, user: User) -> None:
    mine = Budget.objects.create(scope="user", user=user, period="month", cap_nano=1)
    caller = ask(directory, token_of(user)["access_token"])
    assert (caller.user_id, caller.username, caller.api_key_id, caller.subject) == (user.pk, "ursula", "", f"user:{user.pk}")
    assert [budget.budget_id for budget in caller.budgets] == [mine.pk]


def test_S31_it_is_looked_up_once_a_minute_and_never_kept_beyond_its_end(
    directory: CallerDirectory, user: User, clock: Clock, loads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = token_of(user)["access_token"]
    for _ in range(3):
        ask(directory, token)
    assert len(loads) == 1
    clock.now_s += CACHE_TTL_S + 1
    ask(directory, token)
    assert len(loads) == 2
    monkeypatch.setattr("aigateway.signin.tokens.Proven.expires_in_s", property(lambda self: 5.0))
    directory.drop(("all",))
    ask(directory, token)
    clock.now_s += 6
    ask(directory, token)
    assert len(loads) == 4


@pytest.mark.both_databases
@pytest.mark.parametrize("how", ["password", "deactivate", "everywhere", "this one"])
def test_S31_a_change_of_the_user_is_announced_and_ends_it(directory: CallerDirectory, user: User, how: str) -> None:
    token = token_of(user)["access_token"]
    assert ask(directory, token).user_id == user.pk
    before = ConfigVersion.current()
    if how == "password":
        user.set_password("another pass phrase")
        user.save()
    elif how == "deactivate":
        user.is_active = False
        user.save()
    elif how == "everywhere":
        standing.end_everything(user, "test")
    else:
        standing.end(SignIn.objects.get())
    assert ConfigVersion.current() > before
    directory.drop((f"user:{user.pk}",))
    assert ask(directory, token) == "401 invalid_token"


def test_S31_what_nobody_announced_is_noticed_within_a_minute(directory: CallerDirectory, user: User, clock: Clock) -> None:
    token = token_of(user)["access_token"]
    ask(directory, token)
    User.objects.update(is_active=False)
    clock.now_s += CACHE_TTL_S
    assert ask(directory, token) == "401 invalid_token"


def test_a_load_under_way_while_the_user_changes_is_not_kept(
    directory: CallerDirectory, user: User, loads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    token, load = token_of(user)["access_token"], callers._load_bearer

    def changed_meanwhile(proven: Any) -> Any:
        directory.drop((f"user:{user.pk}",))
        return load(proven)

    monkeypatch.setattr(callers, "_load_bearer", changed_meanwhile)
    for _ in range(2):
        ask(directory, token)
    assert len(loads) == 2


def test_many_at_once_are_one_look_up(directory: CallerDirectory, user: User, loads: list[int]) -> None:
    token = token_of(user)["access_token"]

    async def many() -> None:
        await asyncio.gather(*(directory.authenticate(token) for _ in range(20)))

    asyncio.run(many())
    assert len(loads) == 1


def test_S30_bad_tokens_never_reach_the_database(directory: CallerDirectory, user: User, loads: list[int]) -> None:
    token = token_of(user)["access_token"]
    head, claims, signature = token.split(".")
    unsigned = jwt.encode({"iss": "aigateway"}, None, "none")
    for bad in (f"{head}.{claims}.{signature[::-1]}", unsigned, token + "." * 2, "eyJ" + "x" * 10_000 + ".y.z"):
        assert ask(directory, bad).startswith("401")
    assert loads == []


def test_a_token_without_the_scope_infers_nothing(directory: CallerDirectory, user: User) -> None:
    assert ask(directory, token_of(user, scopes=["own_usage"])["access_token"]) == "403 scope_missing"


def test_R705_strategies_are_switchable(directory: CallerDirectory, user: User, settings: Any) -> None:
    token = token_of(user)["access_token"]
    settings.AUTH = (env.API_KEYS,)
    assert ask(directory, token) == "401 invalid_api_key"
    settings.AUTH = (env.TOKENS,)
    assert ask(directory, token).user_id == user.pk
    assert ask(directory, "gw_aaaaaaaaaaaa_" + "b" * 43) == "401 invalid_api_key"


def test_a_database_that_is_away_is_503(directory: CallerDirectory, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    token = token_of(user)["access_token"]

    def away(_: Any) -> None:
        raise OperationalError

    monkeypatch.setattr(callers, "_load_bearer", away)
    assert ask(directory, token) == "503 access_unknown"


def test_an_issuer_that_is_away_is_503(directory: CallerDirectory, user: User, issuer: SmallIssuer, believe: Callable[..., None]) -> None:
    link(user, issuer)
    issuer.answers["/jwks"] = (500, {})
    assert ask(directory, issuer.token()) == "503 access_unknown"


def test_R705_a_foreign_token_infers_too(directory: CallerDirectory, user: User, issuer: SmallIssuer, believe: Callable[..., None]) -> None:
    link(user, issuer)
    assert ask(directory, issuer.token()).user_id == user.pk
    assert ask(directory, issuer.token(sub="nobody")) == "401 invalid_token"


def test_R705_a_chat_by_token_is_answered_metered_and_ended(gateway: LiveGateway, user: User) -> None:
    issued = token_of(user)
    gateway.client.headers["Authorization"] = f"Bearer {issued['access_token']}"
    assert gateway.chat().status_code == 200
    line = LedgerEntry.objects.get()
    assert (line.user_id, line.api_key_id) == (user.pk, "")
    first = gateway.chat(headers={"Idempotency-Key": "once"})
    assert gateway.chat(headers={"Idempotency-Key": "once"}).content == first.content
    ending = {"refresh_token": issued["refresh_token"]}
    assert Client().post("/api/v1/ai/auth/token/revoke", ending, content_type="application/json").status_code == 204
    while gateway.chat().status_code == 200:  # until this process has heard of it; the limit of the test ends it
        continue
    assert gateway.chat().json()["error"]["code"] == "invalid_token"
