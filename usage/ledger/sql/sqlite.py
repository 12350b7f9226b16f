"""The posting transaction on SQLite, where ``BEGIN IMMEDIATE`` already serialises it. Values travel as parameters only."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from django.db.backends.utils import CursorWrapper

from usage.ledger.sql.rows import AttemptRow, ClosedAttempt, ClosingRow, LockedPeriod, Opening, PeriodChange, encode

PostedLines = dict[str, tuple[int, int]]
"""Cost and quota tokens by attempt id."""

VERSION = "SELECT version FROM providers_configversion WHERE id = 1"

CLOSE = """
UPDATE usage_attempt
SET status = c.value ->> '$.status', closed_at = %s, error_code = c.value ->> '$.error_code',
    latency_ms = c.value ->> '$.latency_ms', first_byte_ms = c.value ->> '$.first_byte_ms'
FROM json_each(%s) c
WHERE usage_attempt.id = c.value ->> '$.attempt_id' AND usage_attempt.status = 'dispatched'
RETURNING id, hold_nano, hold_tokens, budget_period_ids
"""

POST = """
INSERT INTO usage_ledgerentry (
    attempt_id, kind, basis, cost_nano, posted_at, dispatched_at, request_id, attempt_no, upstream_id, user_id, api_key_id,
    team_id, context, provider_id, provider_slug, deployment_id, model_name, input_tokens, cache_read_tokens, cache_write_tokens,
    cache_write_1h_tokens, output_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens, image_input_tokens, quota_tokens,
    reported_cost_nano, provider_tool_calls, price_id, price_card, error_code, note)
SELECT a.id, 'usage', c.value ->> '$.basis', c.value ->> '$.cost_nano', a.closed_at, a.dispatched_at, a.request_id, a.attempt_no,
       c.value ->> '$.upstream_id', a.user_id, a.api_key_id, a.team_id, a.context, a.provider_id, a.provider_slug, a.deployment_id,
       a.model_name, c.value ->> '$.input_tokens', c.value ->> '$.cache_read_tokens', c.value ->> '$.cache_write_tokens',
       c.value ->> '$.cache_write_1h_tokens', c.value ->> '$.output_tokens', c.value ->> '$.reasoning_tokens',
       c.value ->> '$.audio_input_tokens', c.value ->> '$.audio_output_tokens', c.value ->> '$.image_input_tokens',
       coalesce(c.value ->> '$.quota_tokens', a.hold_tokens), c.value ->> '$.reported_cost_nano',
       c.value ->> '$.provider_tool_calls', a.price_id, a.price_card, c.value ->> '$.error_code', c.value ->> '$.note'
FROM json_each(%s) c JOIN usage_attempt a ON a.id = c.value ->> '$.attempt_id'
WHERE true
ON CONFLICT DO NOTHING
RETURNING attempt_id, cost_nano, quota_tokens
"""

CORRECT = """
INSERT INTO usage_ledgerentry (
    attempt_id, kind, basis, cost_nano, posted_at, dispatched_at, request_id, attempt_no, upstream_id, user_id, api_key_id,
    team_id, context, provider_id, provider_slug, deployment_id, model_name, input_tokens, cache_read_tokens, cache_write_tokens,
    cache_write_1h_tokens, output_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens, image_input_tokens, quota_tokens,
    reported_cost_nano, provider_tool_calls, price_id, price_card, error_code, note)
SELECT a.id, 'correction', c.value ->> '$.basis', coalesce(c.value ->> '$.cost_nano', 0) - estimated.cost_nano, %s, a.dispatched_at,
       a.request_id, a.attempt_no, c.value ->> '$.upstream_id', a.user_id, a.api_key_id, a.team_id, a.context, a.provider_id,
       a.provider_slug, a.deployment_id, a.model_name, c.value ->> '$.input_tokens', c.value ->> '$.cache_read_tokens',
       c.value ->> '$.cache_write_tokens', c.value ->> '$.cache_write_1h_tokens', c.value ->> '$.output_tokens',
       c.value ->> '$.reasoning_tokens', c.value ->> '$.audio_input_tokens', c.value ->> '$.audio_output_tokens',
       c.value ->> '$.image_input_tokens',
       iif(c.value ->> '$.cost_nano' IS NULL, 0, coalesce(c.value ->> '$.quota_tokens', a.hold_tokens)) - estimated.quota_tokens,
       c.value ->> '$.reported_cost_nano', c.value ->> '$.provider_tool_calls', a.price_id, a.price_card,
       c.value ->> '$.error_code', 'replaces the estimate made when the process stopped reporting'
