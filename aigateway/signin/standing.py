"""Whether what was once given to a user still counts: sign-ins, and the epoch that tokens prove (S31).

A password change, a deactivation and "sign out everywhere" begin a new epoch: tokens of the old one are refused, sessions are gone.
"""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import transaction
from django.utils import timezone

from aigateway.models import AccessState, SignIn
from providers.audit import record
from providers.models import ConfigVersion

ENDED_KEPT = timedelta(days=90)
_TELLING_FIELDS = {"password", "is_active"}


def epoch_of(user: User) -> int:
    """Begins to watch the user: from now on a change of password or activity is noticed."""
    state, _ = AccessState.objects.get_or_create(user=user, defaults={"proof": _proof(user)})
    return state.epoch


def token_proof(user: User, epoch: int) -> str:
    """What a token carries. It depends on the password itself, so that a change by any way, SQL included, ends the token."""
    return _digest("token", user.pk, user.password, epoch)


def live_sign_ins(user: User) -> list[SignIn]:
    """Newest first; what ran out without being ended is left out."""
    oldest = timezone.now() - timedelta(seconds=settings.SESSION_MAX_S)
    return [*SignIn.objects.filter(user=user, ended_at=None, signed_in_at__gt=oldest)]


def is_live(sign_in_id: uuid.UUID) -> bool:
    return SignIn.objects.filter(pk=sign_in_id, ended_at=None).exists()


def end(sign_in: SignIn, why: str | None = None) -> None:
    """Ends one sign-in and the tokens that came of it, in every process at once. ``why`` goes to the audit log; nobody asks why
    somebody signs out."""
    with transaction.atomic():
        _end([sign_in], timezone.now())
        if why is not None:
            record(sign_in.user, {"sign_ins": [str(sign_in), why]})
        ConfigVersion.bump(f"user:{sign_in.user_id}")


def end_everything(user: User, why: str, *, but: str | None = None) -> None:
    """A new epoch. ``but`` is the key of a session that stays. ``why`` goes to the audit log."""
    with transaction.atomic():
        epoch_of(user)
        state = AccessState.objects.select_for_update().get(user=user)
        before = state.epoch
        state.epoch, state.proof = before + 1, _proof(user)
        state.save(update_fields=["epoch", "proof"])
        live = SignIn.objects.filter(user=user, ended_at=None)
        _end(live.exclude(session_key=but) if but else live, timezone.now())
        ConfigVersion.bump(f"user:{user.pk}")
        record(user, {"epoch": [before, state.epoch], "sign_ins": ["all", why]})


def user_was_saved(instance: User, update_fields: Iterable[str] | None = None, raw: bool = False, **_: object) -> None:
    """Django tells of every saved user, whoever saved it: admin, command, reset page or shell."""
    if raw or (update_fields is not None and _TELLING_FIELDS.isdisjoint(update_fields)):
        return
    state = AccessState.objects.filter(user_id=instance.pk).first()
    if state is not None and not hmac.compare_digest(state.proof, _proof(instance)):
        end_everything(instance, "the password or the activity of the account changed")


def forget_ended() -> int:
    """Drops what ended or ran out long ago; returns how many rows."""
    return SignIn.objects.filter(seen_at__lt=timezone.now() - ENDED_KEPT).delete()[0]


def _end(sign_ins: Iterable[SignIn], now: datetime) -> None:
    ended = [*sign_ins]
    Session.objects.filter(session_key__in=[sign_in.session_key for sign_in in ended if sign_in.session_key]).delete()
    SignIn.objects.filter(pk__in=[sign_in.pk for sign_in in ended]).update(ended_at=now, refresh_sha256=None)


def _proof(user: User) -> str:
    return _digest("state", user.pk, user.password, user.is_active)


def _digest(*parts: object) -> str:
    text = "\x1f".join(map(str, parts)).encode()
    return hmac.digest(settings.SECRET_KEY.encode(), b"standing:" + text, "sha256").hex()[:43]
