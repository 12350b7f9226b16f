"""Whose request came first, to the microsecond: claims, takeovers and answers at rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.utils import timezone

from aigateway.errors import GatewayError
from aigateway.idempotency import store
from providers import secrets
from tests.usage.world import reserve_order
from usage.ledger.front import reserve_now, void_now
from usage.ledger.types import Void
from usage.models import GatewayProcess, IdempotencyRecord

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)
FIRST = store.Question("key:a", "order-1", b"x" * 32, "first", None)
SECOND = replace(FIRST, request_id="second")
ANSWER = store.StoredAnswer(200, "application/json", {"X-One": "1"}, b'{"ok":1}')
Turn = Callable[[datetime], None]


@pytest.fixture
def turn(monkeypatch: pytest.MonkeyPatch) -> Turn:
    """Sets the clock."""

    def turn(to: datetime) -> None:
        monkeypatch.setattr(timezone, "now", lambda: to)

    turn(NOW)
    return turn


def claimed(question: store.Question = FIRST) -> store.Claim:
    found = store.claim(question)
    assert isinstance(found, store.Claim)
    return found


def refusal(question: store.Question) -> tuple[int, str, float | None]:
    with pytest.raises(GatewayError) as refused:
        store.claim(question)
    return refused.value.status, refused.value.code, refused.value.retry_after_s


UNDER_WAY = (409, "idempotent_request_in_progress", 1.0)

# --------------------------------------------------------------------------- the key


@pytest.mark.parametrize("key", ["x", " ", "~", "x" * 255])
def test_a_key_is_1_to_255_printable_ascii_characters(key: str) -> None:
    assert store.checked_key(key) == key


@pytest.mark.parametrize("key", ["", "x" * 256, "a\nb", "\x7f", "schlüssel"])
def test_any_other_key_is_refused(key: str) -> None:
    with pytest.raises(GatewayError) as refused:
        store.checked_key(key)
    assert (refused.value.status, refused.value.code) == (400, "idempotency_key_invalid")


def test_requests_are_the_same_when_method_path_context_and_body_are() -> None:
    asked = ("POST", "/v1/x?a=1", "writing", b"body")
    assert store.fingerprint(*asked) == store.fingerprint(*asked)
    others = [("PUT", *asked[1:]), (asked[0], "/v1/x", *asked[2:]), (*asked[:2], "", asked[3]), (*asked[:3], b"bodY")]
    shifted = [("POST/v1", "/x?a=1", *asked[2:]), (*asked[:2], "writingb", b"ody"), (*asked[:2], "writing\0", b"body")]
    assert len({store.fingerprint(*each) for each in (asked, *others, *shifted)}) == 8
    assert store.fingerprint("POST", "/\udcff", "", b"")


# --------------------------------------------------------------------------- claims


def test_the_first_gets_the_right_to_answer_and_whoever_repeats_it_the_answer() -> None:
    first = claimed()
    assert first.request_id == "first"
    assert claimed() == first, "asked again by itself, for an answer of the database that was lost"
    assert refusal(SECOND) == UNDER_WAY
    store.finish(first, ANSWER)
    assert store.claim(SECOND) == ANSWER
    assert refusal(replace(SECOND, sha256=b"y" * 32)) == (422, "idempotency_key_reused", None)
    for other in (replace(SECOND, caller="key:b"), replace(SECOND, key="order-2")):
        assert claimed(other).record_id != first.record_id


def test_a_refusal_is_replayed_with_its_own_status() -> None:
    store.finish(claimed(), replace(ANSWER, status=400))
    assert store.claim(SECOND) == replace(ANSWER, status=400)


def test_a_released_key_is_free() -> None:
    store.release(claimed())
    assert not IdempotencyRecord.objects.exists()
    assert claimed(SECOND).request_id == "second"


def test_whoever_lost_its_claim_neither_finishes_nor_releases_that_of_another() -> None:
    lost = store.Claim(claimed(SECOND).record_id, "first")
    store.finish(lost, ANSWER)
    store.release(lost)
    assert refusal(FIRST) == UNDER_WAY


def test_an_answer_is_kept_for_24_hours_and_not_an_instant_longer(turn: Turn) -> None:
    store.finish(claimed(), ANSWER)
    turn(NOW + timedelta(hours=24) - INSTANT)
    assert store.claim(SECOND) == ANSWER
    turn(NOW + timedelta(hours=24))
    assert claimed(SECOND).request_id == "second"
    record = IdempotencyRecord.objects.get()
    assert (record.status, record.created_at, record.expires_at) == (None, NOW + timedelta(hours=24), NOW + timedelta(hours=48))


def test_a_key_freed_between_two_looks_is_claimed_at_the_next() -> None:
    claimed()
    freed = []

    def free_it(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        done = execute(sql, *rest)
        if "INSERT" in sql and not freed:
            freed.append(IdempotencyRecord.objects.all().delete())
        return done

    with connection.execute_wrapper(free_it):
        assert claimed(SECOND).request_id == "second"
    assert len(freed) == 1


def test_a_key_freed_at_every_look_is_given_up_after_five(turn: Turn) -> None:
    claimed()
    looks = []

    def free_it(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        done = execute(sql, *rest)
        if "INSERT" in sql:
            looks.append(IdempotencyRecord.objects.all().delete())
        return done

    with connection.execute_wrapper(free_it):
        assert refusal(SECOND) == UNDER_WAY
    assert len(looks) == 5


# --------------------------------------------------------------------------- orphans


def under_way(process: GatewayProcess | None, age: timedelta) -> IdempotencyRecord:
    return IdempotencyRecord(process_id=None if process is None else process.pk, request_id="first", created_at=NOW - age)


def test_a_write_of_the_control_plane_is_an_orphan_after_ten_minutes() -> None:
    ten = timedelta(minutes=10)
    assert [store._is_orphan(under_way(None, age), NOW) for age in (timedelta(0), ten, ten + INSTANT)] == [False, False, True]


def process(silent_for: timedelta, **fields: object) -> GatewayProcess:
    return GatewayProcess.objects.create(host="h", pid=1, heartbeat_at=NOW - silent_for, **fields)


def test_a_request_of_a_process_is_an_orphan_once_both_are_silent_for_20_seconds() -> None:
    limit, day = timedelta(seconds=20), timedelta(days=1)
    dead, alive = process(limit), process(limit - INSTANT)
    stopped = process(timedelta(0), stopped_at=NOW)
    assert store._is_orphan(under_way(dead, limit), NOW) is True
    assert store._is_orphan(under_way(dead, limit - INSTANT), NOW) is False, "it may not have reported yet"
    assert store._is_orphan(under_way(alive, day), NOW) is False
    assert store._is_orphan(under_way(stopped, day), NOW) is True


def test_M01_a_call_that_is_open_on_the_ledger_makes_nobody_an_orphan() -> None:
    dead = process(timedelta(days=1))
    order = reserve_order(request_id="first")
    reserve_now(order)
    assert not store._is_orphan(under_way(dead, timedelta(days=1)), NOW)
    void_now(Void(order.attempt_id))
    assert store._is_orphan(under_way(dead, timedelta(days=1)), NOW)


def test_the_heir_of_an_orphan_has_the_claim_as_if_it_were_new(turn: Turn) -> None:
    lost = claimed()
    turn(NOW + timedelta(minutes=10))
    assert refusal(SECOND) == UNDER_WAY
    later = NOW + timedelta(minutes=10) + INSTANT
    turn(later)
    heir = process(timedelta(0))
    assert claimed(replace(SECOND, process_id=heir.pk)) == store.Claim(lost.record_id, "second")
    record = IdempotencyRecord.objects.get()
    assert (record.process_id, record.created_at, record.expires_at) == (heir.pk, later, later + timedelta(hours=24))
    store.finish(lost, ANSWER)
    record.refresh_from_db()
    assert record.status is None, "what comes too late is not kept"


def test_of_two_heirs_the_one_that_comes_second_waits_for_the_other(turn: Turn) -> None:
    claimed()
    turn(NOW + timedelta(minutes=11))
    taken = []

    def take_it_first(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if sql.startswith("UPDATE") and not taken:
            taken.append(sql)
            IdempotencyRecord.objects.update(request_id="third", created_at=timezone.now())
        return execute(sql, *rest)

    with connection.execute_wrapper(take_it_first):
        assert refusal(SECOND) == UNDER_WAY
    assert IdempotencyRecord.objects.get().request_id == "third"


# --------------------------------------------------------------------------- answers at rest


def test_an_answer_of_4_mib_is_kept_and_one_byte_more_is_not() -> None:
    largest = replace(ANSWER, body=b"\xff" * (4 * 1024 * 1024))
    first = claimed()
    store.finish(first, largest)
    assert store.claim(SECOND) == largest
    store.finish(first, replace(largest, body=largest.body + b"."))
    with pytest.raises(GatewayError, match="answered as first, and its answer was not kept") as refused:
        store.claim(SECOND)
    assert (refused.value.status, refused.value.code, refused.value.retry_after_s) == (409, "idempotent_result_not_stored", None)


def test_an_answer_opens_only_in_its_own_place() -> None:
    store.finish(claimed(), ANSWER)
    store.finish(claimed(replace(SECOND, key="order-2")), ANSWER)
    first, other = IdempotencyRecord.objects.order_by("pk")
    IdempotencyRecord.objects.filter(pk=other.pk).update(sealed_body=bytes(first.sealed_body))
    assert refusal(replace(FIRST, key="order-2"))[1] == "idempotent_result_not_stored"


@pytest.mark.parametrize("error", [ImproperlyConfigured("no ring"), OSError("no disk")])
def test_an_answer_that_cannot_be_sealed_uses_up_its_key_and_is_told(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    said: list[tuple[str, object]] = []

    class Said:
        def error(self, event: str, **words: object) -> None:
            said.append((event, words))

    def fail(*_: object) -> bytes:
        raise error

    monkeypatch.setattr(store, "log", Said())
    monkeypatch.setattr(secrets, "seal", fail)
    store.finish(claimed(), ANSWER)
    assert refusal(SECOND)[1] == "idempotent_result_not_stored"
    assert said == [("idempotent_answer_not_kept", {"reason": type(error).__name__})]


def test_a_content_type_is_cut_to_what_its_column_holds() -> None:
    store.finish(claimed(), replace(ANSWER, content_type="x" * 150))
    kept = store.claim(SECOND)
    assert isinstance(kept, store.StoredAnswer)
    assert kept.content_type == "x" * 100


def test_an_answer_does_not_show_its_body() -> None:
    assert "secret" not in repr(replace(ANSWER, body=b"secret"))
