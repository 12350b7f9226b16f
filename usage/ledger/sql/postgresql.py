"""The posting transaction on PostgreSQL. Values travel as parameters only."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from django.db.backends.utils import CursorWrapper

from usage.ledger.sql.rows import AttemptRow, ClosedAttempt, ClosingRow, LockedPeriod, Opening, PeriodChange, encode

LOCK_TIMEOUT = "500ms"
STATEMENT_TIMEOUT = "2s"

OPEN = """
SELECT set_config('lock_timeout', %s, true), set_config('statement_timeout', %s, true),
       (SELECT version FROM providers_configversion WHERE id = 1), clock_timestamp()
"""

# Attempts are looked up by id alone and filtered by status afterwards: otherwise the planner may walk the partial index of open
# attempts, which is full of dead entries between two vacuums.
CLOSE = """
WITH c AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%s::json) AS c(
        attempt_id uuid, status text, cost_nano bigint, basis text, upstream_id text, error_code text, note text,
        latency_ms integer, first_byte_ms integer, input_tokens bigint, cache_read_tokens bigint, cache_write_tokens bigint,
        cache_write_1h_tokens bigint, output_tokens bigint, reasoning_tokens bigint, audio_input_tokens bigint,
        audio_output_tokens bigint, image_input_tokens bigint, quota_tokens bigint, reported_cost_nano bigint,
        provider_tool_calls bigint)
), locked AS MATERIALIZED (
    SELECT a.id, a.status FROM usage_attempt a
    WHERE a.id = ANY((SELECT array_agg(attempt_id) FROM c)::uuid[]) ORDER BY a.id FOR NO KEY UPDATE
), closed AS (
    UPDATE usage_attempt a
    SET status = c.status, closed_at = %s, error_code = c.error_code, latency_ms = c.latency_ms, first_byte_ms = c.first_byte_ms
    FROM locked l JOIN c ON c.attempt_id = l.id WHERE a.id = l.id AND l.status = 'dispatched'
    RETURNING a.*
), posted AS (
    INSERT INTO usage_ledgerentry (
        attempt_id, kind, basis, cost_nano, posted_at, dispatched_at, request_id, attempt_no, upstream_id, user_id, api_key_id,
        team_id, context, provider_id, provider_slug, deployment_id, model_name, input_tokens, cache_read_tokens, cache_write_tokens,
        cache_write_1h_tokens, output_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens, image_input_tokens, quota_tokens,
        reported_cost_nano, provider_tool_calls, price_id, price_card, error_code, note)
    SELECT a.id, 'usage', c.basis, c.cost_nano, a.closed_at, a.dispatched_at, a.request_id, a.attempt_no, c.upstream_id, a.user_id,
           a.api_key_id, a.team_id, a.context, a.provider_id, a.provider_slug, a.deployment_id, a.model_name, c.input_tokens,
           c.cache_read_tokens, c.cache_write_tokens, c.cache_write_1h_tokens, c.output_tokens, c.reasoning_tokens,
           c.audio_input_tokens, c.audio_output_tokens, c.image_input_tokens, coalesce(c.quota_tokens, a.hold_tokens),
           c.reported_cost_nano, c.provider_tool_calls, a.price_id, a.price_card, c.error_code, c.note
    FROM closed a JOIN c ON c.attempt_id = a.id WHERE c.cost_nano IS NOT NULL ORDER BY a.id
    ON CONFLICT DO NOTHING
    RETURNING attempt_id, cost_nano, quota_tokens
)
SELECT a.id, a.hold_nano, coalesce(p.cost_nano, 0), a.hold_tokens, coalesce(p.quota_tokens, 0), a.budget_period_ids::text
FROM closed a LEFT JOIN posted p ON p.attempt_id = a.id
"""

CORRECT = """
WITH c AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%s::json) AS c(
        attempt_id uuid, status text, cost_nano bigint, basis text, upstream_id text, error_code text, note text,
        latency_ms integer, first_byte_ms integer, input_tokens bigint, cache_read_tokens bigint, cache_write_tokens bigint,
        cache_write_1h_tokens bigint, output_tokens bigint, reasoning_tokens bigint, audio_input_tokens bigint,
        audio_output_tokens bigint, image_input_tokens bigint, quota_tokens bigint, reported_cost_nano bigint,
        provider_tool_calls bigint)
), locked AS MATERIALIZED (
    SELECT a.* FROM usage_attempt a
    WHERE a.id = ANY((SELECT array_agg(attempt_id) FROM c)::uuid[]) ORDER BY a.id FOR NO KEY UPDATE
), corrected AS (
    INSERT INTO usage_ledgerentry (
        attempt_id, kind, basis, cost_nano, posted_at, dispatched_at, request_id, attempt_no, upstream_id, user_id, api_key_id,
        team_id, context, provider_id, provider_slug, deployment_id, model_name, input_tokens, cache_read_tokens, cache_write_tokens,
        cache_write_1h_tokens, output_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens, image_input_tokens, quota_tokens,
        reported_cost_nano, provider_tool_calls, price_id, price_card, error_code, note)
    SELECT a.id, 'correction', c.basis, coalesce(c.cost_nano, 0) - estimated.cost_nano, %s, a.dispatched_at, a.request_id,
           a.attempt_no, c.upstream_id, a.user_id, a.api_key_id, a.team_id, a.context, a.provider_id, a.provider_slug,
           a.deployment_id, a.model_name, c.input_tokens, c.cache_read_tokens, c.cache_write_tokens, c.cache_write_1h_tokens,
           c.output_tokens, c.reasoning_tokens, c.audio_input_tokens, c.audio_output_tokens, c.image_input_tokens,
           CASE WHEN c.cost_nano IS NULL THEN 0 ELSE coalesce(c.quota_tokens, a.hold_tokens) END - estimated.quota_tokens,
           c.reported_cost_nano, c.provider_tool_calls, a.price_id, a.price_card, c.error_code,
           'replaces the estimate made when the process stopped reporting'
    FROM locked a JOIN c ON c.attempt_id = a.id
    JOIN usage_ledgerentry estimated ON estimated.attempt_id = a.id AND estimated.kind = 'usage'
    WHERE a.status = 'estimated' AND a.error_code = 'orphaned' ORDER BY a.id
    ON CONFLICT DO NOTHING
    RETURNING attempt_id, cost_nano, quota_tokens, posted_at
), closed AS (
    UPDATE usage_attempt a
    SET status = c.status, closed_at = k.posted_at, error_code = c.error_code, latency_ms = c.latency_ms,
        first_byte_ms = c.first_byte_ms
    FROM corrected k JOIN c ON c.attempt_id = k.attempt_id WHERE a.id = k.attempt_id
)
SELECT a.id, 0, k.cost_nano, 0, k.quota_tokens, a.budget_period_ids::text FROM locked a JOIN corrected k ON k.attempt_id = a.id
"""

MAKE_PERIODS = """
INSERT INTO usage_budgetperiod (budget_id, key, posted_nano, held_nano, posted_tokens, held_tokens, requests)
SELECT b.id, w.key, 0, 0, 0, 0, 0
FROM json_to_recordset(%s::json) AS w(budget_id bigint, key text) JOIN usage_budget b ON b.id = w.budget_id
ORDER BY b.id, w.key
ON CONFLICT (budget_id, key) DO NOTHING
"""

FIND_PERIODS = """
SELECT p.budget_id, p.key, p.id FROM json_to_recordset(%s::json) AS w(budget_id bigint, key text)
JOIN usage_budgetperiod p ON p.budget_id = w.budget_id AND p.key = w.key
"""

LOCK_PERIODS = """
SELECT p.id, p.budget_id, p.key, p.posted_nano, p.held_nano, p.posted_tokens, p.held_tokens, p.requests,
       b.cap_nano, b.cap_tokens, b.cap_requests, b.enforcement, b.scope, b.period, coalesce(r.name, ''),
       b.charge_failed_attempts
