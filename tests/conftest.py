"""Fixtures every test may use. Databases: SQLite in a file, or the run's private PostgreSQL (``tests.environment``)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connections
from hypothesis import settings as hypothesis_settings
from pytest_django.plugin import DjangoDbBlocker

from tests import migrated
from tests.emptying import Pristine, emptied_by
from tests.ledger_guard import made_up_costs  # noqa: F401 - a fixture

LONGEST_SHOWN = 40

# Examples that write to a database have no deadline of their own: the limit is the test's.
hypothesis_settings.register_profile("suite", deadline=None, derandomize=os.environ.get("CI") == "true")
hypothesis_settings.load_profile("suite")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Long texts are numbered, not shown: workers must name a test alike though some texts are random, and names stay short."""
    return argname if isinstance(val, str) and len(val) > LONGEST_SHOWN else None


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None, django_db_blocker: DjangoDbBlocker) -> None:
    """SQLite tests run on a file, like the product: in memory there is no WAL and threads share one connection.

    No test cuts the power, so nothing waits for the disk.
    """
    connection = connections["default"]
    if connection.vendor == "sqlite":
        connection.settings_dict["TEST"]["NAME"] = str(Path(settings.VAR_DIR) / "test.sqlite3")
        options = connection.settings_dict["OPTIONS"]
        options["init_command"] = options["init_command"].replace("synchronous=FULL", "synchronous=OFF")
    if migrated.several_workers():
        with django_db_blocker.unblock():
            migrated.prepare_copy()


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """A copy is used as it is; the run's scratch folder and servers end with it."""
    return migrated.several_workers()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Pristine]:
    """The migrated database; what transactional tests are restored to is its value."""
    with django_db_blocker.unblock():
        pristine = Pristine.read()
    with emptied_by(pristine):
        yield pristine


@pytest.fixture
def on_postgresql() -> bool:
    return connections["default"].vendor == "postgresql"


@pytest.fixture
def var_folder() -> Path:
    """The run's scratch state folder (``settings.VAR_DIR``)."""
    folder = Path(settings.VAR_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
