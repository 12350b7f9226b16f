"""The gateway all tests of this package talk to: started once, on rows that stay until the last of them is done.

``transactional_db`` is that of every test, widened to the package.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth import get_user_model
from pytest_django.plugin import DjangoDbBlocker

from providers.models import RoutingConfiguration
from tests.aigateway.clients.world import World, register_every_kind
from tests.aigateway.conftest import ServerThread
from tests.emptying import Pristine
from tests.providers.simulator.fixtures import start_in_thread
from usage.keys.actions import create_api_key


@pytest.fixture(scope="package")
def transactional_db(django_db_setup: Pristine, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield
        django_db_setup.restore()


@pytest.fixture(scope="package")
def world(transactional_db: None) -> Iterator[World]:
    """Faults are part of these tests, so no breaker opens and nothing is tried twice."""
    RoutingConfiguration.objects.update_or_create(id=1, defaults={"breaker_failures": 10_000, "retries_per_target": 0})
    simulator, server = start_in_thread(), ServerThread()
    try:
        register_every_kind(simulator)
        _, key = create_api_key(get_user_model().objects.create_user("clara"), "test")
        server.start()
        made = World(f"http://127.0.0.1:{server.port}", key, simulator)
        yield made
        for client in made.clients.values():
            client.close()
        server.stop()
    finally:
        simulator.stop()
