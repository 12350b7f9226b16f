"""Names that mean something, names nobody can see, and names that other providers serve (C03, C20, C27)."""

from __future__ import annotations

import json

import pytest
from django.core.exceptions import ValidationError
from django.urls import reverse

from providers import actions
from providers.audit import SYSTEM
from providers.models import Deployment, Provider, Route
from providers.registry import build_snapshot
from providers.text import is_plain, plain, spelt
from providers.upstream.errors import ModelNotAllowed, ModelUnknown
from providers.upstream.routing import names_for, plan
from providers.upstream.types import Capability, ModelListing, NameList, Wishes
from tests.providers.conftest import api, browser, make_provider
from tests.providers.fake_provider import FakeProvider
from tests.providers.test_actions import refused_field
from tests.providers.upstream import rig

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

UNSEEN = [
    "a\x00b",
    "a\r\nb",
    "a\nX-Injected: 1",
    "a\u202eb",
    "a\u200bb",
    "a\ud800b",
    "a\x1b[31mb",
    "a\u2028b",
    " a",
    "a ",
    "\ufeffa",
    "a\x85b",
]
UNUSABLE = [*UNSEEN, "", "a" * 500, "a" * 201, "a" * 151]


def imported(provider: Provider, *names: str, shares_names: bool = False) -> actions.ImportReport:
    listings = [ModelListing(name, capabilities=frozenset({Capability.CHAT})) for name in names]
    return actions.import_models(provider.pk, listings, SYSTEM, shares_names=shares_names)


def planned(model: str, **wishes: object) -> list[str]:
    """Addresses that may answer, best first; prices do not matter here."""
    made = plan(build_snapshot(), rig.chat_request(), Wishes(model=model, **wishes))
    return [target.address for target in made.targets] + [skipped.address for skipped in made.skipped]


# --------------------------------------------------------------------------- one rule for text


@pytest.mark.parametrize("text", UNSEEN)
def test_C20_text_that_is_not_what_it_seems_is_not_plain_and_can_be_cleaned_and_spelt(text: str) -> None:
    assert not is_plain(text)
    assert is_plain(plain(text, 50))
    assert spelt(text).isascii()
    assert spelt(text).isprintable()


@pytest.mark.parametrize("text", ["", "gpt-4o", "Größe 4", "模型", "a b", "a/b:c@d"])
def test_C20_ordinary_text_is_plain_and_stays(text: str) -> None:
    assert is_plain(text)
    assert (plain(text, 50), spelt(text)) == (text, text)


# --------------------------------------------------------------------------- lists


@pytest.mark.parametrize("name", UNUSABLE)
def test_C03_C20_a_list_with_a_name_that_can_be_none_loses_that_name_only(name: str) -> None:
    report = imported(make_provider(), "good", name, "better")
    assert report.created == 2
    assert len(report.refused) == 1
    assert report.refused[0].isascii()
    assert set(Deployment.objects.values_list("name", flat=True)) == {"good", "better"}
    assert "left out for names that can be no names" in report.summary


def test_C20_a_display_name_is_cleaned() -> None:
    provider = make_provider()
    listing = ModelListing("m", display_name="Good\x00 \u202emodel\r\nX" + "y" * 500, capabilities=frozenset({Capability.CHAT}))
    actions.import_models(provider.pk, [listing], SYSTEM)
    shown = Deployment.objects.get().display_name
    assert shown.startswith("Good model X")
    assert (len(shown), is_plain(shown)) == (200, True)


@pytest.mark.parametrize("name", UNSEEN[:6])
def test_C20_so_it_is_over_the_wire(upstream: FakeProvider, superuser, name: str) -> None:
    upstream.script.body = json.dumps({"data": [{"id": "good"}, {"id": name}]}).encode()
    provider = make_provider(upstream.base_url)
    answer = api(superuser).post(f"/api/v1/ai/admin/providers/{provider.pk}/import", {}, format="json")
    assert answer.status_code in (200, 400), answer.content
    if answer.status_code == 200:
        assert (answer.json()["created"], len(answer.json()["refused"])) == (1, 1)


