"""A forgotten password: a link by mail, good for an hour and once."""

from __future__ import annotations

from smtplib import SMTPException
from urllib.parse import urlsplit

import structlog
from celery import current_app
from django.conf import settings
from django.contrib.auth.forms import PasswordResetForm
from kombu.exceptions import OperationalError

TASK = "aigateway.send_password_reset"
_log = structlog.get_logger("aigateway.signin")


def are_on() -> bool:
    """Mail must be configured, and passwords must be worth having."""
    return bool(settings.EMAIL_URL) and settings.PASSWORD_LOGIN


def ask(email: str, origin: str) -> None:
    """Leaves it to a worker, for a known address as for any other."""
    try:
        current_app.send_task(TASK, args=[email, origin], expires=600)
    except (OperationalError, OSError) as error:
        _log.error("password_reset_not_queued", error=type(error).__name__)


def send(email: str, origin: str) -> None:
    """Mails every active user of the address who has a password; nobody else hears of it."""
    form = PasswordResetForm({"email": email})
    if not form.is_valid():
        return
    parts = urlsplit(origin)
    try:
        form.save(domain_override=parts.netloc, use_https=parts.scheme == "https", from_email=None)
    except (SMTPException, OSError) as error:
        _log.warning("password_reset_not_mailed", error=type(error).__name__)
