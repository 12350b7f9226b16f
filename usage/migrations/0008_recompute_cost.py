"""PostgreSQL refuses a measured line whose cost does not follow from its card and counts (``usage.ledger.cost_guard``)."""

from __future__ import annotations

from typing import Any

from django.db import migrations

from usage.ledger import cost_guard


def guard(apps: Any, schema_editor: Any) -> None:
    cost_guard.install(schema_editor.connection)


def unguard(apps: Any, schema_editor: Any) -> None:
    cost_guard.remove(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [("usage", "0007_refuse_truncate")]
    operations = [migrations.RunPython(guard, unguard)]
