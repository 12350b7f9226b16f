"""The database itself refuses to change or delete a ledger line.

A later migration that makes SQLite rebuild the table (any change of its columns or constraints) drops these triggers:
it must call ``append_only.install`` again afterwards.
"""

from django.db import migrations

from usage.ledger.append_only import install, remove


def forwards(apps, schema_editor):
    install(schema_editor.connection)


def backwards(apps, schema_editor):
    remove(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [("usage", "0001_initial")]

    operations = [migrations.RunPython(forwards, backwards)]