FROM usage_budgetperiod p JOIN usage_budget b ON b.id = p.budget_id
LEFT JOIN providers_route r ON r.id = b.fallback_route_id AND r.enabled
WHERE p.id = ANY(%s::bigint[]) ORDER BY p.id FOR NO KEY UPDATE OF p
"""

INSERT_ATTEMPTS = """
INSERT INTO usage_attempt (
    id, request_id, attempt_no, process_id, status, user_id, api_key_id, team_id, context, dialect, model_asked, provider_id,
    provider_slug, deployment_id, model_name, price_id, price_card, stream, hold_nano, hold_tokens, budget_period_ids, dispatched_at,
    error_code)
SELECT id, request_id, attempt_no, process_id, 'dispatched', user_id, api_key_id, team_id, context, dialect, model_asked, provider_id,
       provider_slug, deployment_id, model_name, price_id, price_card, stream, hold_nano, hold_tokens, budget_period_ids,
       dispatched_at AT TIME ZONE 'UTC', ''
FROM json_to_recordset(%s::json) AS o(
    id uuid, request_id text, attempt_no smallint, process_id uuid, user_id bigint, api_key_id text, team_id bigint, context text,
    dialect text, model_asked text, provider_id bigint, provider_slug text, deployment_id bigint, model_name text, price_id bigint,
    price_card jsonb, stream boolean, hold_nano bigint, hold_tokens bigint, budget_period_ids jsonb, dispatched_at timestamp)
