"""Who counts as finance staff, and that reading writes nothing."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from usage.rest import IsFinance

WRITES = re.compile(r"^\s*(INSERT|UPDATE|DELETE|REPLACE|CREATE|ALTER|DROP)\b", re.IGNORECASE)


def test_strangers_are_no_finance_staff() -> None:
    request = SimpleNamespace(user=AnonymousUser())
    assert IsFinance().has_permission(request, None) is False  # type: ignore[arg-type]


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["preferences", "usage", "admin/usage", "admin/costs"])
def test_S25_reading_writes_nothing(path: str) -> None:
    client = APIClient()
    client.force_login(User.objects.create_superuser("root"))
    with CaptureQueriesContext(connection) as captured:
        assert client.get(f"/api/v1/ai/{path}").status_code == 200
    assert len(captured) > 0
    assert [query["sql"] for query in captured if WRITES.match(query["sql"])] == []
