"""Tells people of budgets that run out: by mail to staff and the budget's user, and by a signed webhook."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from smtplib import SMTPException
from typing import Any, Final

import structlog
from django.conf import settings
from django.core.mail import send_mail
from django.utils import timezone

from providers.client import tell
from providers.fields import dollars
from providers.upstream.errors import UpstreamError
from usage.budgets import note_crossed, undelivered
from usage.models import Budget, BudgetAlert, Enforcement

TIMEOUT_S: Final = 10.0
TRIES_MAX: Final = 20
"""One try a minute: a receiver that was away for longer is not told any more."""
log = structlog.get_logger(__name__)


def deliver_alerts() -> int:
    """Notes crossed thresholds and tells whoever was not told yet; returns how many alerts are done."""
    note_crossed(timezone.now())
    return sum(_deliver(alert) for alert in undelivered(TRIES_MAX))


def payload(alert: BudgetAlert) -> dict[str, Any]:
    """What the webhook receives. Amounts are exact: dollars with nine places, or whole numbers."""
    budget = alert.period.budget
    is_money = alert.measure == BudgetAlert.Measure.MONEY
    return {
        "type": "budget.threshold_crossed",
        "id": f"alert_{alert.pk}",
        "crossed_at": alert.crossed_at.isoformat(),
        "scope": budget.scope,
        "subject": budget.subject,
        "period": budget.period,
        "period_key": alert.period.key,
        "measure": alert.measure,
        "threshold_percent": alert.threshold_percent,
        "used": dollars(alert.used) if is_money else str(alert.used),
        "cap": dollars(alert.cap) if is_money else str(alert.cap),
        "enforcement": budget.enforcement,
    }


def signature(body: bytes, secret: str, sent_at_s: int) -> str:
    """``t=<unix time>,v1=<hex HMAC-SHA256 of "time.body">``: Stripe's scheme, so its libraries can check it."""
    return f"t={sent_at_s},v1={hmac.new(secret.encode(), f'{sent_at_s}.'.encode() + body, hashlib.sha256).hexdigest()}"


def _deliver(alert: BudgetAlert) -> bool:
    alert.tries += 1
    if alert.mailed_at is None and _mail(alert):
        alert.mailed_at = timezone.now()
    if alert.posted_at is None and _post(alert):
        alert.posted_at = timezone.now()
    alert.save(update_fields=["tries", "mailed_at", "posted_at"])
    return alert.mailed_at is not None and alert.posted_at is not None


def _mail(alert: BudgetAlert) -> bool:
    """Whether nobody is left to be told by mail."""
    told = payload(alert)
    recipients = sorted({*settings.ALERT_EMAILS, *_own_address(alert.period.budget)})
    if not (recipients and settings.EMAIL_URL):
        return True
    sign, noun = ("$", "") if alert.measure == BudgetAlert.Measure.MONEY else ("", f" {alert.measure}")
    subject = f"{told['threshold_percent']} % of the {alert.measure} budget of {told['subject']} ({told['period_key']})"
    used = f"{sign}{told['used']} of {sign}{told['cap']}{noun}"
    hard = told["enforcement"] == Enforcement.HARD
    text = (
        f"{told['scope'].capitalize()} {told['subject']} has used {used} in the {told['period']} {told['period_key']}.\n"
        f"{'What does not fit is refused.' if hard else 'This budget only warns; nothing is refused.'}\n"
    )
    try:
        send_mail(" ".join(subject.split()), text, None, recipients)
    except (SMTPException, OSError) as error:
        log.warning("alert mail failed", alert=alert.pk, error=type(error).__name__)
        return False
    return True


def _own_address(budget: Budget) -> tuple[str, ...]:
    user = budget.user or (budget.api_key.user if budget.api_key else None)
    return (user.email,) if user is not None and user.email else ()


def _post(alert: BudgetAlert) -> bool:
    """Whether the webhook has it, or there is none. Its address comes from the environment, so it may be private."""
    if not settings.ALERT_WEBHOOK_URL:
        return True
    body = json.dumps(payload(alert), separators=(",", ":")).encode()
    headers = {"Content-Type": "application/json", "Gateway-Signature": signature(body, settings.ALERT_WEBHOOK_SECRET, int(time.time()))}
    try:
        status = tell(settings.ALERT_WEBHOOK_URL, headers, body, timeout_s=TIMEOUT_S)
    except UpstreamError as error:
        log.warning("alert webhook failed", alert=alert.pk, error=type(error).__name__)
        return False
    if status >= 400:
        log.warning("alert webhook refused", alert=alert.pk, status=status)
    return status < 400
