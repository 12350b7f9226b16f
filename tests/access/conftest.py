from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tests.access.principals import People, build_people
from tests.access.world import World, build_world
from tests.providers.fake_provider import fake_provider


@pytest.fixture(autouse=True)
def _no_log() -> Iterator[None]:
    """Tens of thousands of refusals are the point here; a line for each takes longer than the answer."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def people(db: None) -> People:
    return build_people()


@pytest.fixture
def world(db: None, made_up_costs: None, people: People, settings: Any, tmp_path: Any) -> Iterator[World]:
    settings.KEY_RING = None
    settings.KEY_RING_FILE = tmp_path / "keks"
    by_name = {who.name: who for who in people.named}
    user, other = by_name["user"].user, by_name["other user"].user
    assert user is not None
    assert other is not None
    with fake_provider() as upstream:
        yield build_world(upstream.base_url, user, other)
