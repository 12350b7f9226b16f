from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from providers.upstream.transport import Transport
from tests.providers.upstream.rig import FakeLedger, FakeProvider, open_policy


@pytest.fixture
async def alpha() -> AsyncIterator[FakeProvider]:
    fake = await FakeProvider().start()
    yield fake
    await fake.stop()


@pytest.fixture
async def beta() -> AsyncIterator[FakeProvider]:
    fake = await FakeProvider().start()
    yield fake
    await fake.stop()


@pytest.fixture
async def transport(alpha: FakeProvider, beta: FakeProvider) -> AsyncIterator[Transport]:
    opened = Transport(lambda: open_policy(alpha, beta))
    await opened.start()
    yield opened
    await opened.close()


@pytest.fixture
def ledger() -> FakeLedger:
    return FakeLedger()
