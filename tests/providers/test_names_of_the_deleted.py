"""C05: the name of a deleted provider is free again, and nothing mixes up the two."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError

from preferences.actions import set_preference
from providers import actions
from providers.audit import SYSTEM
from providers.models import Deployment, Provider
from providers.registry import build_snapshot
from providers.upstream.types import ModelListing
from tests.providers.admin_pages import form_of
from tests.providers.conftest import CANARY, api, browser, make_provider

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

ADD = "/admin/providers/provider/add/"


def delete_and_add(slug: str = "lab") -> tuple[Provider, Provider]:
    old = make_provider(label="Lab", slug=slug)
    actions.import_models(old.pk, [ModelListing("small")], SYSTEM)
    actions.delete_provider(old.pk, SYSTEM)
    new = make_provider(label="Lab", slug=slug)
    actions.import_models(new.pk, [ModelListing("small")], SYSTEM)
    return old, new


def test_C05_a_provider_is_added_again_under_its_name() -> None:
    old, new = delete_and_add()
    assert (new.slug, new.pk == old.pk) == ("lab", False)
    assert {target.provider.id for target in build_snapshot().targets.values()} == {new.pk}


def test_C05_on_the_page_and_over_rest_too(superuser, upstream) -> None:
    for _ in range(2):
        form = {
            **form_of(browser(superuser), ADD),
            "kind": "openai_compatible",
            "label": "Lab",
            "base_url": upstream.base_url,
            "api_key": CANARY,
        }
        assert browser(superuser).post(ADD, form).status_code == 302
        row = Provider.objects.get(deleted_at=None)
        assert row.slug == "lab"
        assert browser(superuser).post(f"/admin/providers/provider/{row.pk}/delete/", {"post": "yes"}).status_code == 302
    body = {"kind": "openai_compatible", "label": "Lab", "slug": "lab", "base_url": upstream.base_url, "api_key": CANARY}
    assert api(superuser).post("/api/v1/ai/admin/providers", body, format="json").status_code == 201
    again = api(superuser).post("/api/v1/ai/admin/providers", body, format="json")
    assert (again.status_code, "slug" in str(again.json())) == (400, True)


def test_C05_among_those_in_use_a_name_is_taken_once() -> None:
    first = make_provider(label="Lab", slug="lab")
    with pytest.raises(ValidationError) as refusal:
        make_provider(label="Lab", slug="lab")
    assert "slug" in refusal.value.message_dict
    other = make_provider(label="Other", slug="other")
    other.slug = "lab"
    with pytest.raises(ValidationError):
        actions.update_provider(other, SYSTEM)
    with pytest.raises(IntegrityError):
        Provider.objects.create(slug="lab", label="x", kind="openai", base_url=first.base_url)


def test_C05_preferences_and_addresses_mean_the_one_in_use(plain_user) -> None:
    _, new = delete_and_add()
    assert set_preference(plain_user, "default", "lab", "small").deployment.provider == new
    assert set_preference(plain_user, "default", None, "lab/small").deployment == Deployment.objects.get(provider=new)


def test_C05_a_label_alone_finds_a_free_name() -> None:
    make_provider(label="Lab")
    assert make_provider(label="Lab").slug == "lab-2"
    actions.delete_provider(Provider.objects.get(slug="lab").pk, SYSTEM)
    assert make_provider(label="Lab").slug == "lab"