@pytest.mark.parametrize("name", ["auto", "default"])
def test_C03_a_model_named_like_a_reserved_word_is_imported_under_its_address_only(name: str) -> None:
    provider = make_provider()
    report = imported(provider, name, "good")
    assert report.address_only == (name,)
    assert Deployment.objects.get(name=name).address_only
    assert planned(f"example/{name}") == [f"example/{name}"]
    assert planned("auto") == ["example/good"]
    assert actions.share_names(provider.pk, SYSTEM) == ()


def test_C03_a_name_that_is_an_address_of_another_provider_is_no_name() -> None:
    make_provider(label="Openai")
    router = make_provider(label="Router")
    report = imported(router, "openai/gpt-4o", "router/own", "mistral/large")
    assert report.address_only == ("openai/gpt-4o",)
    with pytest.raises(ModelUnknown):
        planned("openai/gpt-4o")
    assert planned("router/openai/gpt-4o") == ["router/openai/gpt-4o"]
    assert planned("mistral/large") == ["router/mistral/large"]
    assert actions.share_names(router.pk, SYSTEM) == ()


# --------------------------------------------------------------------------- typed names


@pytest.mark.parametrize("name", [*UNUSABLE, "auto", "default", "other/x"])
def test_C03_such_a_name_cannot_be_typed_either(name: str) -> None:
    make_provider(label="Other")
    model = Deployment(provider=make_provider(), name=name, upstream_model="m")
    assert refused_field(lambda: actions.save_deployment(model, SYSTEM)) == "name"


@pytest.mark.parametrize("name", ["auto", "default", "other/x"])
def test_C03_but_it_can_be_typed_for_its_address(name: str) -> None:
    make_provider(label="Other")
    actions.save_deployment(
        Deployment(provider=make_provider(), name=name, upstream_model="m", address_only=True, capabilities=["chat"]), SYSTEM
    )
    assert planned(f"example/{name}") == [f"example/{name}"]


@pytest.mark.parametrize("field", ["upstream_model", "display_name"])
@pytest.mark.parametrize("text", UNSEEN)
def test_C20_the_other_texts_of_a_model_are_plain_as_well(field: str, text: str) -> None:
    model = Deployment(**{"provider": make_provider(), "name": "m", "upstream_model": "m", field: text})
    assert refused_field(lambda: actions.save_deployment(model, SYSTEM)) == field


@pytest.mark.parametrize("name", [*UNUSABLE, "auto", "other/x"])
def test_C03_nor_can_a_route_be_named_so(name: str) -> None:
    make_provider(label="Other")
    assert refused_field(lambda: actions.save_route(Route(name=name), SYSTEM)) == "name"


def test_C03_the_route_default_is_what_auto_means() -> None:
    actions.save_route(Route(name="default"), SYSTEM)


@pytest.mark.parametrize("label", UNSEEN[:8])
def test_C20_a_provider_is_named_in_plain_text(label: str) -> None:
    with pytest.raises(ValidationError):
        make_provider(label=f"a{label}b")


def test_C03_a_model_from_before_can_still_be_changed() -> None:
    make_provider(label="Other")
    old = Deployment.objects.create(provider=make_provider(), name="other/x", upstream_model="m", capabilities=["chat"])
    old.recommended = True
    actions.save_deployment(old, SYSTEM)
    old.name = "other/y"
    assert refused_field(lambda: actions.save_deployment(old, SYSTEM)) == "name"


# --------------------------------------------------------------------------- traffic of others


