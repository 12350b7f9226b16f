"""API keys: their form, whom they belong to, making and ending them."""

from __future__ import annotations

from usage.keys.actions import create_api_key, revoke_api_key, update_api_key
from usage.keys.form import NO_KEY, lookup_id, matches
from usage.keys.records import KeyRecord, load_key, touch_keys

__all__ = ["NO_KEY", "KeyRecord", "create_api_key", "load_key", "lookup_id", "matches", "revoke_api_key", "touch_keys", "update_api_key"]
