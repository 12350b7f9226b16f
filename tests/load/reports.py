"""``python -m tests.load.reports``: how long reports take with ten million ledger lines on PostgreSQL.

It makes a year of lines (500 users, 20 teams, 20 models of 5 providers, in waking hours), sums them as the worker does, and asks
the HTTP views in this process, each report a few times. The first run takes some ten minutes; with ``--folder`` the database is
kept, so a second run only measures. Nothing else should run meanwhile: compare wall and processor time to see whether it did.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.load import rig
from tests.load.cpu import tree_cpu_s
from tests.servers import PrivatePostgres

LINES = 10_000_000
TIMES = 5
END = "2026-11-21"
YEAR = {"start": "2025-11-21", "end": END}
MONTH = {"start": "2026-10-01", "end": "2026-11-01"}
CARD = (
    '{"id":1,"input_nano_per_mtok":2500000000,"output_nano_per_mtok":10000000000,"cache_read_nano_per_mtok":250000000,"discount_ppm":50000}'
)
FILL = """
INSERT INTO usage_ledgerentry (attempt_id, kind, basis, cost_nano, posted_at, dispatched_at, request_id, attempt_no, upstream_id, user_id,
    api_key_id, team_id, context, provider_id, provider_slug, deployment_id, model_name, input_tokens, cache_read_tokens, output_tokens,
    quota_tokens, price_id, price_card, error_code, note)
SELECT lpad(to_hex(n), 32, '0')::uuid, 'usage', CASE WHEN n %% 97 = 0 THEN 'estimated' ELSE 'measured' END, 1000 + n %% 100000,
    at + interval '3 s', at, 'req_' || lpad(to_hex(n - CASE WHEN n %% 50 = 0 THEN 1 ELSE 0 END), 28, '0'),
    CASE WHEN n %% 50 = 0 THEN 2 ELSE 1 END, 'chatcmpl-' || n, u, 'key' || lpad(u::text, 9, '0'), 1 + u %% 20,
    CASE WHEN n %% 11 = 0 THEN 'coding' ELSE 'default' END, 1 + m %% 5, 'provider-' || (m %% 5), m, 'model-' || m, 500 + n %% 3000,
    n %% 2000, 100 + n %% 700, 1000, 1, %(card)s::jsonb, '', ''
FROM (SELECT n, u, (u + (h / 500000 %% 3) * 7) %% 20 AS m,
          timestamptz '2025-11-21 00:00+00' + (s %% 365) * interval '1 day' + (32 + (h / 64) %% 40) * interval '15 minutes'
              + ((n * 7919) %% 900) * interval '1 s' AS at
      FROM (SELECT n, n / 5 AS s, abs(hashint8(n / 5 + 123456789)::bigint) %% 500 AS u, abs(hashint8(n / 5))::bigint AS h
            FROM generate_series(1::bigint, %(lines)s) n) numbers) calls
