"""Prices in admin and over REST: typed as lines, compared side by side, decided by those who may."""

from __future__ import annotations

import pytest
from auditlog.models import LogEntry
from django.test import Client
from django.utils import timezone

from providers import actions
from providers.audit import SYSTEM
from providers.models import Deployment, Price, Provider
from providers.prices.changes import changes
from providers.registry import current_prices
from tests.providers.admin_pages import form_of, page_of
from tests.providers.conftest import api, browser, make_provider, staff_with
from tests.providers.prices.test_imports import open_proposal
from tests.providers.test_admin_models import model_form, model_page, price_row

pytestmark = pytest.mark.django_db
BASE = "/api/v1/ai/admin"
PROPOSALS = "/admin/providers/priceproposal/"


@pytest.fixture
def model(db) -> Deployment:
    return actions.save_deployment(Deployment(provider=make_provider(), name="m", upstream_model="m", capabilities=["chat"]), SYSTEM)


# --------------------------------------------------------------------------- typed in admin


def test_R505_tiers_and_windows_are_typed_as_lines_and_shown_as_lines(superuser, model):
    client = browser(superuser)
    typed = {"context_tiers": "above 200,000: input 6, output 22.5", "windows": "16:30-00:30 UTC: input 1, output 2"}
    client.post(model_page(model), model_form(client, model, **price_row(**typed)))
    price = Price.objects.get()
    assert price.context_tiers[0]["output_nano_per_mtok"] == 22_500_000_000
    text = client.get(model_page(model)).content.decode()
    assert "above 200000: input 6, output 22.5" in text
    assert "16:30-00:30 UTC: input 1, output 2" in text


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("context_tiers", "above many: input 6", "Line 1"),
        ("context_tiers", "above 5: input 6", "Output has no price"),
        ("windows", "09:00-10:00: input 1, output 1\n09:59-11:00: input 1, output 1", "overlap"),
        ("windows", "09:00-10:00 Mars/Olympus: input 1, output 1", "no time zone"),
        ("native_currency", "EUR", "The day this rate is of"),
        ("usd_rate", "2", "The rate of dollars in dollars is 1"),
    ],
)
def test_a_wrong_line_is_refused_in_the_form(superuser, model, field, value, told):
    client = browser(superuser)
    answer = client.post(model_page(model), model_form(client, model, **price_row(**{field: value})))
    assert answer.status_code == 200
    assert told in answer.content.decode()
    assert not Price.objects.exists()


def test_M16_a_price_in_another_currency_is_shown_with_what_was_typed(superuser, model):
    client = browser(superuser)
    rate = {"native_currency": "EUR", "usd_rate": "1.1", "usd_rate_on": "2026-11-20"}
    client.post(model_page(model), model_form(client, model, **price_row(**rate)))
    text = client.get(model_page(model)).content.decode()
    assert "input $2.75, output $11.00" in text
    assert "entered in EUR at 1.1 of 2026-11-20: input 2.5, output 10" in text


def test_R505_a_price_without_a_date_begins_when_it_is_saved(superuser, model):
    client = browser(superuser)
    page = client.get(model_page(model)).content.decode()
    assert 'name="prices-__prefix__-valid_from_0" id="id_prices-__prefix__-valid_from_0" value' not in page
    opened = timezone.now()
    imported = Price.objects.create(deployment=model, input_nano_per_mtok=1, output_nano_per_mtok=1, source="import: genai-prices 1")
    client.post(model_page(model), model_form(client, model, **price_row(valid_from_0="", valid_from_1="")))
    price = Price.objects.exclude(pk=imported.pk).get()
    assert opened < imported.valid_from < price.valid_from <= timezone.now()
    assert current_prices(Deployment.objects.all())[model.pk] == price


def test_M07_a_ceiling_is_typed_in_dollars_on_the_models_page(superuser, model):
    client = browser(superuser)
    client.post(model_page(model), model_form(client, model, unpriced_ceiling_nano="0.05"))
    model.refresh_from_db()
    assert model.unpriced_ceiling_nano == 50_000_000


def provider_form(client: Client, provider: Provider, **fields: str) -> dict[str, str]:
    return {**form_of(client, page_of(provider)), **fields}


@pytest.mark.parametrize(("typed", "ppm"), [("12.5", 125_000), ("0.0001", 1), ("100", 1_000_000), ("", 0)])
def test_people_type_a_discount_in_percent(superuser, typed, ppm):
    provider, client = make_provider(), browser(superuser)
    assert client.post(page_of(provider), provider_form(client, provider, discount_percent=typed)).status_code == 302
    provider.refresh_from_db()
    assert provider.discount_ppm == ppm
    assert client.get(page_of(provider)).context["adminform"].form["discount_percent"].initial == (typed or "0")


