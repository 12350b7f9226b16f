"""Statements on measured lines by price card, its tier and the model asked for.

They are put together from names of ours; values travel as parameters.
"""

# ruff: noqa: S608 - see above: no text of a caller ever becomes part of a statement

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec
from django.db import connection

from usage.money import COUNTS, INPUT_BUCKETS, card_from_json
from usage.reports.sql.totals import LEDGER, Params, instant_parameter, line_value

BY_CARD: Final = "usage_usagebycard"
OWN_RATES: Final = -1
"""``above_input_tokens`` where no tier of the card applies."""
KEY: Final = (
    "slot", "team_id", "context", "provider_slug", "model_name", "deployment_id", "model_asked", "card_md5", "above_input_tokens"
)  # fmt: skip
SUMS: Final = ("lines", "cost_nano", *COUNTS)

_ASKED: Final = "coalesce(a.model_asked, '')"
_INPUT: Final = " + ".join(f"coalesce(e.{bucket}, 0)" for bucket in INPUT_BUCKETS)
_OF_LINE: Final = {
    "postgresql": {
        "slot": "date_bin('1 day', e.dispatched_at, TIMESTAMPTZ '1970-01-01 00:00+00')",
        "card_md5": "md5(e.price_card::text)",
        "above_input_tokens": "coalesce((SELECT max(bound::numeric) FROM "
        "jsonb_path_query(e.price_card, 'lax $.context_tiers[*].above_input_tokens ? (@ >= 0)') bound "
        f"WHERE bound::numeric < {_INPUT}), {OWN_RATES})",
    },
    "sqlite": {
        "slot": "strftime('%%Y-%%m-%%d 00:00:00', e.dispatched_at)",
        "card_md5": "card_md5(e.price_card)",
        "above_input_tokens": f"card_tier(e.price_card, {_INPUT})",
    },
}
_FROM: Final = f"{LEDGER} e LEFT JOIN usage_attempt a ON a.id = e.attempt_id"
_MEASURED: Final = "e.kind = 'usage' AND e.basis = 'measured'"


def add_lines(after: int, upto: int) -> None:
    """Into the sums by card; lines that do not count are passed over."""
    _prepare()
    added = ", ".join(f"{column} = {BY_CARD}.{column} + excluded.{column}" for column in SUMS)
    keys = ", ".join(_key(column) for column in KEY)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {BY_CARD} ({', '.join((*KEY, *SUMS))}, price_card) "
            f"SELECT {keys}, {', '.join(f'sum({_sum(column)})' for column in SUMS)}, {_any_card('e')} "
            f"FROM {_FROM} WHERE {_MEASURED} AND e.id > %s AND e.id <= %s GROUP BY {', '.join(map(str, range(1, len(KEY) + 1)))} "
            f"ON CONFLICT ({', '.join(KEY)}) DO UPDATE SET {added}",
            [after, upto],
        )


def from_sums(start: datetime, end: datetime, conditions: Mapping[str, str | int]) -> tuple[str, Params]:
    """Of whole UTC days; ``conditions`` are columns and what they must equal."""
    wanted = "".join(f" AND {column} = %s" for column in conditions)
    statement = (
        f"SELECT {', '.join((*KEY[3:], *SUMS))}, {_text('price_card')} AS card FROM {BY_CARD} WHERE slot >= %s AND slot < %s{wanted}"
    )
    return statement, [instant_parameter(start), instant_parameter(end), *conditions.values()]


def from_lines(start: datetime, end: datetime, conditions: Mapping[str, str | int], after: int = 0) -> tuple[str, Params]:
    """Of the lines with ids above ``after``, in the same columns."""
    _prepare()
    keys = ", ".join(f"{_key(column)} AS {column}" for column in KEY[3:])
    sums = ", ".join(f"{_sum(column)} AS {column}" for column in SUMS)
    where, params = of_lines(start, end, conditions)
    params += [after] if after else []
    return f"SELECT {keys}, {sums}, {_text('e.price_card')} AS card FROM {where}" + (" AND e.id > %s" if after else ""), params


def of_lines(start: datetime, end: datetime, conditions: Mapping[str, str | int]) -> tuple[str, Params]:
    """Measured lines ``e`` and their attempts ``a``: what stands behind FROM."""
    wanted = "".join(f" AND {_condition(column)} = %s" for column in conditions)
    statement = f"{_FROM} WHERE {_MEASURED} AND e.dispatched_at >= %s AND e.dispatched_at < %s{wanted}"
    return statement, [instant_parameter(start), instant_parameter(end), *conditions.values()]


def _condition(column: str) -> str:
    return _ASKED if column == "model_asked" else line_value(column)


def _key(column: str) -> str:
    if column == "model_asked":
        return _ASKED
    return _OF_LINE[connection.vendor].get(column) or line_value(column)


def _sum(column: str) -> str:
    return f"coalesce(e.{column}, 0)" if column in COUNTS else line_value(column)


def _text(column: str) -> str:
    return f"{column}::text" if connection.vendor == "postgresql" else column


def _any_card(table: str) -> str:
    """Of lines whose cards are the same."""
    return f"min({table}.price_card::text)::jsonb" if connection.vendor == "postgresql" else f"min({table}.price_card)"


def _prepare() -> None:
    """What SQLite does not have."""
    if connection.vendor == "sqlite":
        connection.ensure_connection()
        connection.connection.create_function("card_md5", 1, _md5, deterministic=True)
        connection.connection.create_function("card_tier", 2, _tier, deterministic=True)


def _md5(stored: str) -> str:
    return hashlib.md5(stored.encode(), usedforsecurity=False).hexdigest()


def _tier(stored: str, input_tokens: int) -> int:
    try:
        tiers = card_from_json(json.loads(stored)).context_tiers
    except msgspec.ValidationError:
        return OWN_RATES
    return max((tier.above_input_tokens for tier in tiers if input_tokens > tier.above_input_tokens), default=OWN_RATES)