"""
"""Five lines in a row are of one user, model and quarter of an hour, as a conversation is."""

REPORTS: dict[str, tuple[str, dict[str, str]]] = {
    "costs of a month": ("costs", MONTH),
    "costs of the year": ("costs", YEAR),
    "costs of a month in another zone": ("costs", {**MONTH, "time_zone": "Europe/Berlin"}),
    "costs of the year in another zone": ("costs", {**YEAR, "time_zone": "Asia/Kolkata"}),
    "costs of the year in a zone with 45 minutes": ("costs", {**YEAR, "time_zone": "Asia/Kathmandu"}),
    "usage of the year by day in another zone": ("usage", {**YEAR, "group_by": "day", "time_zone": "Europe/Berlin"}),
    "usage of a month by hour": ("usage", {**MONTH, "group_by": "hour"}),
    "usage of a month by hour and model": ("usage", {**MONTH, "group_by": "hour,model"}),
    "usage of a month by hour and team": ("usage", {**MONTH, "group_by": "hour,team"}),
    "usage of a month by day and team in another zone": ("usage", {**MONTH, "group_by": "day,team", "time_zone": "Europe/Berlin"}),
    "usage of the year by provider and model": ("usage", {**YEAR, "group_by": "provider,model"}),
    "usage of the year by user and model": ("usage", {**YEAR, "group_by": "user,model"}),
    "usage of the year by day and team": ("usage", {**YEAR, "group_by": "day,team"}),
    "usage of the year by day and model in another zone": ("usage", {**YEAR, "group_by": "day,model", "time_zone": "Europe/Berlin"}),
    "usage of the year by day and team in another zone": ("usage", {**YEAR, "group_by": "day,team", "time_zone": "Europe/Berlin"}),
    "savings of a month": ("savings", MONTH),
    "savings of a month in another zone": ("savings", {**MONTH, "time_zone": "America/New_York"}),
    "savings of a month, one user": ("savings", {**MONTH, "user": "7"}),
    "a page of 100 lines": ("usage/lines", {**YEAR, "page_size": "100"}),
}


class LargePostgres(PrivatePostgres):
    """With memory for the tables and one process per query, so that processor and wall time may be compared."""

    def command(self) -> list[str]:
        options = ("shared_buffers=1GB", "max_wal_size=8GB", "maintenance_work_mem=1GB", "max_parallel_workers_per_gather=0")
        return [*super().command(), *(word for option in options for word in ("-c", option))]

    def _create_cluster(self) -> None:
        if not (self.folder / "cluster" / "PG_VERSION").exists():
            super()._create_cluster()


@dataclass(frozen=True, slots=True)
class Took:
    """Milliseconds of one report, once per time it was asked; the first one is cold."""

    wall_ms: list[float]
    cpu_ms: list[float]

    def row(self, name: str) -> str:
        warm_wall, warm_cpu = statistics.median(self.wall_ms[1:]), statistics.median(self.cpu_ms[1:])
        return f"| {name} | {self.wall_ms[0]:.0f} | {warm_wall:.0f} | {max(self.wall_ms[1:]):.0f} | {warm_cpu:.0f} |"


@contextmanager
def large_postgres(folder: Path) -> Iterator[LargePostgres]:
    folder.mkdir(parents=True, exist_ok=True)
    server = LargePostgres(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def fill(lines: int) -> None:
    """Lines without their indexes first, then the sums in the worker's own steps."""
    from django.db import connection
    from django.utils import timezone

    from usage.ledger import cost_guard
    from usage.reports import totals

    cost_guard.remove(connection)  # the lines below cost what spreads well
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'usage_ledgerentry' AND indexname NOT LIKE '%_pkey'")
        indexes = cursor.fetchall()
        for name, _ in indexes:
            cursor.execute(f'DROP INDEX "{name}"')
        cursor.execute(FILL, {"card": CARD, "lines": lines})
        for _, definition in indexes:
            cursor.execute(definition)
        cursor.execute("VACUUM ANALYZE usage_ledgerentry")
    _say("lines made")
    while totals.roll_up(timezone.now()):
        _say("summed some")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def ask(postgres_pid: int, times: int) -> dict[str, Took]:
    """Every report, through Django's own request handling. Raises ``AssertionError`` when one is refused."""
    from django.conf import settings
    from django.contrib.auth.models import User
    from rest_framework.test import APIClient

    settings.ALLOWED_HOSTS = ["testserver"]
    client = APIClient()
    client.force_login(User.objects.get_or_create(username="finance", is_superuser=True)[0])
    took = {}
    for name, (path, asked) in REPORTS.items():
        took[name] = Took([], [])
        for _ in range(times):
            wall_s, cpu_s = time.perf_counter(), time.process_time() + tree_cpu_s(postgres_pid)
            answer = client.get(f"/api/v1/ai/admin/{path}", asked)
            assert answer.status_code == 200, (name, answer.content[:300])
            took[name].wall_ms.append((time.perf_counter() - wall_s) * 1000)
            took[name].cpu_ms.append((time.process_time() + tree_cpu_s(postgres_pid) - cpu_s) * 1000)
    return took


def table(took: dict[str, Took]) -> str:
    head = ["| report | first ms | median ms | slowest ms | processor ms |", "|---|---:|---:|---:|---:|"]
    return "\n".join([*head, *(each.row(name) for name, each in took.items())])


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--times", type=int, default=TIMES, help="how often each report is asked (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="keeps the database here, or measures the one that is here")
    options = parser.parse_args()
    with rig.scratch_folder() as scratch, large_postgres(options.folder or scratch / "postgresql") as postgres:
        environment = rig.gateway_environment(scratch / "var", rig.free_port(), rig.new_gateway_key(), postgres.url)
        os.environ.update(environment, DJANGO_SETTINGS_MODULE="aigateway.settings")
        import django

        django.setup()
        from django.core.management import call_command

        from usage.models import LedgerEntry

        call_command("migrate", verbosity=0)
        if not LedgerEntry.objects.exists():
            fill(options.lines)
        assert postgres.process is not None
        sys.stdout.write(table(ask(postgres.process.pid, options.times)) + "\n")


if __name__ == "__main__":
    main()