@pytest.mark.parametrize("typed", ["100.0001", "-1", "0.00001", "much"])
def test_a_discount_nobody_gives_is_refused(superuser, typed):
    provider, client = make_provider(), browser(superuser)
    assert client.post(page_of(provider), provider_form(client, provider, discount_percent=typed)).status_code == 200
    provider.refresh_from_db()
    assert provider.discount_ppm == 0


# --------------------------------------------------------------------------- proposals in admin


def test_R505_a_proposal_shows_both_prices_side_by_side_with_the_change(superuser):
    proposal = open_proposal()
    Price.objects.update(input_nano_per_mtok=2_000_000_000)
    client = browser(superuser)
    listed = client.get(PROPOSALS).content.decode()
    assert "input $2.00 → $2.50 (+25.0 %)" in listed
    page = client.get(f"{PROPOSALS}{proposal.pk}/change/").content.decode()
    assert '<tr class="changed"><th scope="row">input</th><td>$2.00</td><td>$2.50</td><td>+25.0 %</td></tr>' in page
    assert '<tr class="same"><th scope="row">output</th><td>$10.00</td><td>$10.00</td><td>+0.0 %</td></tr>' in page
    assert "when approved" in page


@pytest.mark.parametrize(("button", "status", "rows"), [("approve", "approved", 2), ("reject", "rejected", 1)])
def test_R505_buttons_decide_once_and_are_audited(superuser, button, status, rows):
    proposal, client = open_proposal(), browser(superuser)
    url = f"{PROPOSALS}{proposal.pk}/{button}/"
    assert client.get(url).status_code == 405
    assert client.post(url).status_code == 302
    proposal.refresh_from_db()
    assert (proposal.status, proposal.decided_by_id, Price.objects.count()) == (status, superuser.pk, rows)
    entry = LogEntry.objects.get_for_object(proposal).first()
    assert entry is not None
    assert (entry.actor, entry.changes["status"]) == (superuser, ["open", status])
    assert f"{status} already" in client.post(url, follow=True).content.decode()
    assert Price.objects.count() == rows
    assert button.capitalize() + "</button>" not in client.get(f"{PROPOSALS}{proposal.pk}/change/").content.decode()


def test_R505_many_proposals_are_approved_at_once(superuser):
    proposal, client = open_proposal(), browser(superuser)
    client.post(PROPOSALS, {"action": "approve", "_selected_action": [proposal.pk]})
    assert Price.objects.count() == 2


@pytest.mark.parametrize(
    ("permissions", "code"),
    [((), 403), (("view_priceproposal",), 403), (("change_priceproposal",), 403), (("change_priceproposal", "add_price"), 302)],
)
def test_deciding_needs_the_right_to_add_prices(permissions, code):
    proposal, client = open_proposal(), browser(staff_with(*permissions))
    assert client.post(f"{PROPOSALS}{proposal.pk}/approve/").status_code == code
    assert Price.objects.count() == (2 if code == 302 else 1)


def test_a_proposal_cannot_be_edited_added_or_deleted(superuser):
    proposal, client = open_proposal(), browser(superuser)
    client.post(f"{PROPOSALS}{proposal.pk}/change/", {"status": "approved", "figures": "{}"})
    assert client.get(f"{PROPOSALS}add/").status_code == 403
    assert client.post(f"{PROPOSALS}{proposal.pk}/delete/", {"post": "yes"}).status_code == 403
    before = proposal.figures
    proposal.refresh_from_db()
    assert (proposal.status, proposal.figures) == ("open", before)


def test_changes_name_tiers_windows_fees_and_what_has_no_counterpart():
    tier = {"above_input_tokens": 200_000, "input_nano_per_mtok": 6, "output_nano_per_mtok": 7}
    window = {"start": "01:00", "end": "02:00", "zone": "UTC", "input_nano_per_mtok": 8, "output_nano_per_mtok": 9, "context_tiers": [tier]}
    ours = {"input_nano_per_mtok": 0, "output_nano_per_mtok": 3, "cache_read_nano_per_mtok": 1}
    theirs = {"input_nano_per_mtok": 2, "output_nano_per_mtok": 2, "request_nano": 5, "context_tiers": [tier], "windows": [window]}
    rows = {row.figure: (row.ours, row.theirs, row.percent) for row in changes(ours, theirs)}
    assert rows == {
        "input": (0, 2, None),
        "output": (3, 2, "-33.3"),
        "per request": (None, 5, None),
        "above 200,000 tokens: input": (None, 6, None),
        "above 200,000 tokens: output": (None, 7, None),
        "01:00-02:00 UTC: input": (None, 8, None),
        "01:00-02:00 UTC: output": (None, 9, None),
        "01:00-02:00 UTC, above 200,000 tokens: input": (None, 6, None),
        "01:00-02:00 UTC, above 200,000 tokens: output": (None, 7, None),
        "cache read": (1, None, None),
    }
    assert [row.ours for row in changes(None, ours)] == [None, None, None]


# --------------------------------------------------------------------------- REST


