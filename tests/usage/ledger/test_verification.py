"""Seals and sums: a sound ledger verifies, and every kind of tampering is found."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from tests.usage.world import CARD, USAGE, gateway_budget, reserve_order
from usage.ledger import append_only, cost_guard
from usage.ledger.front import Settlement, reserve_now, settle_now
from usage.ledger.seals import seal_due
from usage.ledger.verification import verify_ledger
from usage.models import LedgerDay, LedgerEntry
from usage.money import cost_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

COST = cost_of(USAGE, CARD)


@pytest.fixture
def unguarded(transactional_db: None) -> Iterator[None]:
    """Somebody with the rights of the database's owner took the triggers and the constraint away."""
    append_only.remove(connection, append_only.TABLES)
    cost_guard.remove(connection)
    yield
    cost_guard.install(connection)
    append_only.install(connection, append_only.TABLES)


def bill(calls: int = 1) -> None:
    budget = gateway_budget(10**12)
    for _ in range(calls):
        order = reserve_order(10**6, [budget])
        reserve_now(order)
        settle_now(Settlement(order.attempt_id, COST, USAGE))


def execute(statement: str, *values: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def rules() -> set[str]:
    return {violation.rule for violation in verify_ledger()}


def days_later(days: int) -> datetime:
    """An hour after the end of the UTC day before the one ``days`` from now."""
    today = datetime.combine(timezone.now().astimezone(UTC).date(), time(1), UTC)
    return today + timedelta(days=days)


def test_days_are_sealed_once_they_are_over_and_chained(unguarded: None) -> None:
    bill(3)
    assert seal_due(timezone.now()) == []
    now = days_later(2)
    assert [seal.lines for seal in seal_due(now)] == [3, 0]
    assert seal_due(now) == []
    first, *later = LedgerDay.objects.order_by("day")
    assert first.previous_sha256 == "0" * 64
    assert (first.lines, first.cost_nano) == (3, 3 * COST)
    assert all(seal.previous_sha256 == before.sha256 for before, seal in zip([first, *later], later, strict=False))
    assert [*verify_ledger()] == []


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("UPDATE usage_ledgerentry SET cost_nano = cost_nano - 1", "cost follows from usage and card"),
        ("UPDATE usage_ledgerentry SET context = 'else'", "sealed lines never change"),
        ("UPDATE usage_ledgerentry SET provider_tool_calls = 0", "sealed lines never change"),
        ("DELETE FROM usage_ledgerentry", "sealed lines never change"),
        ("DELETE FROM usage_ledgerentry", "a billed attempt has a line"),
        ("UPDATE usage_ledgerday SET sha256 = previous_sha256", "sealed lines never change"),
        ("UPDATE usage_attempt SET status = 'voided'", "an open or voided attempt has no line"),
        ("DELETE FROM usage_attempt", "a line has an attempt"),
        ("UPDATE usage_budgetperiod SET posted_nano = 0", "posted_nano is what the lines say"),
        ("UPDATE usage_budgetperiod SET held_tokens = 3", "held_tokens is what the lines say"),
        ("UPDATE usage_budgetperiod SET requests = 9", "requests is what the lines say"),
    ],
)
def test_I17_every_kind_of_tampering_is_found(unguarded: None, statement: str, rule: str) -> None:
    bill(2)
    seal_due(days_later(1))
    assert rules() == set()
    execute(statement)
    assert rule in rules()


def test_a_line_slipped_into_a_sealed_day_breaks_its_seal(unguarded: None) -> None:
    bill()
    seal_due(days_later(1))
    line = LedgerEntry.objects.get()
    line.pk, line.kind, line.cost_nano, line.posted_at = None, LedgerEntry.Kind.ADJUSTMENT, -1, line.posted_at
    line.save(force_insert=True)
    assert "sealed lines never change" in rules()


def test_a_seal_that_is_gone_is_missed(unguarded: None) -> None:
    LedgerDay.objects.all().delete()
    bill()
    seal_due(days_later(3))
    LedgerDay.objects.order_by("day")[1:2].get().delete()
    assert {"seals follow each other", "a seal names the one before"} <= rules()


def test_the_command_tells_what_is_wrong_and_fails(unguarded: None) -> None:
    bill()
    out, err = io.StringIO(), io.StringIO()
    call_command("verify_ledger", stdout=out)
    assert "1 lines and 0 sealed days are sound." in out.getvalue()
    execute("UPDATE usage_ledgerentry SET cost_nano = 1")
    with pytest.raises(CommandError, match="violations in 1 lines") as failed:
        call_command("verify_ledger", stderr=err)
    assert failed.value.returncode == 1
    assert "cost follows from usage and card" in err.getvalue()
