"""The rows a posting transaction writes and reads, and the statements every database must offer for it.

Rows travel as one JSON parameter per statement: a whole batch costs one encode and one bind, where arrays of values cost
the client thirty times more.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

import msgspec
from django.db.backends.utils import CursorWrapper

from usage.ledger.types import MEASURED, BudgetExceeded

HARD: Final = "hard"
ORPHANED: Final = "orphaned"
"""``error_code`` of an attempt whose process died; only these accept a late settlement."""
CLIENT_CLOSED: Final = "client_closed"
"""``error_code`` of an attempt whose client went away."""
NOT_FAILED: Final = ("", CLIENT_CLOSED, ORPHANED)
"""Codes of attempts that are charged under any policy: the provider did its part, or nobody knows."""


class AttemptRow(msgspec.Struct, frozen=True):
    """A new attempt. ``id`` and ``process_id`` are 32 hex digits, instants are ISO text in UTC without offset."""

    id: str
    request_id: str
    attempt_no: int
    process_id: str
    user_id: int
    api_key_id: str
    team_id: int | None
    context: str
    dialect: str
    model_asked: str
    provider_id: int
    provider_slug: str
    deployment_id: int
    model_name: str
    price_id: int
    price_card: msgspec.Raw
    stream: bool
    hold_nano: int
    hold_tokens: int
    budget_period_ids: list[int]
    dispatched_at: str


class ClosingRow(msgspec.Struct, frozen=True):
    """The end of an attempt. ``cost_nano is None`` writes no line (a void); ``basis`` then only marks a correction.

    ``quota_tokens is None``: nobody knows, so quotas count the tokens that were held.
    """

    attempt_id: str
    status: str
    cost_nano: int | None = None
    basis: str = MEASURED
    upstream_id: str = ""
    error_code: str = ""
    note: str = ""
    latency_ms: int | None = None
    first_byte_ms: int | None = None
    input_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_input_tokens: int | None = None
    audio_output_tokens: int | None = None
    image_input_tokens: int | None = None
    quota_tokens: int | None = None
    reported_cost_nano: int | None = None
    provider_tool_calls: int | None = None

    @property
    def has_failed(self) -> bool:
        """Whether a line is written of a call that failed."""
        return self.cost_nano is not None and self.error_code not in NOT_FAILED


class PeriodChange(msgspec.Struct):
    """What a batch does to one budget period. ``wanted_*`` is the part that must fit below the cap."""

    id: int
    posted_nano: int = 0
    held_nano: int = 0
    wanted_nano: int = 0
    posted_tokens: int = 0
    held_tokens: int = 0
    wanted_tokens: int = 0
    requests: int = 0

    @property
    def is_empty(self) -> bool:
        return not any((self.posted_nano, self.held_nano, self.wanted_nano, self.posted_tokens, self.held_tokens, self.wanted_tokens,
                        self.requests))  # fmt: skip


class ClosedAttempt(msgspec.Struct, frozen=True):
    """What closing an attempt returned to and took from its budget periods."""

    id: UUID
    released_nano: int
    posted_nano: int
    released_tokens: int
    posted_tokens: int
    period_ids: list[int]


class LockedPeriod(msgspec.Struct):
    """A locked budget period with its budget's caps (``None``: no limit), scope, unit and fallback. Admission counts in it."""

    id: int
    budget_id: int
    key: str
    posted_nano: int
    held_nano: int
    posted_tokens: int
    held_tokens: int
    requests: int
    cap_nano: int | None
    cap_tokens: int | None
    cap_requests: int | None
    enforcement: str
    scope: str
    unit: str
    fallback_route: str
    charges_failed_attempts: bool

    def refusal_of(self, hold_nano: int, hold_tokens: int, requests: int) -> BudgetExceeded | None:
        """Why so much more does not fit. What wants nothing of a measure always fits it."""
        if self.enforcement != HARD:
            return None
        for measure, cap, posted, held, wanted in (
            ("money", self.cap_nano, self.posted_nano, self.held_nano, hold_nano),
            ("tokens", self.cap_tokens, self.posted_tokens, self.held_tokens, hold_tokens),
            ("requests", self.cap_requests, self.requests, 0, requests),
        ):
            if wanted and cap is not None and posted + held + wanted > cap:
                return BudgetExceeded(
                    self.scope, self.unit, measure, cap=cap, posted=posted, held=held, wanted=wanted, fallback_route=self.fallback_route
                )
        return None


class Opening(msgspec.Struct, frozen=True):
    """The configuration version in force, and the database's time where it has a clock of its own."""

    version: int
    database_now: datetime | None = None


class Statements(Protocol):
    """One posting transaction, statement by statement. Locks are taken attempts first, then periods, each by id."""

    def open(self, cursor: CursorWrapper) -> Opening:
        """Bounds the transaction's waits where the database can."""

    def close_attempts(self, cursor: CursorWrapper, rows: Sequence[ClosingRow], now: datetime) -> list[ClosedAttempt]:
        """Closes those still dispatched and writes their lines; all others are left alone."""

    def correct_orphans(self, cursor: CursorWrapper, rows: Sequence[ClosingRow], now: datetime) -> list[ClosedAttempt]:
        """Closes those the sweeper estimated, with one correction line each: the difference to the estimate."""

    def resolve_periods(self, cursor: CursorWrapper, wanted: Collection[tuple[int, str]]) -> dict[tuple[int, str], int]:
        """Ids of the periods ``(budget id, key)``, made where missing. A budget that is gone has none."""

    def lock_periods(self, cursor: CursorWrapper, ids: Collection[int]) -> dict[int, LockedPeriod]:
        """Locks in id order and reads; a period that is gone is absent."""

    def insert_attempts(self, cursor: CursorWrapper, rows: Sequence[AttemptRow]) -> set[UUID]:
        """Ids that were new."""

    def existing_attempts(self, cursor: CursorWrapper, ids: Collection[UUID]) -> set[UUID]: ...

    def find_orphans(self, cursor: CursorWrapper, alive_since: datetime, limit: int) -> list[tuple[UUID, int]]:
        """Ids and holds of dispatched attempts whose process stopped or has not reported since."""

    def change_periods(self, cursor: CursorWrapper, changes: Sequence[PeriodChange]) -> int:
        """Adds the changes where what is wanted fits below the cap; returns how many periods changed."""


def encode(rows: Sequence[msgspec.Struct]) -> str:
    return msgspec.json.encode(rows).decode()
