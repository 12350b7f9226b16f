"""Forgets what is over: counts of tries, ended sign-ins, sessions that ran out."""

from __future__ import annotations

from aigateway.signin import bounds, standing
from aigateway.signin.session_store import SessionStore


def prune() -> None:
    bounds.forget_old()
    standing.forget_ended()
    SessionStore.clear_expired()
