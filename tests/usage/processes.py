"""Starts other Python processes on the test database."""

from __future__ import annotations

import os
import subprocess
import sys
from urllib.parse import quote

from django.db import connection

from tests.usage.world import Budget


def database_url() -> str:
    settings = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{settings['NAME']}"
    login = quote(str(settings["USER"])) + (f":{quote(str(settings['PASSWORD']))}" if settings["PASSWORD"] else "")
    return f"postgres://{login}@{quote(str(settings['HOST']), safe='')}:{settings['PORT']}/{settings['NAME']}"


def start_reserving(budget: Budget, count: int, after: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.usage.ledger.reserve_many", str(budget.pk), str(count), after],
        env={**os.environ, "DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "aigateway.settings"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
