from __future__ import annotations

import re

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from usage.keys import form
from usage.models import ApiKey

pytestmark = pytest.mark.django_db


def test_S10_a_new_key_is_on_its_page_once_and_in_no_cookie_and_no_session() -> None:
    root = get_user_model().objects.create_superuser("root")
    client = Client()
    client.force_login(root)
    made = client.post(
        "/admin/usage/apikey/add/", {"user": root.pk, "name": "mine", "allowed_models": "", "allowed_contexts": "", "scopes": ["inference"]}
    )
    key = re.search(r"gw_\w{12}_[\w-]{43}", made.content.decode())[0]
    assert form.matches(bytes(ApiKey.objects.get().secret_sha256), key)
    assert "no-store" in made["Cache-Control"]
    assert key not in made.cookies.output()
    assert "messages" not in made.cookies
    assert key[-20:] not in str(dict(client.session))
    assert key not in client.get("/admin/usage/apikey/").content.decode()
