from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import override_settings


@pytest.fixture(autouse=True)
def _control_plane() -> Iterator[None]:
    with override_settings(ROOT_URLCONF="tests.control_plane_urls"):
        yield
