"""``manage.py reconcile PROVIDER FILE``: compares a provider's file with the ledger; exit code 1 when something differs."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import date
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from providers.fields import dollars
from usage.models import Statement, StatementLine
from usage.statements import FILE_BYTES_MAX, LAYOUTS, StatementInvalid, StatementOrder, findings, has_differences, reconcile_statement

SHOWN_MAX = 50


class Command(BaseCommand):
    help = "Compares a provider's usage or cost file with the ledger and keeps the report. The ledger is only read."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("provider", help="Slug of the provider.")
        parser.add_argument("file", type=Path)
        parser.add_argument("--layout", choices=LAYOUTS, required=True)
        parser.add_argument("--time-zone", default="UTC", help="Whose days the provider bills by.")
        parser.add_argument("--columns", default="{}", help='Generic layout: JSON, our field to its column: {"day": "Date"}.')
        parser.add_argument("--models", default="{}", help="JSON: names of models on the file to ours.")
        parser.add_argument("--from", dest="starts_on", type=date.fromisoformat, help="First day; default: of the file's lines.")
        parser.add_argument("--to", dest="ends_on", type=date.fromisoformat, help="Last day, included.")

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            statement = reconcile_statement(_order(options))
        except (StatementInvalid, OSError) as error:
            raise CommandError(str(error), returncode=2) from error
        self._report(statement)
        if has_differences(statement):
            raise CommandError(f"{statement.provider_slug} and the ledger differ; statement {statement.pk} has the report.", returncode=1)

    def _report(self, statement: Statement) -> None:
        summary = statement.summary
        self.stdout.write(f"{statement.starts_on} to {statement.ends_on} ({statement.time_zone})")
        for name in ("billed", "ledger", "variance"):
            self.stdout.write(f"{name}: {dollars(summary[f'{name}_nano']) or 'no amounts in the file'}")
        for cause, nano in summary["split_nano"].items():
            self.stdout.write(f"  {cause}: {dollars(nano)}")
        self.stdout.write(", ".join(f"{count} {finding}" for finding, count in summary["lines"].items()))
        for line in findings(statement).exclude(finding=StatementLine.Finding.MATCHED)[:SHOWN_MAX]:
            place = f"line {line.number}" if line.number else "ledger"
            self.stdout.write(f"{line.finding}: {place}: {line.day} {line.model_name} {line.upstream_id} {dollars(line.variance_nano)}")


def _order(options: dict[str, Any]) -> StatementOrder:
    path: Path = options["file"]
    with path.open("rb") as file:
        content = file.read(FILE_BYTES_MAX + 1)
    return StatementOrder(
        provider_slug=options["provider"],
        content=content,
        file_name=path.name,
        layout=options["layout"],
        time_zone=options["time_zone"],
        columns=_names(options["columns"], "--columns"),
        models=_names(options["models"], "--models"),
        starts_on=options["starts_on"],
        ends_on=options["ends_on"],
    )


def _names(text: str, option: str) -> dict[str, str]:
    try:
        names = json.loads(text)
    except json.JSONDecodeError:
        names = None
    if not isinstance(names, dict) or not all(isinstance(value, str) for value in names.values()):
        raise CommandError(f"{option} is a JSON object of texts.", returncode=2)
    return names
