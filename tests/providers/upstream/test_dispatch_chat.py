"""Fail-over and settlement of whole answers, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from providers.upstream import dispatch
from providers.upstream.dispatch import AllTargetsFailed, Billing
from providers.upstream.errors import (
    AuthRejected,
    CallerFault,
    CircuitOpen,
    DeadlineExceeded,
    EgressDenied,
    InvalidBody,
    RateLimited,
    Redirected,
)
from providers.upstream.transport import Deadline, Transport
from providers.upstream.types import CredentialRef, RoutingSettings, Secret, Timeouts
from tests.providers.upstream import rig
from tests.providers.upstream.rig import FakeLedger, FakeProvider, Naps


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def one(fake: FakeProvider, **changes) -> object:
    return rig.target(rig.provider(fake.base_url, **changes))


def two(fake: FakeProvider, **changes) -> object:
    keys = (CredentialRef("key-2", Secret("sk-canary-two")),)
    return rig.target(rig.provider(fake.base_url, id=2, slug="beta", credentials=keys, **changes), id=2)


async def chat(plan, up, ledger, seconds: float = 10.0, request=None):
    return await dispatch.answer(plan, request or rig.chat_request(), up, ledger, Deadline(seconds))


async def test_the_first_target_answers_and_its_usage_is_measured(alpha, transport, ledger) -> None:
    alpha.will(rig.ok)
    answer = await chat(rig.plan(one(alpha)), rig.upstreams(transport), ledger)
    assert answer.response.choices[0].text == "Hello"
    (outcome,) = ledger.outcomes
    assert (outcome.billing, outcome.usage.input_tokens, outcome.usage.output_tokens) == (Billing.MEASURED, 9, 3)
    assert (outcome.upstream_id, outcome.error_code, outcome.delivered_output_bytes) == ("chatcmpl-1", "", 5)
    assert [(record.attempt_no, record.code) for record in answer.attempts] == [(1, "ok")]
    assert alpha.seen[0].headers["authorization"] == "Bearer sk-canary-one"
    assert alpha.seen[0].headers["accept-encoding"] == "identity"
    assert alpha.seen[0].path == "/v1/chat/completions"


async def test_U01_a_refused_connection_fails_over_fast_and_costs_nothing(beta, closed_port, ledger) -> None:
    beta.will(rig.ok)
    down = rig.target(rig.provider(f"http://127.0.0.1:{closed_port}/v1"))
    carrier = Transport(lambda: rig.open_policy(beta, extra=frozenset({("127.0.0.1", closed_port)})))
    await carrier.start()
    try:
        started = time.monotonic()
        answer = await chat(rig.plan(down, two(beta)), rig.upstreams(carrier), ledger)
        assert time.monotonic() - started < 0.25
    finally:
        await carrier.close()
    assert [record.code for record in answer.attempts] == ["upstream_connect_failed", "ok"]
    assert [outcome.billing for outcome in ledger.outcomes] == [Billing.NOTHING, Billing.MEASURED]
    ledger.assert_balanced()


async def test_U03_an_unresolvable_name_is_a_dns_failure_by_type(ledger) -> None:
    carrier = Transport(lambda: rig.EgressPolicy())
    await carrier.start()
    try:
        with pytest.raises(AllTargetsFailed) as failed:
            await chat(rig.plan(rig.target(rig.provider("http://no-such-host.invalid/v1"))), rig.upstreams(carrier), ledger)
    finally:
        await carrier.close()
    assert failed.value.last.code == "upstream_dns_failed"
    assert ledger.outcomes[0].billing is Billing.NOTHING


@pytest.mark.parametrize(
    ("status", "code"),
    [(500, "upstream_server_error"), (502, "upstream_server_error"), (503, "upstream_overloaded"), (529, "upstream_overloaded")],
)
async def test_U18_a_5xx_goes_to_the_next_target(alpha, beta, transport, ledger, status, code) -> None:
    alpha.will(rig.fails(status))
    beta.will(rig.ok)
    answer = await chat(rig.plan(one(alpha), two(beta)), rig.upstreams(transport), ledger)
    assert answer.target.id == 2
    assert [outcome.error_code for outcome in ledger.outcomes] == [code, ""]
    assert ledger.outcomes[0].billing is Billing.NOTHING


async def test_U19_a_refused_key_is_followed_by_the_next_key_of_the_same_provider(alpha, beta, transport, ledger) -> None:
    keys = (CredentialRef("old", Secret("sk-revoked")), CredentialRef("new", Secret("sk-good")))
    alpha.will(rig.fails(401, "bad key sk-revoked"), rig.ok)
    up = rig.upstreams(transport)
    answer = await chat(rig.plan(one(alpha, credentials=keys), two(beta)), up, ledger)
    assert answer.target.id == 1
    assert [seen.headers["authorization"] for seen in alpha.seen] == ["Bearer sk-revoked", "Bearer sk-good"]
    assert "sk-revoked" not in answer.attempts[0].detail
    assert beta.connections == 0
    await chat(rig.plan(one(alpha, credentials=keys)), up, ledger)
    assert alpha.seen[-1].headers["authorization"] == "Bearer sk-good", "the refused key rests"


async def test_U19_without_another_key_the_next_target_answers(alpha, beta, transport, ledger) -> None:
    alpha.will(rig.fails(401))
    beta.will(rig.ok)
    answer = await chat(rig.plan(one(alpha), two(beta)), rig.upstreams(transport), ledger)
    assert [record.code for record in answer.attempts] == ["upstream_auth_rejected", "ok"]


async def test_U20_an_empty_account_is_not_asked_again_for_a_sibling_model(alpha, transport, ledger) -> None:
    alpha.will(rig.fails(402))
    sibling = rig.target(rig.provider(alpha.base_url), id=7, name="gpt-4o-mini")
    with pytest.raises(AllTargetsFailed) as failed:
        await chat(rig.plan(one(alpha), sibling), rig.upstreams(transport, RoutingSettings()), ledger)
    assert failed.value.last.code == "upstream_quota_exhausted"
    assert len(alpha.seen) == 1


async def test_a_fault_of_the_caller_stops_at_the_first_target(alpha, beta, transport, ledger) -> None:
    alpha.will(rig.fails(400, "temperature must be a number"))
    with pytest.raises(AllTargetsFailed) as failed:
        await chat(rig.plan(one(alpha), two(beta)), rig.upstreams(transport), ledger)
    assert type(failed.value.last) is CallerFault
    assert failed.value.last.provider_message == "temperature must be a number"
    assert beta.connections == 0


async def test_retries_come_after_every_other_target_with_full_jitter_and_their_own_attempt(alpha, beta, transport, ledger) -> None:
    alpha.will(rig.fails(500))
    beta.will(rig.fails(503), rig.ok)
    naps = Naps()
    settings = RoutingSettings(max_attempts=4, retries_per_target=2, retry_base_s=1.0)
    answer = await chat(rig.plan(one(alpha), two(beta)), rig.upstreams(transport, settings, naps), ledger)
    assert [target_id for target_id, _ in ledger.opened] == [1, 2, 1, 2]
    assert [number for _, number in ledger.opened] == [1, 2, 3, 4]
    assert answer.target.id == 2
    assert all(0 < nap <= 0.5 for nap in naps.taken)
    ledger.assert_balanced()


async def test_L09_the_number_of_calls_is_bounded(alpha, transport, ledger) -> None:
    alpha.will(rig.fails(500))
    with pytest.raises(AllTargetsFailed):
        await chat(rig.plan(one(alpha)), rig.upstreams(transport, RoutingSettings(max_attempts=3, retries_per_target=10)), ledger)
    assert len(alpha.seen) == 3


async def test_U17_a_short_retry_after_is_honoured(alpha, transport, ledger) -> None:
    alpha.will(rig.fails(429, retry_after="2"), rig.ok)
    naps = Naps()
    await chat(rig.plan(one(alpha)), rig.upstreams(transport, RoutingSettings(), naps), ledger)
    assert naps.taken == [pytest.approx(2.0, abs=0.1)]


async def test_U17_a_long_retry_after_is_told_to_the_client_instead_of_slept(alpha, beta, transport, ledger) -> None:
    alpha.will(rig.fails(429, retry_after="900"))
    beta.will(rig.fails(429, retry_after="300"))
    naps = Naps()
    with pytest.raises(AllTargetsFailed) as failed:
        await chat(rig.plan(one(alpha), two(beta)), rig.upstreams(transport, RoutingSettings(), naps), ledger, seconds=1000)
    assert naps.taken == []
    assert isinstance(failed.value.last, RateLimited)
    assert failed.value.retry_after_s == failed.value.last.retry_after_s == 300


async def test_no_retry_starts_past_the_deadline(alpha, transport, ledger) -> None:
    alpha.will(rig.fails(500, retry_after="5"))
    with pytest.raises(AllTargetsFailed):
        await chat(rig.plan(one(alpha)), rig.upstreams(transport, RoutingSettings()), ledger, seconds=3)
    assert len(alpha.seen) == 1


async def test_an_expired_deadline_opens_no_attempt(alpha, transport, ledger) -> None:
    with pytest.raises(AllTargetsFailed) as failed:
        await chat(rig.plan(one(alpha)), rig.upstreams(transport), ledger, seconds=0)
    assert isinstance(failed.value.last, DeadlineExceeded)
    assert ledger.opened == []


async def test_the_deadline_of_the_request_cuts_a_silent_target(alpha, beta, transport, ledger) -> None:
    alpha.will(rig.Exchange.wait_until_client_closes)
    started = time.monotonic()
    with pytest.raises(AllTargetsFailed) as failed:
        await chat(rig.plan(one(alpha), two(beta)), rig.upstreams(transport), ledger, seconds=0.3)
    assert time.monotonic() - started < 1.5
    assert isinstance(failed.value.last, DeadlineExceeded)
    assert ledger.outcomes[0].billing is Billing.ESTIMATE
    assert beta.connections == 0


async def test_a_silent_target_is_left_at_its_first_byte_limit(alpha, beta, transport, ledger) -> None:
    alpha.will(rig.Exchange.wait_until_client_closes)
    beta.will(rig.ok)
    answer = await chat(rig.plan(one(alpha, timeouts=Timeouts(first_byte_s=0.1, connect_s=1)), two(beta)), rig.upstreams(transport), ledger)
    assert answer.attempts[0].code == "upstream_first_byte_timeout"
    assert ledger.outcomes[0].billing is Billing.ESTIMATE


async def test_U08_a_drip_feed_is_cut_by_the_limit_of_the_attempt(alpha, transport, ledger) -> None:
    async def drip(exchange: rig.Exchange) -> None:
        await exchange.head(200, content_type="application/json", content_length="1000")
        for _ in range(100):
            await exchange.send(b" ")
            await asyncio.sleep(0.02)

    alpha.will(drip)
    limits = Timeouts(connect_s=1, first_byte_s=1, idle_s=1, total_s=0.2)
    with pytest.raises(AllTargetsFailed) as failed:
        await chat(rig.plan(one(alpha, timeouts=limits)), rig.upstreams(transport), ledger)
    assert failed.value.last.code == "upstream_total_timeout"


async def test_U14_a_body_shorter_than_its_length_is_an_invalid_body(alpha, transport, ledger) -> None:
    async def lie(exchange: rig.Exchange) -> None:
        await exchange.head(200, content_type="application/json", content_length="5000")
        await exchange.send(b'{"id": "x"')

    alpha.will(lie)
    with pytest.raises(AllTargetsFailed) as failed:
        await chat(rig.plan(one(alpha)), rig.upstreams(transport), ledger)
    assert isinstance(failed.value.last, InvalidBody)
    assert ledger.outcomes[0].billing is Billing.ESTIMATE


@pytest.mark.parametrize("body", [b"<html>Sign in to the hotel WLAN</html>", b"", b"{}", b"[]", b'{"choices": []}', b"null"])
async def test_U15_a_success_without_an_answer_fails_over(alpha, beta, transport, ledger, body) -> None:
    async def page(exchange: rig.Exchange) -> None:
        await exchange.answer(200, body, content_type="text/html")

    alpha.will(page)
    beta.will(rig.ok)
    answer = await chat(rig.plan(one(alpha), two(beta)), rig.upstreams(transport), ledger)
    assert [record.code for record in answer.attempts] == ["upstream_invalid_body", "ok"]


async def test_U16_an_error_object_with_status_200_fails_over(alpha, beta, transport, ledger) -> None:
    async def error_in_200(exchange: rig.Exchange) -> None:
        await exchange.answer(200, {"error": {"message": "upstream died", "code": 502}})

    alpha.will(error_in_200)
    beta.will(rig.ok)
    answer = await chat(rig.plan(one(alpha), two(beta)), rig.upstreams(transport), ledger)
    assert [record.code for record in answer.attempts] == ["upstream_server_error", "ok"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_U31_a_redirect_is_never_followed(alpha, beta, transport, ledger, status) -> None:
    async def redirect(exchange: rig.Exchange) -> None:
        await exchange.answer(status, b"", location=f"http://127.0.0.1:{beta.port}/steal?q=1")

    alpha.will(redirect)
    beta.will(rig.ok)
    with pytest.raises(AllTargetsFailed) as failed:
        await chat(rig.plan(one(alpha)), rig.upstreams(transport), ledger)
    assert isinstance(failed.value.last, Redirected)
    assert "steal" not in failed.value.last.detail
    assert beta.connections == 0
    assert ledger.outcomes[0].billing is Billing.NOTHING


async def test_an_address_that_is_not_allowed_is_never_dialled(alpha, beta, ledger) -> None:
    carrier = Transport(lambda: rig.open_policy(beta))
    await carrier.start()
    try:
        with pytest.raises(AllTargetsFailed) as failed:
            await chat(rig.plan(one(alpha)), rig.upstreams(carrier), ledger)
    finally:
        await carrier.close()
    assert isinstance(failed.value.last, EgressDenied)
    assert alpha.connections == 0
    assert ledger.outcomes[0].billing is Billing.NOTHING


async def test_what_the_ledger_raises_reaches_the_caller_and_nothing_is_sent(alpha, transport) -> None:
    class BudgetSpent(Exception):
        pass

    ledger = FakeLedger(refuse=BudgetSpent())
    up = rig.upstreams(transport)
    with pytest.raises(BudgetSpent):
        await chat(rig.plan(one(alpha)), up, ledger)
    assert alpha.connections == 0


async def test_a_cancelled_call_closes_the_upstream_and_is_estimated(alpha, transport, ledger) -> None:
    closed = asyncio.Event()
    begun = asyncio.Event()

    async def wait(exchange: rig.Exchange) -> None:
        begun.set()
        await exchange.wait_until_client_closes()
        closed.set()

    alpha.will(wait)
    up = rig.upstreams(transport)
    task = asyncio.create_task(chat(rig.plan(one(alpha)), up, ledger))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(1):
        await closed.wait()
    assert await up.drain_pending() == 0
    (outcome,) = ledger.outcomes
    assert (outcome.billing, outcome.error_code) == (Billing.ESTIMATE, "client_closed")


async def test_a_reservation_made_while_the_client_left_is_given_back(alpha, transport) -> None:
    ledger = FakeLedger(gate=asyncio.Event())
    up = rig.upstreams(transport)
    task = asyncio.create_task(chat(rig.plan(one(alpha)), up, ledger))
    await ledger.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    ledger.gate.set()
    assert await up.drain_pending() == 0
    assert alpha.connections == 0
    assert [outcome.billing for outcome in ledger.outcomes] == [Billing.NOTHING]
    ledger.assert_balanced()


async def test_a_settlement_that_fails_does_not_change_the_answer(alpha, transport) -> None:
    class BrokenLedger(FakeLedger):
        async def close(self, ticket, outcome) -> None:
            raise ConnectionError("database away")

    alpha.will(rig.ok)
    answer = await chat(rig.plan(one(alpha)), rig.upstreams(transport), BrokenLedger())
    assert answer.response.choices[0].text == "Hello"


async def test_an_open_circuit_is_passed_over_without_an_attempt(alpha, beta, transport, ledger) -> None:
    alpha.will(rig.fails(500))
    beta.will(rig.ok)
    up = rig.upstreams(transport, RoutingSettings(retries_per_target=0, breaker_failures=2))
    for _ in range(3):
        answer = await chat(rig.plan(one(alpha), two(beta)), up, ledger)
    assert len(alpha.seen) == 2
    assert [(record.attempt_no, record.code) for record in answer.attempts] == [(0, "circuit_open"), (1, "ok")]


async def test_an_empty_plan_fails_without_a_call(transport, ledger) -> None:
    with pytest.raises(AllTargetsFailed) as failed:
        await chat(rig.plan(), rig.upstreams(transport), ledger)
    assert isinstance(failed.value.last, CircuitOpen)


async def test_an_unusable_key_is_never_sent_or_shown(alpha, transport, ledger) -> None:
    bad = (CredentialRef("bad", Secret("sk-two\r\nlines")),)
    with pytest.raises(AllTargetsFailed) as failed:
        await chat(rig.plan(one(alpha, credentials=bad)), rig.upstreams(transport), ledger)
    assert failed.value.last.code == "credential_locked"
    assert "sk-two" not in failed.value.last.detail
    assert alpha.connections == 0


async def test_an_auth_failure_is_reported_although_a_later_target_was_not_asked(alpha, transport, ledger) -> None:
    alpha.will(rig.fails(401))
    sibling = rig.target(rig.provider(alpha.base_url), id=7, name="gpt-4o-mini")
    with pytest.raises(AllTargetsFailed) as failed:
        await chat(rig.plan(one(alpha), sibling), rig.upstreams(transport), ledger)
    assert isinstance(failed.value.last, AuthRejected)
    assert [record.code for record in failed.value.attempts] == ["upstream_auth_rejected", "credential_locked"]