FROM json_each(%s) c JOIN usage_attempt a ON a.id = c.value ->> '$.attempt_id'
JOIN usage_ledgerentry estimated ON estimated.attempt_id = a.id AND estimated.kind = 'usage'
WHERE a.status = 'estimated' AND a.error_code = 'orphaned'
ON CONFLICT DO NOTHING
RETURNING attempt_id, cost_nano, quota_tokens
"""

CLOSE_ORPHANS = """
UPDATE usage_attempt
SET status = c.value ->> '$.status', closed_at = %s, error_code = c.value ->> '$.error_code',
    latency_ms = c.value ->> '$.latency_ms', first_byte_ms = c.value ->> '$.first_byte_ms'
FROM json_each(%s) c
WHERE usage_attempt.id = c.value ->> '$.attempt_id' AND usage_attempt.status = 'estimated' AND usage_attempt.error_code = 'orphaned'
RETURNING id, 0, 0, budget_period_ids
"""

MAKE_PERIODS = """
INSERT INTO usage_budgetperiod (budget_id, key, posted_nano, held_nano, posted_tokens, held_tokens, requests)
SELECT b.id, w.value ->> '$.key', 0, 0, 0, 0, 0 FROM json_each(%s) w JOIN usage_budget b ON b.id = w.value ->> '$.budget_id'
WHERE true
ON CONFLICT (budget_id, key) DO NOTHING
"""

FIND_PERIODS = """
SELECT p.budget_id, p.key, p.id FROM json_each(%s) w
JOIN usage_budgetperiod p ON p.budget_id = w.value ->> '$.budget_id' AND p.key = w.value ->> '$.key'
"""

READ_PERIODS = """
SELECT p.id, p.budget_id, p.key, p.posted_nano, p.held_nano, p.posted_tokens, p.held_tokens, p.requests,
       b.cap_nano, b.cap_tokens, b.cap_requests, b.enforcement, b.scope, b.period, coalesce(r.name, ''),
       b.charge_failed_attempts
FROM usage_budgetperiod p JOIN usage_budget b ON b.id = p.budget_id
LEFT JOIN providers_route r ON r.id = b.fallback_route_id AND r.enabled
WHERE p.id IN (SELECT value FROM json_each(%s)) ORDER BY p.id
"""

INSERT_ATTEMPTS = """
INSERT INTO usage_attempt (
    id, request_id, attempt_no, process_id, status, user_id, api_key_id, team_id, context, dialect, model_asked, provider_id,
    provider_slug, deployment_id, model_name, price_id, price_card, stream, hold_nano, hold_tokens, budget_period_ids, dispatched_at,
    error_code)
SELECT o.value ->> '$.id', o.value ->> '$.request_id', o.value ->> '$.attempt_no', o.value ->> '$.process_id', 'dispatched',
       o.value ->> '$.user_id', o.value ->> '$.api_key_id', o.value ->> '$.team_id', o.value ->> '$.context', o.value ->> '$.dialect',
       o.value ->> '$.model_asked', o.value ->> '$.provider_id', o.value ->> '$.provider_slug', o.value ->> '$.deployment_id',
       o.value ->> '$.model_name', o.value ->> '$.price_id', o.value -> '$.price_card', o.value ->> '$.stream',
       o.value ->> '$.hold_nano', o.value ->> '$.hold_tokens', o.value -> '$.budget_period_ids', o.value ->> '$.dispatched_at', ''
FROM json_each(%s) o
WHERE true
ON CONFLICT DO NOTHING
RETURNING id
"""

EXISTING_ATTEMPTS = "SELECT id FROM usage_attempt WHERE id IN (SELECT value FROM json_each(%s))"

FIND_ORPHANS = """
SELECT a.id, a.hold_nano FROM usage_attempt a
WHERE a.status = 'dispatched' AND NOT EXISTS (
    SELECT 1 FROM usage_gatewayprocess p WHERE p.id = a.process_id AND p.stopped_at IS NULL AND p.heartbeat_at >= %s)
ORDER BY a.id LIMIT %s
"""

CHANGE_PERIODS = """
UPDATE usage_budgetperiod
SET posted_nano = posted_nano + (d.value ->> '$.posted_nano'), held_nano = held_nano + (d.value ->> '$.held_nano'),
    posted_tokens = posted_tokens + (d.value ->> '$.posted_tokens'), held_tokens = held_tokens + (d.value ->> '$.held_tokens'),
    requests = requests + (d.value ->> '$.requests')
