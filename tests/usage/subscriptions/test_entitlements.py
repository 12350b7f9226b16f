"""Who may use what a subscription pays for, and how a payment service says so."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client

from providers.models import ConfigVersion
from usage.models import Entitlement
from usage.subscriptions.entitlements import EntitlementRecord, Verdict, judge
from usage.subscriptions.events import SignatureInvalid, check_signature

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECRET = "whsec_test"
PATH = "/api/v1/ai/webhooks/subscriptions"


def record(tier: str = "ditectrev", status: str = "active", expires_at: datetime | None = None) -> EntitlementRecord:
    return EntitlementRecord(tier, status, expires_at)


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        ((), Verdict.REQUIRED),
        ((record("local"),), Verdict.NOT_ENTITLED),
        ((record(),), Verdict.ENTITLED),
        ((record(status="trialing", expires_at=NOW + timedelta(seconds=1)),), Verdict.ENTITLED),
        ((record(status="trialing", expires_at=NOW),), Verdict.EXPIRED),
        ((record(expires_at=NOW - timedelta(days=1)),), Verdict.EXPIRED),
        ((record(status="canceled"),), Verdict.EXPIRED),
        ((record(status="past_due", expires_at=NOW + timedelta(days=9)),), Verdict.PAST_DUE),
        ((record(status="free for all"),), Verdict.EXPIRED),
        ((record("local"), record()), Verdict.ENTITLED),
    ],
)
def test_only_a_running_subscription_to_the_tier_entitles(records: tuple[EntitlementRecord, ...], verdict: Verdict) -> None:
    assert judge(records, "ditectrev", NOW) is verdict


def event(
    status: str = "active", *, kind: str = "updated", created: int = 1_700_000_000, subscription: str = "sub_1", **changes: Any
) -> dict[str, Any]:
    found = {"id": subscription, "status": status, "metadata": {"user": "ursula", "tier": "ditectrev"}, "current_period_end": 4_000_000_000}
    return {"type": f"customer.subscription.{kind}", "created": created, "data": {"object": {**found, **changes}}}


def signature(body: bytes, sent_at: int, secret: str = SECRET) -> str:
    return f"t={sent_at},v1={hmac.new(secret.encode(), str(sent_at).encode() + b'.' + body, hashlib.sha256).hexdigest()}"


@pytest.fixture
def ursula(db: None) -> User:
    return User.objects.create_user("ursula")


@pytest.fixture
def post(ursula: User, client: Client, settings: Any) -> Any:
    settings.SUBSCRIPTION_WEBHOOK_SECRET = SECRET

    def send(payload: Any, header: str | None = None) -> Any:
        body = json.dumps(payload).encode()
        header = signature(body, int(time.time())) if header is None else header
        return client.post(PATH, body, content_type="application/json", headers={"stripe-signature": header})

    return send


def test_a_signed_event_gives_a_subscription_and_tells_every_process(post: Any, ursula: User) -> None:
    before = ConfigVersion.current()
    assert post(event(kind="created")).json() == {"applied": True}
    found = Entitlement.objects.get(user=ursula)
    assert (found.tier, found.status, found.subscription_id) == ("ditectrev", "active", "sub_1")
    assert found.expires_at == datetime.fromtimestamp(4_000_000_000, UTC)
    assert ConfigVersion.current() > before
    assert LogEntry.objects.get_for_object(found).count() == 1


@pytest.mark.parametrize(
    ("status", "kind", "stored"),
    [
        ("trialing", "updated", "trialing"),
        ("past_due", "updated", "past_due"),
        ("unpaid", "updated", "past_due"),
        ("paused", "updated", "canceled"),
        ("a status of next year", "updated", "canceled"),
        ("active", "deleted", "canceled"),
    ],
)
def test_each_status_of_the_service_has_one_meaning(post: Any, status: str, kind: str, stored: str) -> None:
    post(event(status, kind=kind))
    assert Entitlement.objects.get().status == stored


def test_newer_api_versions_put_the_end_of_the_period_on_the_items(post: Any) -> None:
    post(event(current_period_end=None, items={"data": [{"current_period_end": 4_000_000_001}, {"current_period_end": 3}]}))
    assert Entitlement.objects.get().expires_at == datetime.fromtimestamp(4_000_000_001, UTC)


def test_an_older_event_that_comes_late_changes_nothing(post: Any) -> None:
    post(event("canceled", created=2_000))
    assert post(event("active", created=1_000)).json() == {"applied": False}
    assert Entitlement.objects.get().status == "canceled"


def test_the_same_event_twice_leaves_one_subscription(post: Any) -> None:
    assert post(event()).status_code == post(event()).status_code == 200
    assert Entitlement.objects.count() == 1


def test_a_subscription_known_by_its_id_needs_no_metadata(post: Any) -> None:
    post(event())
    assert post(event("past_due", created=1_700_000_001, metadata={})).status_code == 200
    assert Entitlement.objects.get().status == "past_due"


@pytest.mark.parametrize("metadata", [{}, {"user": "nobody", "tier": "ditectrev"}, {"user": "ursula"}, {"user": 1, "tier": 2}, "text"])
def test_an_event_that_names_nobody_is_400_and_stores_nothing(post: Any, metadata: Any) -> None:
    answer = post(event(metadata=metadata))
    assert answer.status_code == 400
    assert "metadata." in answer.content.decode()
    assert not Entitlement.objects.exists()


def test_other_events_are_accepted_and_ignored(post: Any) -> None:
    assert post({"type": "invoice.paid"}).json() == {"applied": False}


@pytest.mark.parametrize("header", ["", "v1=abc", "t=1,v1=abc", "t=x,v1=", "t=99999999999999999999,v1=abc"])
def test_an_unsigned_event_is_403_and_stores_nothing(post: Any, header: str) -> None:
    assert post(event(), header).status_code == 403
    assert not Entitlement.objects.exists()


def test_a_replayed_event_is_refused_after_five_minutes() -> None:
    check_signature(b"{}", signature(b"{}", 1_000), SECRET, now_s=1_300)
    with pytest.raises(SignatureInvalid, match="too old"):
        check_signature(b"{}", signature(b"{}", 1_000), SECRET, now_s=1_301)


def test_a_secret_may_be_rolled_while_both_sign() -> None:
    old = signature(b"{}", 1_000, "whsec_old").partition(",")[2]
    check_signature(b"{}", f"{signature(b'{}', 1_000)},{old}", SECRET, now_s=1_000)


def test_without_a_secret_there_is_no_webhook(client: Client, db: None) -> None:
    assert client.post(PATH, b"{}", content_type="application/json").status_code == 404
