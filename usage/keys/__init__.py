"""API keys: their form, whom they belong to, what they may do, making and ending them."""

from __future__ import annotations

from usage.keys.actions import create_api_key, revoke_api_key, update_api_key
from usage.keys.form import NO_KEY, lookup_id, matches
from usage.keys.records import KeyRecord, load_key, touch_keys
from usage.keys.scopes import Scope, effective

__all__ = [
    "NO_KEY",
    "KeyRecord",
    "Scope",
    "create_api_key",
    "effective",
    "load_key",
    "lookup_id",
    "matches",
    "revoke_api_key",
    "touch_keys",
    "update_api_key",
]
