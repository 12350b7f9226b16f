"""``Idempotency-Key`` on writes of the REST surface."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.db import OperationalError
from django.test import Client

from aigateway.idempotency import store
from usage.keys.actions import create_api_key
from usage.models import Budget, BudgetAdjustment, IdempotencyRecord

pytestmark = pytest.mark.django_db(transaction=True)

QUOTA = {"limits": [{"period": "month", "requests": 100}]}


def away(*_: object) -> None:
    raise OperationalError("away")


@pytest.fixture
def staff(transactional_db: None) -> User:
    staff = User.objects.create_user("root", is_staff=True)
    staff.user_permissions.add(*Permission.objects.filter(codename__in=("view_budget", "change_budget")))
    return staff


@pytest.fixture
def rest(staff: User) -> Client:
    _, key = create_api_key(staff, "admin", scopes=["own_usage", "manage_finance"])
    return Client(headers={"Authorization": f"Bearer {key}"})


def put(client: Client, user: User, body: object = QUOTA, key: str = "w1") -> object:
    path = f"/api/v1/ai/admin/quotas/{user.pk}"
    return client.put(path, body, content_type="application/json", headers={"Idempotency-Key": key})


def test_R509_a_repeated_write_is_made_once_and_answered_alike(rest: Client, staff: User) -> None:
    assert put(rest, staff).status_code == 200
    reset = {"reason": "goodwill"}
    Budget.objects.get().periods.update_or_create(key="2026-11", defaults={"requests": 5})
    path = f"/api/v1/ai/admin/quotas/{staff.pk}/reset"
    answers = [rest.post(path, reset, content_type="application/json", headers={"Idempotency-Key": "r1"}) for _ in range(3)]
    assert [(answer.status_code, answer.get("Idempotent-Replayed")) for answer in answers] == [(200, None), (200, "true"), (200, "true")]
    assert len({answer.content for answer in answers}) == 1
    assert len({answer["X-Request-ID"] for answer in answers}) == 3
    assert BudgetAdjustment.objects.count() <= 1


def test_another_write_under_the_same_key_is_422(rest: Client, staff: User) -> None:
    assert put(rest, staff).status_code == 200
    other = put(rest, staff, {"limits": []})
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert Budget.objects.count() == 1


def test_a_refused_write_frees_its_key(rest: Client, staff: User) -> None:
    assert put(rest, staff, {"limits": [{"period": "century"}]}).status_code == 400
    assert put(rest, staff).status_code == 200
    assert put(rest, staff, key="x" * 300).status_code == 400


def test_a_stranger_gets_nothing_of_it(rest: Client, staff: User) -> None:
    assert put(rest, staff).status_code == 200
    for stranger in (Client(), Client(headers={"Authorization": "Bearer gw_aaaaaaaaaaaa_" + "b" * 43})):
        assert put(stranger, staff).status_code == 401
    [record] = IdempotencyRecord.objects.all()
    key_id = record.caller.removeprefix("key:")
    forged = Client(headers={"Authorization": f"Bearer gw_{key_id}_" + "b" * 43})
    assert put(forged, staff).status_code == 401, "an id alone proves nothing"


def test_a_session_has_its_own_keys(rest: Client, staff: User) -> None:
    browser = Client()
    browser.force_login(staff, "django.contrib.auth.backends.ModelBackend")
    assert [put(browser, staff).get("Idempotent-Replayed") for _ in range(2)] == [None, "true"]
    assert put(rest, staff).get("Idempotent-Replayed") is None
    assert set(IdempotencyRecord.objects.values_list("status", flat=True)) == {200}


def test_reading_needs_no_key_and_keeps_nothing(rest: Client, staff: User) -> None:
    assert rest.get("/api/v1/ai/quota", headers={"Idempotency-Key": "g"}).status_code == 200
    assert not IdempotencyRecord.objects.exists()


def test_a_write_whose_key_cannot_be_recorded_is_not_made(rest: Client, staff: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "claim", away)
    assert put(rest, staff).status_code == 503
    assert not Budget.objects.exists()


def test_a_write_whose_answer_cannot_be_kept_is_answered_and_its_key_stays_taken(
    rest: Client, staff: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "finish", away)
    assert put(rest, staff).status_code == 200
    repeated = put(rest, staff)
    assert (repeated.status_code, repeated.json()["error"]["code"]) == (409, "idempotent_request_in_progress")
    assert Budget.objects.count() == 1
