"""Preferences in the admin take the same way out to the running processes."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client, override_settings

from preferences.models import Preference
from providers.models import ConfigChange
from tests.preferences.conftest import Catalogue

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@override_settings(ROOT_URLCONF="aigateway.urls")
def test_saving_and_deleting_are_announced(admin: Client, ada: User, catalogue: Catalogue) -> None:
    wish = {"user": ada.pk, "context": "writing", "deployment": catalogue.mini.pk}
    assert admin.post("/admin/preferences/preference/add/", wish).status_code == 302
    (stored,) = Preference.objects.all()
    page = f"/admin/preferences/preference/{stored.pk}/change/"
    assert admin.get(page).status_code == 200
    assert admin.post(page, {"deployment": catalogue.claude.pk}).status_code == 302
    stored.refresh_from_db()
    assert (stored.user, stored.context, stored.deployment) == (ada, "writing", catalogue.claude)
    chosen = {"action": "delete_selected", "_selected_action": [stored.pk], "post": "yes"}
    assert admin.post("/admin/preferences/preference/", chosen).status_code == 302
    assert not Preference.objects.exists()
    assert list(ConfigChange.objects.values_list("subject", flat=True)) == [f"user:{ada.pk}"] * 3
