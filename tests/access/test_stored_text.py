"""S26, S32: whatever text is stored, a page of the admin has the elements and attributes it has with plain text, and shows it as it is."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import DatabaseError, models, transaction
from django.test import Client
from django.urls import NoReverseMatch, reverse
from rest_framework.test import APIClient

from providers.models import Deployment, Provider
from tests.access.admin_rules import MODELS
from tests.access.principals import People
from tests.access.rows import one_row
from tests.access.world import World
from tests.undone import undone

pytestmark = pytest.mark.django_db

PAYLOADS = (
    "<b>", "</td>", "<i x=1>", '"x=1 ', "'x=1 ", '"><u>', "'><u>", "<!--", "-->", "<svg/x>", "<script>", "</script>", "<img src=x>",
    "<a href=//x>", "<style>*{}", "</title>", "</textarea>", "<p/onx=1>", "onerror=1", "javascript:x", "data:text/html,x", "&lt;b&gt;",
    "&#60;b&#62;", "\\u003cb\\u003e", "\x3cb\x3e", "<<b>", "<b", "b>", "`x`", "${7*7}", "{{7*7}}", "{%x%}", "{#x#}", "<%=7*7%>", "#{7*7}",
    "]]>", "<![CDATA[", "\u2028<b>", "\u202e<b>", "＜b＞",
)  # fmt: skip
GROUPS = 4
"""So many texts, each of ten payloads one after the other: a column shorter than a text has the first of them."""
PLAIN_CHARACTERS = 60
STRUCTURE = {
    "providers.provider": {"kind", "base_url"},
    "usage.budget": {"context"},
    "usage.closedmonth": {"sha256"},
    "usage.statement": {"layout", "time_zone"},
    "django_celery_beat.crontabschedule": {"minute", "hour", "day_of_month", "month_of_year", "day_of_week", "timezone"},
    "auth.user": {"password", "username"},
}
"""Texts that are no free text: what they may be is a list or a grammar, and anything else is refused when it is stored."""


class Skeleton(HTMLParser):
    """Elements with the names of their attributes, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag, tuple(sorted(name for name, _ in attrs))] += 1

    def handle_comment(self, data: str) -> None:
        self.elements["comment", ()] += 1

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _free_texts(label: str) -> list[models.Field[Any, Any]]:
    fields = apps.get_model(label)._meta.concrete_fields
    return [
        field
        for field in fields
        if isinstance(field, models.CharField | models.TextField)
        and not field.choices
        and not field.primary_key
        and field.name not in STRUCTURE.get(label, set())
    ]


def _store(label: str, text: str) -> Any:
    """A row whose free texts are all ``text``: changed past every form, or added where rows are never changed."""
    model = apps.get_model(label)
    values = {field.name: text[: field.max_length or None] for field in _free_texts(label)}
    pk = one_row(model).pk
    try:
        with transaction.atomic():
            model._default_manager.filter(pk=pk).update(**values)
    except DatabaseError:
        pk = one_row(model, **values).pk
    return pk


def _pages(client: Client, label: str, pk: Any) -> dict[str, Skeleton]:
    shown = {}
    for name in ("changelist", "change", "delete", "history"):
        try:
            url = reverse(f"admin:{label.replace('.', '_')}_{name}", args=[] if name == "changelist" else [pk])
        except NoReverseMatch:
            continue
        answer = client.get(url)
        if answer.status_code == 200:
            shown[name] = Skeleton(answer.content.decode())
    return shown


@pytest.fixture
def root(people: People, world: World) -> Client:
    client = Client()
    client.force_login(User.objects.get(username="root"))
    return client


@pytest.mark.parametrize("label", [label for label in MODELS if label != "auditlog.logentry"])
def test_S26_no_payload_becomes_an_element_or_an_attribute(label: str, root: Client) -> None:
    if not _free_texts(label):
        return
    with undone():
        plain = _pages(root, label, _store(label, "a" * PLAIN_CHARACTERS))
    for number in range(GROUPS):
        payload = "".join(PAYLOADS[number::GROUPS])
        with undone():
            poisoned = _pages(root, label, _store(label, payload))
        assert plain.keys() == poisoned.keys()
        for name, page in poisoned.items():
            assert page.elements == plain[name].elements, (label, name, payload)


def test_S26_the_skeleton_sees_what_is_not_escaped() -> None:
    assert Skeleton("<td>a</td>").elements != Skeleton(f"<td>{PAYLOADS[0]}</td>").elements
    assert Skeleton("<td x='a'>").elements != Skeleton("<td x='a'onx=1>").elements


def test_S32_no_template_in_a_stored_text_is_evaluated(root: Client, world: World) -> None:
    spells = [text for text in PAYLOADS if "7*7" in text]
    assert len(spells) >= 4
    text = " ".join(spells)
    Provider.objects.update(label=text)
    Deployment.objects.update(display_name=text, name=text)
    for name in ("providers_provider_changelist", "providers_deployment_changelist"):
        shown = "".join(_pages_text(root, name))
        assert text in shown
        assert "49" not in shown.replace("&#x27;", "")
    listed = APIClient().get("/api/v1/ai/models").json()["results"][0]
    assert (listed["display_name"], listed["name"]) == (text, text)


def _pages_text(client: Client, name: str) -> list[str]:
    return Skeleton(client.get(reverse(f"admin:{name}")).content.decode()).text
