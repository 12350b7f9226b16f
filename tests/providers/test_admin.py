from __future__ import annotations

import html
import re

import pytest
from django.contrib.admin.models import LogEntry as AdminLogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from providers import actions, secrets
from providers.audit import SYSTEM
from providers.models import Credential, Deployment, HealthCheck, Price, Provider, Route, RoutingConfiguration
from providers.registry import build_snapshot, open_credential
from tests.providers.admin_pages import form_of, page_of
from tests.providers.conftest import CANARY, browser, make_provider, staff_with
from tests.providers.fake_provider import closed_port

pytestmark = pytest.mark.django_db

ADD = "/admin/providers/provider/add/"
LIST = "/admin/providers/provider/"
XSS = "<script>alert(1)</script>\"'"


def messages_of(response) -> str:
    return " ".join(html.unescape(str(message)) for message in response.context["messages"])


def add(client: Client, **fields: str):
    return client.post(ADD, {**form_of(client, ADD), **fields}, follow=True)


# --------------------------------------------------------------------------- adding


@pytest.mark.django_db(transaction=True)
def test_R205_a_new_provider_is_live_at_once_with_models_and_prices(superuser, upstream):
    upstream.script.body = b'{"object": "list", "data": [{"id": "sim-small"}, {"id": "sim-large"}]}'
    answer = add(browser(superuser), kind="openai_compatible", label="Lab", base_url=upstream.base_url, api_key=CANARY)
    assert "2 models added" in messages_of(answer)
    targets = build_snapshot().targets.values()
    assert {target.address for target in targets} == {"lab/sim-small", "lab/sim-large"}
    assert all(target.price for target in targets)
    assert upstream.asked[0][2]["authorization"] == f"Bearer {CANARY}"


@pytest.mark.django_db(transaction=True)
def test_the_models_are_fetched_outside_the_transaction(superuser, upstream):
    seen: list[bool] = []
    upstream.script.before = lambda: seen.append(Provider.objects.filter(label="Lab").exists())
    client = browser(superuser)
    client.post(ADD, {**form_of(client, ADD), "kind": "openai_compatible", "label": "Lab", "base_url": upstream.base_url})
    assert seen == [True], "another connection already sees the committed row"


@pytest.mark.django_db(transaction=True)
def test_a_provider_that_cannot_be_asked_is_saved_with_a_warning(superuser):
    dead = f"http://127.0.0.1:{closed_port()}/v1"
    answer = add(browser(superuser), kind="openai_compatible", label="Dead", base_url=dead)
    assert "no models imported. The host refuses connections" in messages_of(answer)
    assert Provider.objects.get().label == "Dead"


def test_kind_and_key_are_enough(superuser):
    client = browser(superuser)
    client.post(ADD, {**form_of(client, ADD), "kind": "groq", "api_key": CANARY})
    provider = Provider.objects.get()
    assert (provider.label, provider.slug, provider.base_url) == ("Groq", "groq", "https://api.groq.com/openai/v1")


@pytest.mark.parametrize(
    ("field", "value"),
    [("base_url", "http://169.254.169.254/v1"), ("base_url", "http://api.example.org/v1"), ("api_key", "two words"), ("kind", "x")],
)
def test_wrong_values_are_shown_at_their_field_and_nothing_is_saved(superuser, field, value):
    client = browser(superuser)
    answer = client.post(ADD, {**form_of(client, ADD), "kind": "groq", field: value})
    assert field in answer.context["adminform"].form.errors
    assert not Provider.objects.exists()


def test_a_key_that_was_typed_is_not_rendered_back_after_an_error(superuser):
    client = browser(superuser)
    answer = client.post(ADD, {**form_of(client, ADD), "kind": "groq", "base_url": "nonsense", "api_key": CANARY})
    assert answer.status_code == 200
    assert CANARY not in answer.content.decode()


# --------------------------------------------------------------------------- the key


def test_R701_the_stored_key_is_shown_by_its_last_four_and_fingerprint_only(superuser):
    provider = make_provider()
    text = browser(superuser).get(page_of(provider)).content.decode()
    assert CANARY not in text
    assert f"…{CANARY[-4:]}" in text
    assert Credential.objects.get().fingerprint in text
    field = re.search(r"<input[^>]*name=\"api_key\"[^>]*>", text)
    assert field is not None
    assert 'type="password"' in field[0]
    assert 'autocomplete="off"' in field[0]
    assert "value=" not in field[0]


def test_saving_without_a_key_keeps_the_stored_one(superuser):
    provider, client = make_provider(), browser(superuser)
    client.post(page_of(provider), {**form_of(client, page_of(provider)), "label": "Renamed"})
    provider.refresh_from_db()
    assert provider.label == "Renamed"
    assert open_credential(Credential.objects.get()).reveal() == CANARY


def test_a_new_key_replaces_the_stored_one(superuser):
    provider, client = make_provider(key="first-key-0123456789"), browser(superuser)
    client.post(page_of(provider), {**form_of(client, page_of(provider)), "api_key": CANARY})
    assert open_credential(Credential.objects.get()).reveal() == CANARY


