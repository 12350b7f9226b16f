"""Counts of a provider that no request to no model can have used: what they cost, what is kept of them, what goes on working."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from rest_framework.test import APIClient

from providers import actions, clock
from providers.audit import SYSTEM
from providers.models import Provider
from providers.upstream.types import Secret, TokenUsage
from tests.aigateway.conftest import LiveGateway, price_model
from tests.providers.fake_provider import FakeProvider, fake_provider
from tests.usage.lines import line, post
from usage.ledger import verify_ledger
from usage.ledger.mending import NOTE, take_back_counts
from usage.models import LedgerEntry, UsageDay, UsageMonth, UsageTeamDay, UsageTotal
from usage.money import MAX_NANO, believable
from usage.reports import roll_up

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]
ABSURD = 10**18
REPORT = {"start": "2026-11-01", "end": "2026-11-30"}


@pytest.fixture
def counting() -> Iterator[FakeProvider]:
    with fake_provider() as provider:
        yield provider


@pytest.fixture
def gateway(start_gateway: Callable[[], LiveGateway], counting: FakeProvider) -> LiveGateway:
    provider = Provider(slug="counting", label="Counting", kind="openai_compatible", base_url=counting.base_url, allow_private=True)
    actions.create_provider(provider, SYSTEM, Secret("sk-0123456789abcdef"))
    price_model(provider, "counted", 1_000_000, 1_000_000)
    return start_gateway()


def says(provider: FakeProvider, **usage: Any) -> None:
    choices = [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]
    body = {"id": "1", "object": "chat.completion", "model": "counted", "choices": choices, "usage": usage}
    provider.script.body = json.dumps(body).encode()


def report(**query: str) -> Any:
    client = APIClient()
    client.force_authenticate(get_user_model().objects.filter(is_superuser=True).first() or get_user_model().objects.create_superuser("r"))
    answer = client.get("/api/v1/ai/admin/usage", {**REPORT, **query})
    assert answer.status_code == 200, answer.content
    return answer.json()["totals"]


def test_C28_ten_absurd_answers_become_estimates_and_every_report_goes_on(gateway: LiveGateway, counting: FakeProvider) -> None:
    says(counting, prompt_tokens=9, completion_tokens=ABSURD, total_tokens=ABSURD + 9)
    for _ in range(10):
        assert gateway.chat(model="counted", max_tokens=10).status_code == 200
    lines = [*LedgerEntry.objects.all()]
    assert len(lines) == 10
    for booked in lines:
        assert booked.basis == LedgerEntry.Basis.ESTIMATED
        assert booked.output_tokens is None
        assert booked.input_tokens == 9
        assert booked.note == f"not believed: output_tokens={ABSURD}"
        assert 0 < booked.cost_nano < 10**9
        assert 0 < booked.quota_tokens < 10_000
    assert roll_up(clock.database_now()) == 10
    report()
    report(group_by="model")
    mine = gateway.client.get("/api/v1/ai/preferences")
    assert mine.status_code == 200, mine.text
    assert gateway.client.get("/api/v1/ai/usage").status_code == 200
    assert [*verify_ledger()] == []


STRANGE = {
    "negative": -5,
    "a text": "12",
    "a truth": True,
    "a fraction": 3.5,
    "a list": [1],
    "nothing": None,
    "beyond 64 bits": 10**30,
    "beyond a float": 10**400,
    "a large float": 1e18,
    "the largest column": MAX_NANO,
}


@pytest.mark.parametrize("strange", STRANGE)
def test_C28_a_count_of_another_kind_is_unknown_and_the_line_an_estimate(
    gateway: LiveGateway, counting: FakeProvider, strange: str
) -> None:
    says(counting, prompt_tokens=9, completion_tokens=STRANGE[strange])
    assert gateway.chat(model="counted", max_tokens=10).status_code in (200, 502)
    (booked,) = LedgerEntry.objects.all()
    assert booked.basis == LedgerEntry.Basis.ESTIMATED
    assert booked.output_tokens is None
    roll_up(clock.database_now())
    report()


def test_C28_what_a_large_model_can_use_stays_a_measurement(gateway: LiveGateway, counting: FakeProvider) -> None:
    says(counting, prompt_tokens=300_000, completion_tokens=100_000, total_tokens=400_000)
    gateway.chat(model="counted", max_tokens=10)
    assert LedgerEntry.objects.get().basis == LedgerEntry.Basis.MEASURED


@pytest.mark.parametrize("bucket", ["cache_read_tokens", "image_input_tokens", "reasoning_tokens", "audio_output_tokens", "input_tokens"])
def test_C28_any_bucket_beyond_belief_makes_its_direction_unknown(bucket: str) -> None:
    usage, said = believable(TokenUsage(**{"input_tokens": 1, "output_tokens": 1, bucket: ABSURD}), 1000, 1000)
    assert getattr(usage, bucket) is None
    assert None in (usage.input_tokens, usage.output_tokens)
    assert f"{bucket}={ABSURD}" in said


def _old_lines() -> list[LedgerEntry]:
    bad = {"basis": "estimated", "output_tokens": ABSURD, "dispatched_at": datetime(2026, 11, 15, 12, tzinfo=UTC)}
    return post(*(line(**bad) for _ in range(10)), line(output_tokens=7))


def test_C28_lines_of_an_older_release_stop_no_report_and_no_roll_up(made_up_costs: None) -> None:
    _old_lines()
    assert report()["output_tokens"] == 7
    assert roll_up(clock.database_now()) == 11
    shown = report()
    assert (shown["output_tokens"], shown["lines"]) == (7, 11)
    post(line(output_tokens=1))
    roll_up(clock.database_now())
    assert report()["output_tokens"] == 8


def test_C28_totals_an_older_release_summed_stop_nothing_either(made_up_costs: None) -> None:
    post(line(output_tokens=7), line(output_tokens=5, model_name="other"))
    roll_up(clock.database_now())
    for table in (UsageTotal, UsageDay, UsageTeamDay, UsageMonth):
        table.objects.update(output_tokens=MAX_NANO - 1)
    report()
    report(group_by="user,model")
    post(line(output_tokens=7))
    assert roll_up(clock.database_now()) == 1
    report()


def test_C28_a_command_takes_old_counts_back_once_by_lines_of_their_own(made_up_costs: None) -> None:
    _old_lines()
    roll_up(clock.database_now())
    out = StringIO()
    call_command("mend_counts", stdout=out)
    assert "10 lines written" in out.getvalue()
    assert take_back_counts() == 0
    taken = LedgerEntry.objects.filter(note=NOTE)
    assert {(each.output_tokens, each.cost_nano, each.quota_tokens) for each in taken} == {(-ABSURD, 0, 0)}
    assert LedgerEntry.objects.filter(output_tokens=ABSURD).count() == 10, "no line is changed"
    shown = report()
    assert (shown["output_tokens"], shown["attempts"]) == (7, 11)
