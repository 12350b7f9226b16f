from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from django.contrib.auth.models import User
from django.test import override_settings
from rest_framework.test import APIClient

from providers.models import Deployment, Provider


@pytest.fixture(autouse=True)
def _control_plane() -> Iterator[None]:
    with override_settings(ROOT_URLCONF="tests.control_plane_urls"):
        yield


@dataclass(frozen=True)
class Catalogue:
    """Two providers that answer; ``shared`` is a model of both."""

    first: Provider
    second: Provider
    mini: Deployment
    claude: Deployment
    shared_first: Deployment
    shared_second: Deployment


@pytest.fixture
def catalogue(db: None) -> Catalogue:
    first = Provider.objects.create(
        slug="openai", label="OpenAI", kind="openai", base_url="http://localhost/v1", priority=1, health="green"
    )
    second = Provider.objects.create(slug="anthropic", label="Anthropic", kind="anthropic", base_url="http://localhost/v1", priority=2)
    return Catalogue(
        first,
        second,
        Deployment.objects.create(provider=first, name="gpt-4o-mini", upstream_model="gpt-4o-mini", display_name="GPT-4o mini"),
        Deployment.objects.create(provider=second, name="claude-sonnet", upstream_model="claude-sonnet"),
        Deployment.objects.create(provider=first, name="shared", upstream_model="shared"),
        Deployment.objects.create(provider=second, name="shared", upstream_model="shared"),
    )


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create_user("ada")


@pytest.fixture
def client(ada: User) -> APIClient:
    client = APIClient()
    client.force_authenticate(ada)
    return client