def test_R505_a_price_is_added_and_listed_over_rest(superuser, model):
    client = api(superuser)
    order = {
        "model": model.pk,
        "input": "2.5",
        "output": "10",
        "cache_read": "0.25",
        "request": "0.005",
        "source": "price page",
        "context_tiers": [{"above_input_tokens": 200_000, "input": "5", "output": "20"}],
        "windows": [{"start": "01:00", "end": "02:00", "input": "1", "output": "2"}],
    }
    created = client.post(f"{BASE}/prices", order, format="json")
    assert created.status_code == 201, created.content
    body = created.json()
    assert (body["address"], body["input"], body["request"], body["reasoning"]) == ("example/m", "2.500000000", "0.005000000", None)
    assert body["context_tiers"][0]["output"] == "20.000000000"
    assert (body["windows"][0]["zone"], body["windows"][0]["context_tiers"]) == ("UTC", [])
    listed = client.get(f"{BASE}/prices?model={model.pk}&provider=example").json()
    assert [row["id"] for row in listed["results"]] == [body["id"]]
    assert client.get(f"{BASE}/prices?provider=other").json()["results"] == []
    public = api(None).get("/api/v1/ai/models").json()["results"][0]["price"]
    assert public["windows"][0]["input"] == "1.000000000"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"input": "-1"}, "input"),
        ({"input": "0.0000000001"}, "input"),
        ({"input": None}, "input"),
        ({"source": "import: genai-prices"}, "source"),
        ({"native_currency": "EUR"}, "usd_rate_on"),
        ({"windows": [{"start": "1", "end": "2", "input": "1", "output": "1"}]}, "windows"),
        ({"windows": [{"start": "01:00", "end": "02:00", "input": "1", "output": "1", "colour": "red"}]}, "windows"),
        ({"context_tiers": [{"above_input_tokens": 0, "input": "1", "output": "1"}]}, "context_tiers"),
        ({"model": 999_999}, "model"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_R505_a_wrong_price_over_rest_names_its_field(superuser, model, changes, field):
    order = {"model": model.pk, "input": "1", "output": "1", "source": "page", **changes}
    answer = api(superuser).post(f"{BASE}/prices", order, format="json")
    assert answer.status_code == 400
    assert field in answer.content.decode()
    assert not Price.objects.exists()


def test_R505_proposals_are_listed_and_decided_over_rest(superuser):
    proposal, client = open_proposal(), api(superuser)
    (row,) = client.get(f"{BASE}/price-proposals?status=open").json()["results"]
    assert (row["address"], row["begins_at"]) == ("openai/gpt-4o", None)
    assert row["changes"] == [{"figure": "input", "ours": "0.000000001", "proposed": "2.500000000", "percent": "+249999999900.0"}]
    url = f"{BASE}/price-proposals/{proposal.pk}/decision"
    assert client.post(url, {"decision": "maybe"}, format="json").status_code == 400
    assert client.post(url, {"decision": "approve"}, format="json").json()["status"] == "approved"
    assert Price.objects.count() == 2
    assert client.post(url, {"decision": "reject"}, format="json").status_code == 400
    assert client.get(f"{BASE}/price-proposals?status=open").json()["results"] == []
    assert client.post(f"{BASE}/price-proposals/999999/decision", {"decision": "reject"}, format="json").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "permissions"),
    [
        ("get", "prices", ("view_price",)),
        ("post", "prices", ("add_price",)),
        ("get", "price-proposals", ("view_priceproposal",)),
        ("post", "price-proposals/1/decision", ("change_priceproposal", "add_price")),
    ],
)
def test_rest_prices_need_their_permissions(plain_user, method, path, permissions):
    def asked(client) -> int:
        return getattr(client, method)(f"{BASE}/{path}", format="json").status_code

    assert asked(api(None)) == 401
    assert asked(api(plain_user)) == 403
    assert asked(api(staff_with("view_provider", "change_provider", name="other"))) == 403
    for place, lone in enumerate(permissions if len(permissions) > 1 else ()):
        assert asked(api(staff_with(lone, name=f"half-{place}"))) == 403
    assert asked(api(staff_with(*permissions, name="right"))) not in (401, 403)


def test_a_discount_goes_over_rest_in_percent(superuser):
    provider, client = make_provider(), api(superuser)
    url = f"{BASE}/providers/{provider.pk}"
    assert client.patch(url, {"discount_percent": "7.25"}, format="json").json()["discount_percent"] == "7.25"
    provider.refresh_from_db()
    assert provider.discount_ppm == 72_500
    assert client.patch(url, {"discount_percent": "101"}, format="json").status_code == 400


def test_an_import_tells_what_waits_for_approval(superuser, monkeypatch):
    monkeypatch.setattr("providers.discovery.import_from_provider", lambda *_, **__: actions.ImportReport(proposed=3))
    assert api(superuser).post(f"{BASE}/providers/{make_provider().pk}/import", {}, format="json").json()["proposed"] == 3
