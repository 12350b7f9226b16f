"""Who is calling: a gateway key becomes a ``Caller``, cached in memory, dropped the moment its configuration moves."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import InterfaceError, OperationalError, close_old_connections

from aigateway import errors
from aigateway.api.credentials import AmbiguousKey, sent_key
from preferences.resolve import PreferenceRecord, load_for_user
from providers.registry import EVERYTHING
from providers.upstream.types import NameList
from usage.budgets import budgets_for, team_of
from usage.keys import KeyRecord, Scope, load_key, lookup_id, matches, touch_keys
from usage.ledger import BudgetRef
from usage.limits import Limit, rate_limits_for
from usage.subscriptions import EntitlementRecord, entitlements_of

CACHED_CALLERS_MAX = 10_000
CACHE_TTL_S = 60.0
UNKNOWN_TTL_S = 5.0
_NO_KEY_SHA256 = hashlib.sha256(b"").digest()


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller with everything the pipeline needs of it."""

    user_id: int
    username: str
    api_key_id: str
    allowed_models: NameList | None
    allowed_contexts: NameList | None
    preferences: tuple[PreferenceRecord, ...]
    budgets: tuple[BudgetRef, ...]
    team_id: int | None = None
    entitlements: tuple[EntitlementRecord, ...] = ()
    rate_limits: tuple[Limit, ...] = ()
    scopes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Entry:
    """``key`` is ``None`` for an id nobody has: remembered shortly, so that guessing costs no query each time."""

    key: KeyRecord | None
    caller: Caller | None
    loaded_at_s: float


class CallerDirectory:
    """Finds callers by key. ``version`` is the configuration version its content is known to be as new as."""

    def __init__(self, executor: Executor, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._executor = executor
        self._monotonic = monotonic
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._loading: dict[str, asyncio.Task[_Entry]] = {}
        self._generation = 0
        self._used: set[str] = set()

    async def authenticate(self, plaintext: str) -> Caller:
        """Raises ``GatewayError``: 401 for a bad key, 403 for one that is not for inference, 503 when the database cannot say."""
        caller = await self.identify(plaintext)
        if Scope.INFERENCE not in caller.scopes:
            raise errors.scope_missing(Scope.INFERENCE)
        return caller

    async def identify(self, plaintext: str) -> Caller:
        """Whose key it is, whatever it may do. Raises ``GatewayError``: 401 for a bad key, 503 when the database cannot say."""
        key_id = lookup_id(plaintext)
        if key_id is None:
            raise errors.invalid_key()
        entry = await self._entry(key_id)
        expected = entry.key.secret_sha256 if entry.key is not None else _NO_KEY_SHA256
        if not matches(expected, plaintext) or entry.key is None or entry.caller is None or not _is_usable(entry.key):
            raise errors.invalid_key()
        self._used.add(key_id)
        return entry.caller

    def drop(self, subjects: tuple[str, ...]) -> None:
        """Forgets what ``ConfigVersion.bump`` subjects name; loads under way do not get cached."""
        self._generation += 1
        for subject in subjects:
            kind, _, name = subject.partition(":")
            if kind == "key":
                self._entries.pop(name, None)
            elif kind == "user":
                stale = [key_id for key_id, entry in self._entries.items() if entry.key and str(entry.key.user_id) == name]
                for key_id in stale:
                    del self._entries[key_id]
            elif kind in ("budgets", EVERYTHING):
                self._entries.clear()

    async def flush_last_used(self) -> None:
        """Writes when keys were last used; called now and then, never on the request path."""
        used, self._used = self._used, set()
        if used:
            await asyncio.get_running_loop().run_in_executor(self._executor, _touch, sorted(used))

    async def _entry(self, key_id: str) -> _Entry:
        entry = self._entries.get(key_id)
        if entry is not None:
            age_s = self._monotonic() - entry.loaded_at_s
            if age_s < (CACHE_TTL_S if entry.key is not None else UNKNOWN_TTL_S):
                self._entries.move_to_end(key_id)
                return entry
        loading = self._loading.get(key_id)
        if loading is None:
            loading = asyncio.ensure_future(self._load(key_id))
            self._loading[key_id] = loading
            loading.add_done_callback(lambda _: self._loading.pop(key_id, None))
        try:
            return await asyncio.shield(loading)
        except (OperationalError, InterfaceError) as error:
            raise errors.access_unknown() from error

    async def _load(self, key_id: str) -> _Entry:
        generation = self._generation
        key, caller = await asyncio.get_running_loop().run_in_executor(self._executor, _load_caller, key_id)
        entry = _Entry(key, caller, self._monotonic())
        if generation == self._generation:
            self._entries[key_id] = entry
            while len(self._entries) > CACHED_CALLERS_MAX:
                self._entries.popitem(last=False)
        return entry


def presented_key(meta: Mapping[str, Any]) -> str:
    """The key of a request; raises ``GatewayError`` 401 when there is none, or two."""
    try:
        plaintext = sent_key(meta, compare_address=True)
    except AmbiguousKey:
        raise errors.ambiguous_key() from None
    if plaintext is None:
        raise errors.missing_key()
    return plaintext


def _is_usable(key: KeyRecord) -> bool:
    now = datetime.now(UTC)
    return key.is_active and key.revoked_at is None and (key.expires_at is None or key.expires_at > now)


def _load_caller(key_id: str) -> tuple[KeyRecord | None, Caller | None]:
    try:
        key = load_key(key_id)
        if key is None:
            return None, None
        caller = Caller(
            user_id=key.user_id,
            username=key.username,
            api_key_id=key.key_id,
            allowed_models=NameList.of(key.allowed_models),
            allowed_contexts=NameList.of(key.allowed_contexts),
            preferences=load_for_user(key.user_id),
            budgets=budgets_for(key.user_id, key.key_id),
            team_id=team_of(key.user_id),
            entitlements=entitlements_of(key.user_id),
            rate_limits=rate_limits_for(key.user_id, key.key_id),
            scopes=key.scopes,
        )
        return key, caller
    finally:
        close_old_connections()


def _touch(key_ids: list[str]) -> None:
    try:
        touch_keys(key_ids, datetime.now(UTC))
    finally:
        close_old_connections()