def test_a_wrong_key_ring_renders_the_admin_and_says_that_the_key_is_needed(superuser, settings):
    provider, client = make_provider(), browser(superuser)
    settings.KEY_RING = secrets.new_ring_entry("other")
    for url in (LIST, page_of(provider)):
        answer = client.get(url)
        assert answer.status_code == 200
        assert "needs key" in answer.content.decode()


@pytest.mark.django_db(transaction=True)
def test_S09_S10_S12_the_key_is_nowhere_after_a_whole_round(superuser, upstream, capfd, caplog):
    caplog.set_level("DEBUG")
    client = browser(superuser)
    pages = [add(client, kind="openai_compatible", label="Lab", base_url=upstream.base_url, api_key=CANARY)]
    provider = Provider.objects.get()
    upstream.script.status, upstream.script.body = 401, f'{{"error": {{"message": "bad key {CANARY}"}}}}'.encode()
    pages += [client.post(reverse(f"admin:provider-{button}", args=[provider.pk]), follow=True) for button in ("check", "import")]
    pages.append(client.post(page_of(provider), {**form_of(client, page_of(provider)), "api_key": CANARY, "priority": "x"}))
    pages += [client.get(url) for url in (LIST, page_of(provider), f"{page_of(provider)}history/", "/admin/auditlog/logentry/", "/admin/")]
    pages += [client.get(f"/api/v1/ai/{path}") for path in ("models", "admin/providers", f"admin/providers/{provider.pk}")]
    assert all(CANARY not in page.content.decode() for page in pages)
    assert CANARY not in caplog.text
    assert CANARY not in "".join(capfd.readouterr())
    assert CANARY.encode() not in _database_dump()


def _database_dump() -> bytes:
    """Every value of every table, as text and as raw bytes."""
    dump = b""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            for row in cursor.fetchall():
                dump += b"\n".join(bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode() for value in row)
    return dump


# --------------------------------------------------------------------------- permissions


@pytest.mark.parametrize(
    "path",
    ["provider", "deployment", "route", "healthcheck", "routingconfiguration/1/change"],
)
@pytest.mark.parametrize("who", ["anonymous", "user", "staff without permission"])
def test_S20_nobody_without_permission_sees_a_page(path, who, plain_user):
    user = {"anonymous": None, "user": plain_user}.get(who) if who != "staff without permission" else staff_with()
    assert browser(user).get(f"/admin/providers/{path}/").status_code in (302, 403)


def test_S21_staff_neither_see_nor_set_keys_and_addresses():
    provider = make_provider()
    client = browser(staff_with("view_provider", "change_provider"))
    text = client.get(page_of(provider)).content.decode()
    assert "api.example.org" not in text
    assert Credential.objects.get().fingerprint not in text
    assert 'name="api_key"' not in text
    forged = {"base_url": "https://evil.example/v1", "api_key": "evil-key-0123456789", "allow_private": "on"}
    client.post(page_of(provider), {**form_of(client, page_of(provider)), **forged, "label": "Renamed"})
    provider.refresh_from_db()
    assert (provider.label, provider.base_url, provider.allow_private) == ("Renamed", "https://api.example.org/v1", False)
    assert open_credential(Credential.objects.get()).reveal() == CANARY


def state_of() -> list[object]:
    rows: list[object] = []
    for model in (Provider, Credential, Deployment, Price, Route, RoutingConfiguration, HealthCheck):
        rows += list(model.objects.order_by("pk").values_list())
    return rows


def test_S22_a_forged_post_of_view_only_staff_changes_nothing(upstream):
    provider = make_provider(upstream.base_url)
    model = actions.save_deployment(Deployment(provider=provider, name="m", upstream_model="m", capabilities=["chat"]), SYSTEM)
    route = actions.save_route(Route(name="fast"), SYSTEM)
    client = browser(
        staff_with("view_provider", "view_deployment", "view_route", "view_price", "view_routetarget", "view_routingconfiguration")
    )
    before = state_of()
    inline = {
        "prices-TOTAL_FORMS": "1",
        "prices-INITIAL_FORMS": "0",
        "prices-0-input_nano_per_mtok": "0",
        "prices-0-output_nano_per_mtok": "0",
    }
    targets = {"choices-TOTAL_FORMS": "1", "choices-INITIAL_FORMS": "0", "choices-0-deployment": str(model.pk), "choices-0-priority": "1"}
    forged = [
        (page_of(provider), {"label": "Evil", "kind": "groq", "deployments-TOTAL_FORMS": "0", "deployments-INITIAL_FORMS": "0"}),
        (f"/admin/providers/deployment/{model.pk}/change/", {"name": "evil", "upstream_model": "evil", "prices-0-source": "x", **inline}),
        (f"/admin/providers/route/{route.pk}/change/", {"name": "evil", "choices-0-weight": "1", **targets}),
        ("/admin/providers/routingconfiguration/1/change/", {"max_attempts": "99"}),
        (ADD, {"kind": "groq"}),
        (f"/admin/providers/provider/{provider.pk}/delete/", {"post": "yes"}),
        (f"/admin/providers/provider/{provider.pk}/check/", {}),
        (f"/admin/providers/provider/{provider.pk}/import/", {}),
        *(
            (LIST, {"action": name, "_selected_action": str(provider.pk)})
            for name in ("enable", "disable", "check_now", "import_now", "delete_selected")
        ),
        ("/admin/providers/deployment/", {"action": "disable", "_selected_action": str(model.pk)}),
    ]
    for url, body in forged:
        client.post(url, body)
    assert state_of() == before
    assert upstream.asked == []


