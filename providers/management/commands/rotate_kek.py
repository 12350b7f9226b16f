"""``manage.py rotate_kek``: puts every sealed secret under the first key of the key ring, while serving."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.db.models import Model

from providers import audit, secrets
from providers.upstream.errors import CredentialLocked


class Command(BaseCommand):
    help = (
        "Re-wraps every sealed secret with the first key of the key ring and proves that none is left on another key. "
        "Secrets are not re-encrypted, only their keys; the command may be interrupted and run again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--batch-size", type=int, default=200, help="Rows read at a time.")
        parser.add_argument("--add-key", metavar="ID", help="First put a new key with this id in front of the ring file.")

    def handle(self, *_: Any, **options: Any) -> None:
        if options["add_key"]:
            self._add_key(options["add_key"])
        ring = secrets.sealing_ring()
        moved = locked = 0
        for model, field in secrets.sealed_fields():
            batch_moved, batch_locked = _rotate_field(model, field, ring.first_id, options["batch_size"])
            moved += batch_moved
            locked += batch_locked
        left = sum((_rows_by_key(model, field) for model, field in secrets.sealed_fields()), Counter[str]())
        old = {key_id: count for key_id, count in left.items() if key_id != ring.first_id}
        self.stdout.write(f"{moved} secrets moved to key {ring.first_id}, {left[ring.first_id]} are on it, {sum(old.values())} on another.")
        if old:
            raise CommandError(f"Not finished: {locked} secrets could not be opened; rows left by key: {old}. Keep the old keys.")

    def _add_key(self, key_id: str) -> None:
        if settings.KEY_RING:
            raise CommandError("The key ring comes from AIGATEWAY_KEKS: put a new id:base64 entry in front there, restart, run again.")
        secrets.sealing_ring()
        text = f"{secrets.new_ring_entry(key_id)},{Path(settings.KEY_RING_FILE).read_text().strip()}"
        secrets.parse_ring(text)
        secrets.write_ring_file(text, replace=True)


def _rotate_field(model: type[Model], field: str, first_id: str, batch_size: int) -> tuple[int, int]:
    moved = locked = 0
    rows = secrets.sealed_values(model, field).order_by("pk").values_list("pk", field)
    last: object = None
    while batch := list((rows if last is None else rows.filter(pk__gt=last))[:batch_size]):
        for row_id, sealed in batch:
            if secrets.ring_key_id(sealed) == first_id:
                continue
            try:
                fresh = secrets.rewrapped(sealed, secrets.context_of(model, row_id, field))
            except CredentialLocked:
                locked += 1
                continue
            # Conditional: a secret replaced meanwhile is already on the first key and must not be overwritten.
            with transaction.atomic():
                rows_moved = model._default_manager.filter(pk=row_id, **{field: bytes(sealed)}).update(**{field: fresh})
                if rows_moved:
                    keys = [f"under key {secrets.ring_key_id(sealed)}", f"under key {first_id}"]
                    audit.record(model._default_manager.get(pk=row_id), {field: keys})
            moved += rows_moved
        last = batch[-1][0]
    return moved, locked


def _rows_by_key(model: type[Model], field: str) -> Counter[str]:
    return Counter(secrets.ring_key_id(sealed) for sealed in secrets.sealed_values(model, field).values_list(field, flat=True).iterator())
