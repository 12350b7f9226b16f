"""After a test the database is what the migrations made it, whatever the test did."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import DatabaseError, connection, transaction

from tests import emptying
from tests.emptying import Pristine
from tests.usage.lines import line
from usage.ledger import append_only
from usage.models import LedgerEntry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("made_up_costs"), pytest.mark.both_databases]


def content(pristine: Pristine) -> dict[str, int]:
    with connection.cursor() as cursor:
        counts = {}
        for table in pristine.tables:
            cursor.execute(f'SELECT count(*) FROM "{table}"')
            counts[table] = cursor.fetchone()[0]
    return {table: count for table, count in counts.items() if count}


def test_rows_are_gone_and_what_migrations_made_stays(django_db_setup: Pristine) -> None:
    before = content(django_db_setup)
    assert {*before} == {"auth_permission", "django_content_type"}
    User.objects.create_user("ada").groups.add(Group.objects.create(name="people"))
    line().save(force_insert=True)
    django_db_setup.restore()
    assert content(django_db_setup) == before


@pytest.mark.parametrize("limit", [0, emptying.LARGE_BYTES])
def test_the_ledger_is_emptied_and_refuses_changes_again(django_db_setup: Pristine, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(emptying, "LARGE_BYTES", limit)
    line().save(force_insert=True)
    django_db_setup.restore()
    assert not LedgerEntry.objects.exists()
    line().save(force_insert=True)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        LedgerEntry.objects.all().delete()


def test_what_migrations_made_is_put_back(django_db_setup: Pristine) -> None:
    before = [*Permission.objects.order_by("pk").values_list()]
    Permission.objects.all().delete()
    ContentType.objects.all().delete()
    Permission.objects.create(name="x", codename="x", content_type=ContentType.objects.create(app_label="x", model="x"))
    django_db_setup.restore()
    assert [*Permission.objects.order_by("pk").values_list()] == before


def test_a_guard_that_was_taken_away_is_put_back(django_db_setup: Pristine) -> None:
    append_only.remove(connection, append_only.TABLES)
    django_db_setup.restore()
    line().save(force_insert=True)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        LedgerEntry.objects.update(note="x")
