"""Passwords: the one place where one is compared, with its bounds.

Pages and endpoints come here by ``django.contrib.auth.authenticate``.
"""

from __future__ import annotations

import structlog
from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.http import HttpRequest

from aigateway.models import SignIn
from aigateway.signin import bounds, hashing
from aigateway.signin.bounds import Bucket, TooManyTries
from aigateway.signin.hashing import HashingBusy
from aigateway.signin.origin import Origin

PASSWORD_MAX = 1024
NAME_MAX = 150
_log = structlog.get_logger("aigateway.signin")


class PasswordBackend(ModelBackend):
    """Raises ``TooManyTries`` and ``HashingBusy``, which ``AccessMiddleware`` answers. ``None``: not the right password."""

    def authenticate(  # type: ignore[override]
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None
    ) -> User | None:
        if username is None or password is None:
            return None
        user = _named(username)
        return user if is_password_of(request, username, user, password) and user is not None and self._may_sign_in(user) else None

    def _may_sign_in(self, user: User) -> bool:
        """Local accounts stay as break-glass: with passwords switched off, superusers still have theirs."""
        return self.user_can_authenticate(user) and (settings.PASSWORD_LOGIN or user.is_superuser)


def is_password_of(request: HttpRequest | None, username: str, user: User | None, password: str) -> bool:
    """Counts the try. A wrong one, a stranger's and one of nobody's take as long and read alike."""
    origin = Origin.of(request)
    try:
        with hashing.slot():
            attempt = bounds.count_try(_buckets(origin, username, user))
            encoded = user.password if user is not None and len(password) <= PASSWORD_MAX else None
            right, stale = hashing.is_right(password[:PASSWORD_MAX], encoded)
    except (TooManyTries, HashingBusy) as error:
        _log.warning("sign_in_refused", reason=type(error).__name__, user_id=user.pk if user else None, address=origin.address)
        raise
    if not right or user is None or not user.is_active:
        _log.warning("sign_in_failed", user_id=user.pk if user else None, address=origin.address)
        return False
    attempt.succeeded()
    if stale:
        user.set_password(password)
        user.save(update_fields=["password"])
    return True


def _named(username: str) -> User | None:
    if len(username) > NAME_MAX or "\x00" in username:
        return None
    return User.objects.filter(username=username).first()


def _buckets(origin: Origin, username: str, user: User | None) -> list[Bucket]:
    name, network = username[:NAME_MAX].casefold(), bounds.network_of(origin.address)
    if user is not None and origin.known is not None and origin.knows(user.pk):
        return [bounds.DEVICE.bucket(origin.known.name, name)]
    own = [bounds.ADDRESS.bucket(network), bounds.NAME_AT_ADDRESS.bucket(name, network)]
    if user is not None and SignIn.objects.filter(user=user, address=origin.address).exclude(address=None).exists():
        return own
    return [*own, bounds.NAME.bucket(name), bounds.OVERALL.bucket()]
