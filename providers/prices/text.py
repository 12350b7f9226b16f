"""Tiers and windows as lines people can type and read, amounts in units of the card's currency per million tokens.

``above 200000: input 6, output 22.50, cache read 0.60``
``16:30-00:30 UTC: input 0.135, output 0.55`` and, for a tier inside a window, ``16:30-00:30 UTC above 128000: input ...``
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Final

from django.core.exceptions import ValidationError

from providers.fields import nano_from_dollars
from providers.rates import BUCKET_OF_RATE
from providers.upstream.types import JsonObject

_RATE_OF_BUCKET: Final = {bucket: rate for rate, bucket in BUCKET_OF_RATE.items()}
_TIER_LINE: Final = re.compile(r"above\s+(?P<above>\d[\d,_]*)\s*:\s*(?P<rates>.*)", re.IGNORECASE)
_WINDOW_LINE: Final = re.compile(
    r"(?P<start>\d\d:\d\d)\s*[-\u2013]\s*(?P<end>\d\d:\d\d)(?:\s+(?P<zone>(?!above\b)[A-Za-z][\w+/-]*))?"
    r"(?:\s+above\s+(?P<above>\d[\d,_]*))?\s*:\s*(?P<rates>.*)",
    re.IGNORECASE,
)
_RATE: Final = re.compile(r"(?P<bucket>[a-z][a-z0-9 ]*?)\s+\$?(?P<amount>\d+(?:\.\d+)?)", re.IGNORECASE)
TIERS_EXAMPLE: Final = "above 200000: input 6, output 22.50, cache read 0.60"
WINDOWS_EXAMPLE: Final = "16:30-00:30 UTC: input 0.135, output 0.55, cache read 0.035"


def tiers_from_text(text: str) -> list[JsonObject]:
    """One tier a line. Raises ``ValidationError`` naming the line; whether the tiers make sense is ``check_parts``' to say."""
    tiers: list[JsonObject] = []
    for number, line in _lines(text):
        match = _TIER_LINE.fullmatch(line)
        if match is None:
            raise _wrong(number, f"write it like: {TIERS_EXAMPLE}")
        tiers.append({"above_input_tokens": _count(match["above"]), **_rates(number, match["rates"])})
    return tiers


def windows_from_text(text: str) -> list[JsonObject]:
    """One window, or one tier of the window before it, a line. Raises ``ValidationError`` naming the line."""
    windows: list[JsonObject] = []
    for number, line in _lines(text):
        match = _WINDOW_LINE.fullmatch(line)
        if match is None:
            raise _wrong(number, f"write it like: {WINDOWS_EXAMPLE}")
        span = {"start": match["start"], "end": match["end"], "zone": match["zone"] or "UTC"}
        rates = _rates(number, match["rates"])
        if match["above"] is None:
            windows.append({**span, **rates})
            continue
        owner = windows[-1] if windows else {}
        if {name: owner.get(name) for name in span} != span:
            raise _wrong(number, "a tier follows the line of its own window")
        owner.setdefault("context_tiers", []).append({"above_input_tokens": _count(match["above"]), **rates})
    return windows


def tiers_text(tiers: Iterable[JsonObject]) -> str:
    """What ``tiers_from_text`` reads back."""
    return "\n".join(_tier_line("", tier) for tier in tiers)


def windows_text(windows: Iterable[JsonObject]) -> str:
    """What ``windows_from_text`` reads back."""
    lines: list[str] = []
    for window in windows:
        span = f"{window['start']}-{window['end']} {window.get('zone', 'UTC')}"
        lines.append(f"{span}: {_rates_text(window)}")
        lines += [_tier_line(f"{span} ", tier) for tier in window.get("context_tiers", ())]
    return "\n".join(lines)


def amount_text(nano: int) -> str:
    """The shortest exact decimal text of an amount."""
    return f"{Decimal(nano).scaleb(-9).normalize():f}"


def _tier_line(span: str, tier: JsonObject) -> str:
    return f"{span}above {tier['above_input_tokens']}: {_rates_text(tier)}"


def _rates_text(rates: JsonObject) -> str:
    named = ((bucket, rates.get(rate)) for rate, bucket in BUCKET_OF_RATE.items())
    return ", ".join(f"{bucket} {amount_text(nano)}" for bucket, nano in named if nano is not None)


def _lines(text: str) -> list[tuple[int, str]]:
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _rates(number: int, text: str) -> JsonObject:
    rates: JsonObject = {}
    for piece in filter(None, (piece.strip() for piece in text.split(","))):
        match = _RATE.fullmatch(piece)
        bucket = " ".join(match["bucket"].lower().split()) if match else ""
        if match is None or bucket not in _RATE_OF_BUCKET:
            raise _wrong(number, f"'{piece[:40]}' is no price. Known: {', '.join(_RATE_OF_BUCKET)}, each with an amount")
        if _RATE_OF_BUCKET[bucket] in rates:
            raise _wrong(number, f"{bucket} has two prices")
        rates[_RATE_OF_BUCKET[bucket]] = _nano(number, match["amount"])
    return rates


def _nano(number: int, amount: str) -> int:
    try:
        return nano_from_dollars(Decimal(amount))
    except (ValueError, InvalidOperation) as error:
        raise _wrong(number, f"{amount[:40]}: an amount has at most nine decimal places") from error


def _count(digits: str) -> int:
    return int(digits.replace(",", "").replace("_", "")[:20])


def _wrong(number: int, message: str) -> ValidationError:
    return ValidationError(f"Line {number}: {message}.")
