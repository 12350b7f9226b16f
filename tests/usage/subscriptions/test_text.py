"""Text in a payment service's events that nobody can see, or no database can keep, is refused by the field's name (C20)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.providers.test_names import UNSEEN
from tests.usage.subscriptions.test_entitlements import event, post, ursula
from usage.models import Entitlement

__all__ = ["post", "ursula"]
KEPT_BY_JSON = [text for text in UNSEEN if "\ud800" not in text]
pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.mark.parametrize("text", KEPT_BY_JSON)
def test_C20_such_text_in_an_event_is_refused_by_name(post: Any, text: str) -> None:
    for changed, field in (
        (event(id=text), "data.object.id"),
        (event(metadata={"user": text, "tier": "ditectrev"}), "metadata.user"),
        (event(metadata={"user": "ursula", "tier": text}), "metadata.tier"),
    ):
        answer = post(changed)
        assert (answer.status_code, field in answer.content.decode()) == (400, True), answer.content
    assert not Entitlement.objects.exists()


@pytest.mark.parametrize("text", KEPT_BY_JSON)
def test_C20_elsewhere_in_an_event_it_is_not_looked_at(post: Any, text: str) -> None:
    assert post(event(description=text, metadata={"user": "ursula", "tier": "ditectrev", "note": text})).json() == {"applied": True}
