"""Sessions that end: when nobody used them for a while, when they are old, when somebody ends them from elsewhere.

The store keeps the list of sign-ins in step, so that no page needs to: a deleted session is an ended sign-in, a new key of the
same session is the same sign-in.
"""

from __future__ import annotations

import time
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends import db
from django.utils import timezone

from aigateway.models import SignIn
from aigateway.signin import standing

SIGNED_IN_AT = "signed_in_at"
SEEN_AT = "seen_at"
SIGN_IN = "sign_in"
SEEN_EVERY_S = 60


class SessionStore(db.SessionStore):
    def load(self) -> dict[str, Any]:
        """Nobody is signed in by a session that is over its idle or absolute time."""
        session: dict[str, Any] = super().load()
        if SESSION_KEY not in session:
            return session
        now = time.time()
        began, seen = session.get(SIGNED_IN_AT, 0), session.get(SEEN_AT, 0)
        if now - began > settings.SESSION_MAX_S or now - seen > settings.SESSION_IDLE_S:
            self.delete(self.session_key)
            self._session_key = None
            return {}
        if now - seen > SEEN_EVERY_S:
            session[SEEN_AT] = int(now)
            self.modified = True
            SignIn.objects.filter(session_key=self.session_key).update(seen_at=timezone.now())
        return session

    def cycle_key(self) -> None:
        """The same sign-in under a new key, also where a password change has just ended the old one."""
        old = self.session_key
        super().cycle_key()
        if old:
            SignIn.objects.filter(session_key=old).update(session_key=self.session_key, ended_at=None)

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        super().delete(session_key)
        for sign_in in SignIn.objects.filter(session_key=key, ended_at=None) if key else ():
            standing.end(sign_in)