FROM json_each(%s) d, usage_budget b
WHERE usage_budgetperiod.id = d.value ->> '$.id' AND b.id = usage_budgetperiod.budget_id AND (b.enforcement <> 'hard' OR (
    (d.value ->> '$.wanted_nano' = 0 OR b.cap_nano IS NULL
     OR posted_nano + (d.value ->> '$.posted_nano') + held_nano + (d.value ->> '$.held_nano') <= b.cap_nano)
    AND (d.value ->> '$.wanted_tokens' = 0 OR b.cap_tokens IS NULL
         OR posted_tokens + (d.value ->> '$.posted_tokens') + held_tokens + (d.value ->> '$.held_tokens') <= b.cap_tokens)
    AND (d.value ->> '$.requests' = 0 OR b.cap_requests IS NULL
         OR usage_budgetperiod.requests + (d.value ->> '$.requests') <= b.cap_requests)))
"""


class SqliteStatements:
    """Implements ``usage.sql.rows.Statements``."""

    def open(self, cursor: CursorWrapper) -> Opening:
        cursor.execute(VERSION)
        row = cursor.fetchone()
        return Opening(row[0] if row else 0)

    def close_attempts(self, cursor: CursorWrapper, rows: Sequence[ClosingRow], now: datetime) -> list[ClosedAttempt]:
        cursor.execute(CLOSE, [_stamp(now), encode(rows)])
        closed = {row[0]: row for row in cursor.fetchall()}
        lines = [row for row in rows if row.cost_nano is not None and row.attempt_id in closed]
        posted: PostedLines = {}
        if lines:
            cursor.execute(POST, [encode(lines)])
            posted = _posted(cursor)
        return [_closed(row, posted) for row in closed.values()]

    def correct_orphans(self, cursor: CursorWrapper, rows: Sequence[ClosingRow], now: datetime) -> list[ClosedAttempt]:
        cursor.execute(CORRECT, [_stamp(now), encode(rows)])
        posted = _posted(cursor)
        cursor.execute(CLOSE_ORPHANS, [_stamp(now), encode([row for row in rows if row.attempt_id in posted])])
        return [_closed(row, posted) for row in cursor.fetchall()]

    def resolve_periods(self, cursor: CursorWrapper, wanted: Collection[tuple[int, str]]) -> dict[tuple[int, str], int]:
        asked = msgspec.json.encode([{"budget_id": budget_id, "key": key} for budget_id, key in wanted]).decode()
        cursor.execute(MAKE_PERIODS, [asked])
        cursor.execute(FIND_PERIODS, [asked])
        return {(budget_id, key): period_id for budget_id, key, period_id in cursor.fetchall()}

    def lock_periods(self, cursor: CursorWrapper, ids: Collection[int]) -> dict[int, LockedPeriod]:
        cursor.execute(READ_PERIODS, [json.dumps([*ids])])
        return {row[0]: LockedPeriod(*row) for row in cursor.fetchall()}

    def insert_attempts(self, cursor: CursorWrapper, rows: Sequence[AttemptRow]) -> set[UUID]:
        cursor.execute(INSERT_ATTEMPTS, [encode(rows)])
        return {UUID(hex=row[0]) for row in cursor.fetchall()}

    def existing_attempts(self, cursor: CursorWrapper, ids: Collection[UUID]) -> set[UUID]:
        cursor.execute(EXISTING_ATTEMPTS, [json.dumps([each.hex for each in ids])])
        return {UUID(hex=row[0]) for row in cursor.fetchall()}

    def find_orphans(self, cursor: CursorWrapper, alive_since: datetime, limit: int) -> list[tuple[UUID, int]]:
        cursor.execute(FIND_ORPHANS, [_stamp(alive_since), limit])
        return [(UUID(hex=row[0]), row[1]) for row in cursor.fetchall()]

    def change_periods(self, cursor: CursorWrapper, changes: Sequence[PeriodChange]) -> int:
        cursor.execute(CHANGE_PERIODS, [encode(changes)])
        return int(cursor.rowcount)


def _stamp(instant: datetime) -> str:
    """As Django stores instants in SQLite: UTC without offset."""
    return str(instant.astimezone(UTC).replace(tzinfo=None))


def _posted(cursor: CursorWrapper) -> PostedLines:
    return {attempt_id: (cost_nano, quota_tokens) for attempt_id, cost_nano, quota_tokens in cursor.fetchall()}


def _closed(row: tuple[Any, ...], posted: PostedLines) -> ClosedAttempt:
    cost_nano, quota_tokens = posted.get(row[0], (0, 0))
    return ClosedAttempt(
        id=UUID(hex=row[0]),
        released_nano=row[1],
        posted_nano=cost_nano,
        released_tokens=row[2],
        posted_tokens=quota_tokens,
        period_ids=json.loads(row[3]),
    )
