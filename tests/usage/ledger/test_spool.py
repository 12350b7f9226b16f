"""Settlements outlive the database and the process: what was measured is posted, not estimated."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import OperationalError
from django.utils import timezone

from tests.usage.world import USAGE, assert_balanced, counters, gateway_budget, reserve_order, settlement
from usage.ledger import writer
from usage.ledger.front import Ledger, reserve_now
from usage.ledger.posting import Outcome, PeriodIds, Work, apply_batch, closing_row
from usage.ledger.spool import SUFFIX, Spool
from usage.ledger.sweeper import sweep
from usage.models import Attempt, GatewayProcess, LedgerEntry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("made_up_costs"), pytest.mark.both_databases]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(settings, "VAR_DIR", tmp_path)
    return tmp_path / writer.SPOOL_FOLDER


@pytest.fixture
def database_goes_away(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, posting fails; reservations made before stand."""
    away = []

    def apply(work: Work, known: PeriodIds) -> Outcome:
        if away:
            raise OperationalError("the database is away")
        return apply_batch(work, known)

    monkeypatch.setattr(writer, "apply_batch", apply)
    monkeypatch.setattr(writer, "RETRY_DELAYS_S", (0, 0, 0))
    monkeypatch.setattr(writer, "UNPOSTED_RETRY_S", 0.01)
    return lambda: away.append(True)


def spooled(folder: Path) -> list[Path]:
    return [*folder.glob(f"*{SUFFIX}")] if folder.is_dir() else []


def test_I17_what_was_settled_while_the_database_was_away_is_posted_exactly_by_the_next_process(
    transactional_db: None, folder: Path, database_goes_away: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = gateway_budget(1000)
    order = reserve_order(100, [budget])
    dying = Ledger()
    dying.start()
    asyncio.run(dying.reserve(order))
    database_goes_away()
    asyncio.run(dying.settle(settlement(order, 42)))
    assert len(spooled(folder)) == 1
    assert oct(spooled(folder)[0].stat().st_mode & 0o777) == "0o600"
    dying.stop(0.2)
    monkeypatch.setattr(writer, "apply_batch", apply_batch)
    following = Ledger()
    following.start()
    assert following.stop(10)
    assert [*LedgerEntry.objects.values_list("cost_nano", "basis")] == [(42, "measured")]
    assert counters(budget) == (42, 0)
    assert spooled(folder) == []


def test_I17_a_settlement_replayed_after_the_sweeper_estimated_becomes_a_correction(transactional_db: None, folder: Path) -> None:
    budget = gateway_budget(1000)
    order = reserve_order(100, [budget])
    reserve_now(order)
    dead = Spool(folder, uuid4())
    dead.add([closing_row(settlement(order, 42))])
    dead.release()
    GatewayProcess.objects.all().delete()
    sweep(timezone.now())
    for _ in range(2):
        following = Ledger()
        following.start()
        assert following.stop(10)
    assert counters(budget) == (42, 0)
    assert Attempt.objects.get().status == "settled"
    assert_balanced()


def test_the_file_of_a_living_process_is_left_alone(transactional_db: None, folder: Path) -> None:
    alive = Spool(folder, uuid4())
    alive.add([closing_row(settlement(reserve_order(1), 1))])
    assert Spool(folder, uuid4()).adopt() == []
    alive.release()
    assert len(Spool(folder, uuid4()).adopt()) == 1


def test_a_row_torn_by_the_crash_is_left_out_and_the_others_count(transactional_db: None, folder: Path) -> None:
    dead = Spool(folder, uuid4())
    dead.add([closing_row(settlement(reserve_order(1), cost)) for cost in (1, 2)])
    dead.release()
    (path,) = spooled(folder)
    path.write_bytes(path.read_bytes()[:-20])
    assert [row.cost_nano for row in Spool(folder, uuid4()).adopt()] == [1]


def test_a_full_disk_loses_nothing_that_memory_still_has(
    transactional_db: None, folder: Path, database_goes_away: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Spool, "add", full)
    order = reserve_order(100)
    ledger = Ledger()
    ledger.start()
    asyncio.run(ledger.reserve(order))
    database_goes_away()
    asyncio.run(ledger.settle(settlement(order, 42)))
    monkeypatch.setattr(writer, "apply_batch", apply_batch)
    assert ledger.stop(10)
    assert LedgerEntry.objects.get().cost_nano == 42


def test_I17_a_process_killed_while_the_database_is_away_leaves_every_settlement_on_disk(transactional_db: None, folder: Path) -> None:
    """A real process, a real kill -9: what ``add`` returned from is there."""
    script = (
        "import sys, uuid, pathlib, django; django.setup()\n"
        "from usage.ledger.spool import Spool; from usage.ledger.sql.rows import ClosingRow\n"
        "spool = Spool(pathlib.Path(sys.argv[1]), uuid.uuid4())\n"
        "for number in range(10**9):\n"
        "    spool.add([ClosingRow(attempt_id=f'{number:032x}', status='settled', cost_nano=number)])\n"
        "    print(number, flush=True)\n"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "aigateway.settings"}
    command = [sys.executable, "-c", script, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        told = [int(process.stdout.readline()) for _ in range(50)]
        process.kill()
        told += [int(line) for line in process.stdout.read().splitlines()]
    kept = [row.cost_nano for row in Spool(folder, uuid4()).adopt()]
    assert kept[: len(told)] == told


def test_a_spooled_row_says_everything_a_settlement_says(transactional_db: None, folder: Path) -> None:
    row = closing_row(settlement(reserve_order(1), 7, basis="estimated", upstream_id="u", error_code="e", latency_ms=3, first_byte_ms=1))
    dead = Spool(folder, uuid4())
    dead.add([row])
    dead.release()
    assert Spool(folder, uuid4()).adopt() == [row]
    assert row.quota_tokens == (USAGE.input_tokens or 0) + (USAGE.output_tokens or 0)
