"""PostgreSQL's TRUNCATE does not fire row triggers: append-only tables refuse it by a trigger of their own."""

from __future__ import annotations

from typing import Any

from django.db import migrations

from usage.ledger.append_only import TABLES, install


def protect(apps: Any, schema_editor: Any) -> None:
    install(schema_editor.connection, TABLES)


class Migration(migrations.Migration):
    dependencies = [("usage", "0006_provider_tool_calls")]
    operations = [migrations.RunPython(protect, migrations.RunPython.noop)]