def test_C27_a_list_takes_no_traffic_from_another_provider() -> None:
    imported(make_provider(label="First"), "gpt-4o", "own")
    third = make_provider(label="Third party", priority=1)
    report = imported(third, "gpt-4o", "new")
    assert report.address_only == ("gpt-4o",)
    assert "1 by their address only, as the name is taken (gpt-4o)" in report.summary
    assert planned("gpt-4o") == ["first/gpt-4o"]
    assert planned("third-party/gpt-4o") == ["third-party/gpt-4o"]
    assert planned("gpt-4o", provider="third-party")[0] == "third-party/gpt-4o"
    assert planned("auto", preferred=(("third-party", "gpt-4o"),))[0] == "third-party/gpt-4o"
    assert "third-party/gpt-4o" not in planned("auto", preferred=((None, "gpt-4o"),))
    assert planned("new") == ["third-party/new"]


def test_C27_a_later_import_takes_none_either() -> None:
    imported(make_provider(label="First"), "gpt-4o")
    third = make_provider(label="Third party", priority=1)
    imported(third, "harmless")
    actions.share_names(third.pk, SYSTEM)
    assert imported(third, "harmless", "gpt-4o").address_only == ("gpt-4o",)
    assert planned("gpt-4o") == ["first/gpt-4o"]


def test_C27_a_key_for_a_name_does_not_open_what_has_that_name_by_its_address_only() -> None:
    imported(make_provider(label="First"), "gpt-4o")
    imported(make_provider(label="Third party"), "gpt-4o")
    only = NameList.of(["gpt-4o"])
    with pytest.raises(ModelNotAllowed):
        planned("third-party/gpt-4o", allowed_models=only)
    assert names_for(build_snapshot(), only) == (("gpt-4o", "first"),)
    assert dict(names_for(build_snapshot(), None)) == {"gpt-4o": "first", "third-party/gpt-4o": "third-party"}


def test_C27_fail_over_by_name_is_one_word_of_an_import() -> None:
    imported(make_provider(label="First"), "gpt-4o")
    assert imported(make_provider(label="Second", priority=1), "gpt-4o", shares_names=True).address_only == ()
    assert planned("gpt-4o") == ["second/gpt-4o", "first/gpt-4o"]


def test_C27_names_are_free_again_when_nobody_else_serves_them() -> None:
    first = make_provider(label="First")
    imported(first, "gpt-4o")
    actions.toggle_provider(first.pk, False, SYSTEM)
    assert imported(make_provider(label="Second"), "gpt-4o").address_only == ()


@pytest.mark.parametrize("how", ["field", "action", "rest", "model"])
def test_C27_fail_over_by_name_is_one_click(how: str, upstream: FakeProvider, superuser, django_capture_on_commit_callbacks) -> None:
    imported(make_provider(label="First"), "alpha-large")
    page = browser(superuser)
    form = {"kind": "openai_compatible", "label": "Second", "base_url": upstream.base_url, "priority": 1, "weight": 1, "enabled": "on"}
    limits = {"connect_timeout_s": 2, "first_byte_timeout_s": 30, "idle_timeout_s": 60, "total_timeout_s": 600, "max_connections": 9}
    form |= limits | {"disconnect_policy": "close", "discount_percent": 0} | ({"share_names": "on"} if how == "field" else {})
    with django_capture_on_commit_callbacks(execute=True):
        assert page.post(reverse("admin:providers_provider_add"), form).status_code == 302
    second = Provider.objects.get(slug="second")
    if how != "field":
        assert planned("alpha-large") == ["first/alpha-large"]
    if how == "action":
        page.post(reverse("admin:providers_provider_changelist"), {"action": "share_names", "_selected_action": [second.pk]})
    elif how == "rest":
        answer = api(superuser).post(f"/api/v1/ai/admin/providers/{second.pk}/import", {"share_names": True}, format="json")
        assert (answer.status_code, answer.json()["address_only"]) == (200, [])
    elif how == "model":
        model = Deployment.objects.get(provider=second, name="alpha-large")
        model.address_only = False
        actions.save_deployment(model, SYSTEM)
    assert planned("alpha-large") == ["second/alpha-large", "first/alpha-large"]
