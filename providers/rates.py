"""What a price card must satisfy, in one place for actions, forms, the API and imports.

Tiers and windows are stored as JSON objects whose amounts are integer nano-dollars under the names of ``Rates``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, TypeGuard
from zoneinfo import available_timezones

from django.core.exceptions import ValidationError

from providers.upstream.types import JsonObject, Rates

RATES: Final = tuple(rate.name for rate in fields(Rates))
PRICE_FIGURES: Final = (*RATES, "request_nano", "tool_call_nano")
"""The amounts of a ``Price`` row, the two that every card has first."""
REQUIRED_RATES: Final = ("input_nano_per_mtok", "output_nano_per_mtok")
BUCKET_OF_RATE: Final = {rate: rate.removesuffix("_nano_per_mtok").replace("_", " ") for rate in RATES}
"""What people call a rate: ``cache read``."""
NANO_MAX: Final = 10**18
"""A billion dollars: the most a form takes, well inside the column."""
TIERS_MAX: Final = 20
WINDOWS_MAX: Final = 48
INPUT_TOKENS_MAX: Final = 10**9
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_TIER_NAMES: Final = {"above_input_tokens", *RATES}
_WINDOW_NAMES: Final = {"start", "end", "zone", "context_tiers", *RATES}
_MINUTES_PER_DAY: Final = 24 * 60


class _Refused(ValueError):
    """One part of the card breaks a rule; the message is for people."""


def check_parts(context_tiers: Any, windows: Any) -> tuple[list[JsonObject], list[JsonObject]]:
    """Both in their stored form: zone named, no empty rates, windows by start. Raises ``ValidationError`` by field."""
    errors: dict[str, list[str]] = {}
    tiers: list[JsonObject] = []
    by_time: list[JsonObject] = []
    try:
        tiers = _tiers(context_tiers)
    except _Refused as refusal:
        errors["context_tiers"] = [str(refusal)]
    try:
        by_time = _windows(windows)
    except _Refused as refusal:
        errors["windows"] = [str(refusal)]
    if errors:
        raise ValidationError(errors)
    return tiers, by_time


def _tiers(value: Any) -> list[JsonObject]:
    rows = [_tier(row) for row in _objects(value, "tier", TIERS_MAX)]
    bounds = [row["above_input_tokens"] for row in rows]
    if any(later <= earlier for earlier, later in pairwise(bounds)):
        raise _Refused("Tiers rise: each begins above more input tokens than the one before it.")
    return rows


def _tier(row: JsonObject) -> JsonObject:
    _only(row, _TIER_NAMES, "tier")
    bound = row.get("above_input_tokens")
    if not _is_whole(bound) or not 0 < bound <= INPUT_TOKENS_MAX:
        raise _Refused(f"A tier begins above a whole number of input tokens, 1 to {INPUT_TOKENS_MAX:,}.")
    return {"above_input_tokens": bound, **_rates(row, f"the tier above {bound:,} tokens")}


def _windows(value: Any) -> list[JsonObject]:
    rows = sorted((_window(row) for row in _objects(value, "window", WINDOWS_MAX)), key=lambda row: str(row["start"]))
    if len({row["zone"] for row in rows}) > 1:
        raise _Refused("All windows of a price are in one time zone; in two, whether they overlap would depend on the date.")
    taken: dict[int, JsonObject] = {}
    for row in rows:
        for minute in _minutes(row):
            other = taken.setdefault(minute, row)
            if other is not row:
                raise _Refused(f"The windows {_span(other)} and {_span(row)} overlap.")
    return rows


def _window(row: JsonObject) -> JsonObject:
    _only(row, _WINDOW_NAMES, "window")
    start, end, zone = row.get("start"), row.get("end"), row.get("zone", "UTC")
    for time in (start, end):
        if not isinstance(time, str) or _CLOCK.fullmatch(time) is None:
            raise _Refused("A window has a start and an end as HH:MM, 00:00 to 23:59; midnight as an end is 00:00.")
    if start == end:
        raise _Refused("A window that covers the whole day is no window: give the price itself these rates.")
    if not isinstance(zone, str) or zone not in _zones():
        raise _Refused(f"'{str(zone)[:40]}' is no time zone. Use an IANA name, for example UTC or Asia/Shanghai.")
    try:
        tiers = _tiers(row.get("context_tiers", []))
    except _Refused as refusal:
        raise _Refused(f"In the window {start}-{end}: {refusal}") from refusal
    own = {"start": start, "end": end, "zone": zone, **_rates(row, f"the window {start}-{end}")}
    return {**own, "context_tiers": tiers} if tiers else own


def _minutes(window: JsonObject) -> range | list[int]:
    start, end = _minute(window["start"]), _minute(window["end"])
    return range(start, end) if start < end else [*range(start, _MINUTES_PER_DAY), *range(end)]


def _minute(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:])


def _span(window: JsonObject) -> str:
    return f"{window['start']}-{window['end']}"


def _rates(row: JsonObject, where: str) -> JsonObject:
    rates: JsonObject = {}
    for name in RATES:
        amount = row.get(name)
        if amount is None:
            if name in REQUIRED_RATES:
                raise _Refused(f"{BUCKET_OF_RATE[name].capitalize()} has no price in {where}.")
            continue
        if not _is_whole(amount) or not 0 <= amount <= NANO_MAX:
            raise _Refused(f"The {BUCKET_OF_RATE[name]} price in {where} is no amount of 0 to a billion dollars.")
        rates[name] = amount
    return rates


def _objects(value: Any, what: str, most: int) -> list[JsonObject]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(row, dict) for row in value):
        raise _Refused(f"This is a list of {what}s, each a JSON object.")
    if len(value) > most:
        raise _Refused(f"A price has at most {most} {what}s.")
    return [*value]


def _only(row: Mapping[str, Any], known: set[str], what: str) -> None:
    unknown = sorted(str(name) for name in row if name not in known)
    if unknown:
        raise _Refused(f"A {what} has no '{unknown[0][:40]}'. It has: {', '.join(sorted(known))}.")


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())
