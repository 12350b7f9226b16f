"""Thresholds of budgets are told once each, by mail and by a signed webhook, and a deaf receiver is asked again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.core.checks import run_checks

from aigateway.alerts import TRIES_MAX, deliver_alerts
from tests.usage.world import reserve_order, settlement
from usage.budgets.actions import Limits, set_budget
from usage.ledger.front import reserve_now, settle_now
from usage.models import Budget, BudgetAlert
from usage.subscriptions.events import check_signature

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "a-secret-of-the-receiver"


class Receiver(HTTPServer):
    """A webhook receiver. ``status`` is what it answers; ``heard`` are signature and body of each request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.heard: list[tuple[str, bytes]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append((self.headers["Gateway-Signature"], body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    server = Receiver()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    settings.ALERT_WEBHOOK_URL = f"http://127.0.0.1:{server.server_port}/hook"
    settings.ALERT_WEBHOOK_SECRET = SECRET
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def budget(transactional_db: None, settings: Any) -> Budget:
    settings.EMAIL_URL, settings.ALERT_EMAILS = "smtp://unused", ["finance@example.org"]
    user = User.objects.create_user("ann", email="ann@example.org")
    return set_budget(Budget.Scope.USER, user, "month", Limits(1000, cap_requests=100))


def spend(budget: Budget, cost_nano: int) -> None:
    order = reserve_order(cost_nano, [budget], user_id=budget.user_id)
    reserve_now(order)
    settle_now(settlement(order, cost_nano, basis="estimated"))


def thresholds(receiver: Receiver) -> list[int]:
    return [json.loads(body)["threshold_percent"] for _, body in receiver.heard]


def test_R502_each_threshold_is_told_once(budget: Budget, receiver: Receiver) -> None:
    told = []
    for cost in (499, 1, 299, 1, 199, 1):
        spend(budget, cost)
        deliver_alerts()
        deliver_alerts()
        told.append(thresholds(receiver))
    assert told == [[], [50], [50], [50, 80], [50, 80], [50, 80, 100]]
    assert [message.to for message in mail.outbox] == [["ann@example.org", "finance@example.org"]] * 3


def test_a_jump_over_several_thresholds_is_told_once_at_the_highest(budget: Budget, receiver: Receiver) -> None:
    spend(budget, 1000)
    deliver_alerts()
    assert thresholds(receiver) == [100]
    assert sorted(BudgetAlert.objects.values_list("threshold_percent", flat=True)) == [50, 80, 100]


def test_the_webhook_is_signed_and_exact(budget: Budget, receiver: Receiver) -> None:
    spend(budget, 800)
    deliver_alerts()
    ((header, body),) = receiver.heard
    check_signature(body, header, SECRET, time.time())
    told = json.loads(body)
    assert (told["scope"], told["subject"], told["measure"]) == ("user", "ann", "money")
    assert (told["used"], told["cap"], told["enforcement"]) == ("0.000000800", "0.000001000", "hard")


def test_a_receiver_that_is_away_is_asked_again_and_mail_is_not_repeated(budget: Budget, receiver: Receiver) -> None:
    receiver.status = 503
    spend(budget, 800)
    assert (deliver_alerts(), deliver_alerts()) == (0, 0)
    receiver.status = 200
    assert (deliver_alerts(), deliver_alerts()) == (1, 0)
    assert thresholds(receiver) == [80, 80, 80]
    assert len(mail.outbox) == 1


def test_a_receiver_that_never_answers_is_given_up(budget: Budget, settings: Any, receiver: Receiver) -> None:
    receiver.status = 500
    spend(budget, 800)
    for _ in range(TRIES_MAX + 3):
        deliver_alerts()
    assert len(receiver.heard) == TRIES_MAX


def test_without_mail_and_webhook_alerts_are_noted_and_nothing_is_sent(budget: Budget, settings: Any) -> None:
    settings.EMAIL_URL = ""
    spend(budget, 800)
    assert deliver_alerts() == 1
    assert (mail.outbox, BudgetAlert.objects.count()) == ([], 2)


def test_a_webhook_without_a_secret_is_refused_at_the_start(settings: Any) -> None:
    settings.ALERT_WEBHOOK_URL, settings.ALERT_WEBHOOK_SECRET = "https://example.org/hook", "short"
    assert "aigateway.E006" in {message.id for message in run_checks(tags=["security"])}
    settings.ALERT_WEBHOOK_SECRET = SECRET
    assert "aigateway.E006" not in {message.id for message in run_checks(tags=["security"])}
