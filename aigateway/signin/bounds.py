"""How often somebody may try: counted before the answer is known, in the database, for all processes together (C23).

A try is counted first and given back when it was right, so twenty at once pass no bound that twenty in turn would not.
What is refused counts nothing: no wait grows while somebody knocks at a closed door.

Nobody can shut out a person from elsewhere: a browser that signed in before (its cookie is signed) passes all bounds but its
own, and an address that signed in as this user before passes those that others fill (see OWASP, "device cookies").
"""

from __future__ import annotations

import hmac
import ipaddress
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F

from aigateway.models import TryCount
from providers import clock

MINUTE_S = 60
KEPT_S = 24 * 60 * MINUTE_S


class TooManyTries(Exception):
    """Refused without looking at the credentials. ``wait_s`` says when to come back."""

    def __init__(self, wait_s: float) -> None:
        super().__init__("too many tries")
        self.wait_s = max(1, math.ceil(wait_s))


@dataclass(frozen=True, slots=True)
class Bound:
    """``tries`` in ``window_s`` seconds. With ``pause_max_s`` further ones are let in after pauses that double up to it, and all
    is forgotten when nobody tried for ``window_s``."""

    name: str
    tries: int
    window_s: int
    pause_max_s: int | None = None

    def bucket(self, *parts: str) -> Bucket:
        return Bucket(self, f"{self.name}:{_hashed(*parts)}")


@dataclass(frozen=True, slots=True)
class Bucket:
    bound: Bound
    key: str


OVERALL = Bound("overall", 120, MINUTE_S)
ADDRESS = Bound("address", 20, 15 * MINUTE_S)
NAME_AT_ADDRESS = Bound("name-at-address", 5, 15 * MINUTE_S)
NAME = Bound("name", 10, 60 * MINUTE_S, pause_max_s=5 * MINUTE_S)
DEVICE = Bound("device", 10, 15 * MINUTE_S)
RESET_ADDRESS = Bound("reset-address", 10, 60 * MINUTE_S)
RESET_NAME = Bound("reset-name", 3, 60 * MINUTE_S)
RESET_OVERALL = Bound("reset-overall", 60, 60 * MINUTE_S)
OPENID_ADDRESS = Bound("openid-address", 30, 15 * MINUTE_S)


@dataclass(frozen=True, slots=True)
class Try:
    """One try that was let in."""

    buckets: tuple[Bucket, ...]

    def succeeded(self) -> None:
        """Gives it back. What counts for this name begins anew; others share the rest."""
        keys = [bucket.key for bucket in self.buckets]
        own = [bucket.key for bucket in self.buckets if bucket.bound in (NAME, NAME_AT_ADDRESS, DEVICE)]
        with transaction.atomic():
            for key in sorted(keys):
                if key in own:
                    TryCount.objects.filter(bucket=key).delete()
                else:
                    TryCount.objects.filter(bucket=key, count__gt=0).update(count=F("count") - 1)


def count_try(buckets: Iterable[Bucket]) -> Try:
    """Counts a try in every bucket, or in none. Raises ``TooManyTries``."""
    counted = tuple(sorted(buckets, key=lambda bucket: bucket.key))  # one order for all: no deadlock
    now = clock.database_now()
    with transaction.atomic():
        for bucket in counted:
            _count(bucket, now)
    return Try(counted)


def _count(bucket: Bucket, now: datetime) -> None:
    fresh = {"started_at": now, "last_at": now, "count": 1}
    row, is_new = TryCount.objects.select_for_update().get_or_create(bucket=bucket.key, defaults=fresh)
    if is_new:
        return
    began = row.last_at if bucket.bound.pause_max_s else row.started_at
    if began + timedelta(seconds=bucket.bound.window_s) <= now:
        row.started_at, row.count = now, 0
    wait_s = _wait_s(bucket.bound, row, now)
    if wait_s > 0:
        raise TooManyTries(wait_s)
    row.count += 1
    row.last_at = now
    row.save(update_fields=["started_at", "last_at", "count"])


def _wait_s(bound: Bound, row: TryCount, now: datetime) -> float:
    excess = row.count - bound.tries
    if excess < 0:
        return 0
    if bound.pause_max_s is None:
        return bound.window_s - (now - row.started_at).total_seconds()
    pause_s: int = min(2 ** min(excess, 20), bound.pause_max_s)
    return pause_s - (now - row.last_at).total_seconds()


def forget_old() -> int:
    """Drops counts nobody asks for any more; returns how many."""
    return TryCount.objects.filter(last_at__lt=clock.database_now() - timedelta(seconds=KEPT_S)).delete()[0]


def network_of(address: str | None) -> str:
    """What counts as one address: an IPv6 customer has a whole /64."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped or ipaddress.IPv6Network((parsed, 64), strict=False))
    return str(parsed)


def _hashed(*parts: str) -> str:
    text = "\x1f".join(parts).encode("utf-8", "surrogatepass")
    return hmac.digest(settings.SECRET_KEY.encode(), b"tries:" + text, "sha256").hex()[:48]