ORDER BY id
ON CONFLICT DO NOTHING
RETURNING id
"""

EXISTING_ATTEMPTS = "SELECT id FROM usage_attempt WHERE id = ANY(%s::uuid[])"

FIND_ORPHANS = """
SELECT a.id, a.hold_nano FROM usage_attempt a
WHERE a.status = 'dispatched' AND NOT EXISTS (
    SELECT FROM usage_gatewayprocess p WHERE p.id = a.process_id AND p.stopped_at IS NULL AND p.heartbeat_at >= %s)
ORDER BY a.id LIMIT %s
"""

CHANGE_PERIODS = """
UPDATE usage_budgetperiod p
SET posted_nano = p.posted_nano + d.posted_nano, held_nano = p.held_nano + d.held_nano,
    posted_tokens = p.posted_tokens + d.posted_tokens, held_tokens = p.held_tokens + d.held_tokens, requests = p.requests + d.requests
FROM json_to_recordset(%s::json) AS d(
    id bigint, posted_nano bigint, held_nano bigint, wanted_nano bigint, posted_tokens bigint, held_tokens bigint, wanted_tokens bigint,
    requests bigint), usage_budget b
WHERE p.id = d.id AND b.id = p.budget_id AND (b.enforcement <> 'hard' OR (
    (d.wanted_nano = 0 OR b.cap_nano IS NULL OR p.posted_nano + d.posted_nano + p.held_nano + d.held_nano <= b.cap_nano)
    AND (d.wanted_tokens = 0 OR b.cap_tokens IS NULL
         OR p.posted_tokens + d.posted_tokens + p.held_tokens + d.held_tokens <= b.cap_tokens)
    AND (d.requests = 0 OR b.cap_requests IS NULL OR p.requests + d.requests <= b.cap_requests)))
"""


class PostgresStatements:
    """Implements ``usage.sql.rows.Statements``."""

    def open(self, cursor: CursorWrapper) -> Opening:
        cursor.execute(OPEN, [LOCK_TIMEOUT, STATEMENT_TIMEOUT])
        *_, version, now = cursor.fetchone()
        return Opening(version or 0, now)

    def close_attempts(self, cursor: CursorWrapper, rows: Sequence[ClosingRow], now: datetime) -> list[ClosedAttempt]:
        cursor.execute(CLOSE, [encode(rows), now])
        return [_closed(row) for row in cursor.fetchall()]

    def correct_orphans(self, cursor: CursorWrapper, rows: Sequence[ClosingRow], now: datetime) -> list[ClosedAttempt]:
        cursor.execute(CORRECT, [encode(rows), now])
        return [_closed(row) for row in cursor.fetchall()]

    def resolve_periods(self, cursor: CursorWrapper, wanted: Collection[tuple[int, str]]) -> dict[tuple[int, str], int]:
        asked = msgspec.json.encode([{"budget_id": budget_id, "key": key} for budget_id, key in wanted]).decode()
        cursor.execute(MAKE_PERIODS, [asked])
        cursor.execute(FIND_PERIODS, [asked])
        return {(budget_id, key): period_id for budget_id, key, period_id in cursor.fetchall()}

    def lock_periods(self, cursor: CursorWrapper, ids: Collection[int]) -> dict[int, LockedPeriod]:
        cursor.execute(LOCK_PERIODS, [list(ids)])
        return {row[0]: LockedPeriod(*row) for row in cursor.fetchall()}

    def insert_attempts(self, cursor: CursorWrapper, rows: Sequence[AttemptRow]) -> set[UUID]:
        cursor.execute(INSERT_ATTEMPTS, [encode(rows)])
        return {row[0] for row in cursor.fetchall()}

    def existing_attempts(self, cursor: CursorWrapper, ids: Collection[UUID]) -> set[UUID]:
        cursor.execute(EXISTING_ATTEMPTS, [list(ids)])
        return {row[0] for row in cursor.fetchall()}

    def find_orphans(self, cursor: CursorWrapper, alive_since: datetime, limit: int) -> list[tuple[UUID, int]]:
        cursor.execute(FIND_ORPHANS, [alive_since, limit])
        return [(row[0], row[1]) for row in cursor.fetchall()]

    def change_periods(self, cursor: CursorWrapper, changes: Sequence[PeriodChange]) -> int:
        cursor.execute(CHANGE_PERIODS, [encode(changes)])
        return int(cursor.rowcount)


def _closed(row: tuple[Any, ...]) -> ClosedAttempt:
    return ClosedAttempt(id=row[0], released_nano=row[1], posted_nano=row[2], released_tokens=row[3], posted_tokens=row[4],
                         period_ids=json.loads(row[5]))  # fmt: skip