def test_S25_buttons_need_a_csrf_token_and_a_post(superuser, upstream):
    provider = make_provider(upstream.base_url)
    strict = browser(superuser, csrf=True)
    for button in ("check", "import"):
        url = reverse(f"admin:provider-{button}", args=[provider.pk])
        assert strict.post(url).status_code == 403
        assert strict.get(url).status_code == 405
    assert upstream.asked == []


def test_S25_looking_at_pages_writes_nothing(superuser):
    provider = make_provider()
    model = actions.save_deployment(Deployment(provider=provider, name="m", upstream_model="m", capabilities=["chat"]), SYSTEM)
    client = browser(superuser)
    urls = [LIST, ADD, page_of(provider), "/admin/providers/deployment/", f"/admin/providers/deployment/{model.pk}/change/", "/admin/"]
    urls += ["/admin/providers/routingconfiguration/1/change/", "/admin/providers/healthcheck/", "/admin/providers/route/add/"]
    with CaptureQueriesContext(connection) as queries:
        assert [client.get(url).status_code for url in urls] == [200] * len(urls)
    assert [query["sql"] for query in queries if query["sql"].split()[0] in ("INSERT", "UPDATE", "DELETE")] == []


def test_S26_stored_text_never_becomes_markup(superuser):
    provider = make_provider(label=XSS)
    actions.save_deployment(Deployment(provider=provider, name=XSS, upstream_model=XSS, display_name=XSS, capabilities=["chat"]), SYSTEM)
    Provider.objects.update(health_detail=XSS, health="green", health_checked_at=provider.created_at)
    client = browser(superuser)
    for url in (LIST, page_of(provider), "/admin/providers/deployment/", f"/admin/providers/provider/{provider.pk}/delete/"):
        assert "<script>alert" not in client.get(url).content.decode()


def test_no_page_has_inline_scripts_styles_or_handlers(superuser):
    provider = make_provider()
    client = browser(superuser)
    for url in (LIST, ADD, page_of(provider), "/admin/", "/admin/providers/deployment/", "/admin/providers/route/add/"):
        text = client.get(url).content.decode()
        assert not re.search(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)[^>]*>", text), url
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=\"", text), url


# --------------------------------------------------------------------------- buttons, lists, deletion


def test_check_now_colours_the_provider(superuser, upstream):
    provider = make_provider(upstream.base_url)
    answer = browser(superuser).post(reverse("admin:provider-check", args=[provider.pk]), follow=True)
    assert "green" in messages_of(answer)
    provider.refresh_from_db()
    assert provider.health == "green"


def test_the_list_actions_work_on_what_is_selected(superuser, upstream):
    good, dead = make_provider(upstream.base_url, label="Good"), make_provider(f"http://127.0.0.1:{closed_port()}/v1", label="Dead")
    client = browser(superuser)

    def run(action: str, *chosen: Provider):
        return client.post(LIST, {"action": action, "_selected_action": [str(row.pk) for row in chosen]}, follow=True)

    run("check_now", good, dead)
    assert dict(Provider.objects.values_list("label", "health")) == {"Good": "green", "Dead": "red"}
    assert "2 models added" in messages_of(run("import_now", good))
    run("disable", good)
    assert dict(Provider.objects.values_list("label", "enabled")) == {"Good": False, "Dead": True}
    run("enable", good)
    assert Provider.objects.get(label="Good").enabled


def test_deleting_is_soft_for_one_and_for_many(superuser):
    one, other = make_provider(label="One"), make_provider(label="Other")
    actions.save_deployment(Deployment(provider=one, name="m", upstream_model="m", capabilities=["chat"]), SYSTEM)
    client = browser(superuser)
    client.post(f"/admin/providers/provider/{one.pk}/delete/", {"post": "yes"})
    client.post(LIST, {"action": "delete_selected", "_selected_action": [str(other.pk)], "post": "yes"})
    assert Provider.objects.exclude(deleted_at=None).count() == 2
    assert Deployment.objects.count() == 1
    assert not Credential.objects.exists()
    assert client.get(page_of(one)).status_code == 302


def test_the_admins_own_log_names_what_was_done(superuser):
    client = browser(superuser)
    client.post(ADD, {**form_of(client, ADD), "kind": "groq", "api_key": CANARY})
    entry = AdminLogEntry.objects.get()
    assert (entry.user, entry.object_repr) == (User.objects.get(), "Groq")
    assert CANARY not in entry.change_message
