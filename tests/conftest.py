"""Fixtures every test may use. Databases: SQLite in a file, or the run's private PostgreSQL (``tests.environment``)."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings
from django.db import connections

from tests.ledger_guard import ledger_guard  # noqa: F401 - a fixture of every test


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """SQLite tests run on a file, like the product: in memory there is no WAL and threads share one connection."""
    connection = connections["default"]
    if connection.vendor == "sqlite":
        connection.settings_dict["TEST"]["NAME"] = str(Path(settings.VAR_DIR) / "test.sqlite3")


@pytest.fixture
def on_postgresql() -> bool:
    return connections["default"].vendor == "postgresql"


@pytest.fixture
def var_folder() -> Path:
    """The run's scratch state folder (``settings.VAR_DIR``)."""
    folder = Path(settings.VAR_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
