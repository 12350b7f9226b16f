from __future__ import annotations

import pytest
from axes.models import AccessAttempt
from django.contrib.auth import get_user_model
from django.test import Client

from aigateway.api.login_names import name_tried

pytestmark = pytest.mark.django_db


def test_S10_a_password_typed_as_a_name_is_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    get_user_model().objects.create_user("olga", password="a long pass phrase")
    client = Client(raise_request_exception=False)
    for username in ("a long pass phrase", "olga"):
        assert client.post("/admin/login/", {"username": username, "password": "wrong"}).status_code == 200
    kept = [f"{row.username} {row.get_data} {row.post_data}" for row in AccessAttempt.objects.order_by("pk")]
    assert len(kept) == 2
    assert kept[0].startswith("unknown name ")
    assert kept[1].startswith("olga ")
    assert "pass phrase" not in f"{kept} {caplog.text}"


def test_one_unknown_name_is_one_mark_and_two_are_two() -> None:
    marks = [name_tried(None, {"username": name}) for name in ("nobody", "nobody", "somebody")]
    assert marks[0] == marks[1] != marks[2]
    assert name_tried(None, {}) is None
