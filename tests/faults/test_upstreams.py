"""Providers that fail in bursts, cut their answers, send calls elsewhere or take no null: over real sockets, at the dispatcher."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers.upstream import dispatch
from providers.upstream.adapters import ADAPTERS
from providers.upstream.dispatch import AllTargetsFailed, Billing
from providers.upstream.errors import InvalidBody, Redirected
from providers.upstream.transport import Deadline
from providers.upstream.types import AuthStyle, CredentialRef, RoutingSettings, Secret, Wire
from tests.providers.upstream import rig

OWN_STATUS = [301, 302, 303, 307, 308]


async def ask(targets: tuple[Any, ...], up: Any, ledger: rig.FakeLedger) -> dispatch.Answer:
    return await dispatch.answer(rig.plan(*targets), rig.chat_request(), up, ledger, Deadline(10))


async def test_U14_a_chunked_answer_that_is_cut_off_fails_over_and_is_paid_as_an_estimate(alpha, beta, transport, ledger) -> None:
    whole = json.dumps(rig.completion()).encode()

    async def cut(exchange: rig.Exchange) -> None:
        await exchange.head(200, content_type="application/json", transfer_encoding="chunked")
        await exchange.chunk(whole)  # all of the JSON, but not the end of the answer

    alpha.will(cut)
    beta.will(rig.ok)
    targets = (rig.target(rig.provider(alpha.base_url)), rig.target(rig.provider(beta.base_url, id=2, slug="beta"), id=2))
    answer = await ask(targets, rig.upstreams(transport), ledger)
    assert [record.code for record in answer.attempts] == [InvalidBody.code, "ok"]
    assert [outcome.billing for outcome in ledger.outcomes] == [Billing.ESTIMATE, Billing.MEASURED]


@pytest.mark.parametrize("status", [500, 502, 503, 529])
async def test_U18_a_target_that_only_fails_is_left_alone_after_five_calls(alpha, beta, transport, ledger, status: int) -> None:
    alpha.will(rig.fails(status))
    beta.will(rig.ok)
    up = rig.upstreams(transport, RoutingSettings(retries_per_target=0, breaker_failures=5))
    targets = (rig.target(rig.provider(alpha.base_url)), rig.target(rig.provider(beta.base_url, id=2, slug="beta"), id=2))
    for _ in range(20):
        assert (await ask(targets, up, ledger)).target.id == 2
    assert (len(alpha.seen), len(beta.seen)) == (5, 20)


async def test_U18_a_target_that_fails_one_call_in_five_stays_in_use(alpha, beta, transport, ledger) -> None:
    alpha.will(*[rig.fails(500) if number % 5 == 0 else rig.ok for number in range(40)], rig.ok)
    beta.will(rig.ok)
    up = rig.upstreams(transport, RoutingSettings(retries_per_target=0, breaker_failures=5))
    targets = (rig.target(rig.provider(alpha.base_url)), rig.target(rig.provider(beta.base_url, id=2, slug="beta"), id=2))
    for _ in range(40):
        await ask(targets, up, ledger)
    assert (len(alpha.seen), len(beta.seen)) == (40, 8)


async def test_U20_an_empty_account_rests_for_every_model_and_the_next_key_answers(alpha, transport, ledger) -> None:
    keys = (CredentialRef("empty", Secret("sk-empty")), CredentialRef("paid", Secret("sk-paid")))
    alpha.will(rig.fails(402), rig.ok)
    spec = rig.provider(alpha.base_url, credentials=keys)
    up = rig.upstreams(transport)
    await ask((rig.target(spec),), up, ledger)
    await ask((rig.target(spec, id=7, name="gpt-4o-mini"),), up, ledger)
    assert [seen.headers["authorization"] for seen in alpha.seen] == ["Bearer sk-empty", "Bearer sk-paid", "Bearer sk-paid"]


@pytest.mark.parametrize("status", OWN_STATUS)
@pytest.mark.parametrize("style", [AuthStyle.BEARER, AuthStyle.X_API_KEY, AuthStyle.API_KEY, AuthStyle.X_GOOG_API_KEY])
async def test_U31_no_kind_of_key_follows_a_redirect(alpha, beta, transport, ledger, status: int, style: AuthStyle) -> None:
    for place in (f"http://127.0.0.1:{beta.port}/v1/steal", f"//127.0.0.1:{beta.port}/steal", "/v1/elsewhere"):

        async def redirect(exchange: rig.Exchange, place: str = place) -> None:
            await exchange.answer(status, b"", location=place)

        alpha.will(redirect)
        beta.will(rig.ok)
        before = len(alpha.seen)
        with pytest.raises(AllTargetsFailed) as failed:
            await ask((rig.target(rig.provider(alpha.base_url, auth_style=style)),), rig.upstreams(transport), ledger)
        assert isinstance(failed.value.last, Redirected)
        assert len(alpha.seen) == before + 1
        sent = [name for name, value in alpha.seen[-1].headers.items() if "sk-canary-one" in value]
        assert sent == ["authorization" if style is AuthStyle.BEARER else style.value.replace("_", "-")]
    assert beta.connections == 0


async def test_U32_an_answer_without_choices_is_no_success(alpha, beta, transport, ledger) -> None:
    async def empty(exchange: rig.Exchange) -> None:
        await exchange.answer(200, {**rig.completion(), "choices": []})

    alpha.will(empty)
    beta.will(rig.ok)
    targets = (rig.target(rig.provider(alpha.base_url)), rig.target(rig.provider(beta.base_url, id=2, slug="beta"), id=2))
    up = rig.upstreams(transport, RoutingSettings(retries_per_target=0, breaker_failures=5))
    for _ in range(7):
        assert (await ask(targets, up, ledger)).target.id == 2
    assert len(alpha.seen) == 5, "empty answers count against the target"


def nulls_in(value: object, place: str = "") -> list[str]:
    if isinstance(value, dict):
        return [found for name, inner in value.items() for found in nulls_in(inner, f"{place}.{name}")]
    if isinstance(value, list):
        return [found for index, inner in enumerate(value) for found in nulls_in(inner, f"{place}[{index}]")]
    return [place] if value is None else []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wire", ADAPTERS)
def test_U33_no_adapter_sends_a_null_for_what_was_not_asked(wire: Wire, stream: bool) -> None:
    target = rig.target(rig.provider(adapter=wire))
    body = json.loads(ADAPTERS[wire].render_chat(rig.chat_request(stream=stream), target).body)
    assert nulls_in(body) == []
