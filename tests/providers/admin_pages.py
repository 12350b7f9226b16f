"""What a browser does with the admin's pages."""

from __future__ import annotations

from django.test import Client
from django.urls import reverse

from providers.models import Provider


def page_of(provider: Provider) -> str:
    return reverse("admin:providers_provider_change", args=[provider.pk])


def form_of(client: Client, url: str) -> dict[str, str]:
    """The values a browser would send back unchanged."""
    fields = client.get(url).context["adminform"].form
    values = {name: fields.get_initial_for_field(field, name) for name, field in fields.fields.items()}
    sent = {name: ("on" if value is True else value) for name, value in values.items() if value not in (None, False, "")}
    return {**sent, "deployments-TOTAL_FORMS": "0", "deployments-INITIAL_FORMS": "0"}
