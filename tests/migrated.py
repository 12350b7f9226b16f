"""A migrated database, made by the first worker of a run and copied by all: migrations take seconds, a copy does not."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.db import connection

NAME = "migrated"


def several_workers() -> bool:
    return "PYTEST_XDIST_WORKER" in os.environ


def prepare_copy() -> None:
    """The test database of this worker will be a copy: of PostgreSQL's own making, or of the file."""
    folder = Path(settings.VAR_DIR).parent
    folder.mkdir(parents=True, exist_ok=True)
    test = connection.settings_dict["TEST"]
    on_sqlite = connection.vendor == "sqlite"
    _disconnect()  # a pool that a test without a database opened would lead to another one
    template = str(folder / f"{NAME}.sqlite3") if on_sqlite else NAME
    with _alone(folder / f"{NAME}.lock"):
        if not (folder / NAME).exists():
            _migrate(template)
            (folder / NAME).touch()
    if on_sqlite:
        Path(test["NAME"]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(template, test["NAME"])
    else:
        test["TEMPLATE"] = template


def _migrate(name: str) -> None:
    current, test = connection.settings_dict["NAME"], connection.settings_dict["TEST"]
    own, test["NAME"] = test["NAME"], name
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    _disconnect()  # PostgreSQL copies no database somebody is connected to
    test["NAME"] = own
    settings.DATABASES[connection.alias]["NAME"] = connection.settings_dict["NAME"] = current


def _disconnect() -> None:
    connection.close()
    if connection.vendor == "postgresql":
        connection.close_pool()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
