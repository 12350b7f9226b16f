"""The official client of OpenAI on a gateway of the test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from openai import DefaultHttpxClient, OpenAI

from tests.aigateway.conftest import TRUSTS_NOBODY, LiveGateway


@contextmanager
def openai_client(gateway: LiveGateway) -> Iterator[OpenAI]:
    plain = DefaultHttpxClient(verify=TRUSTS_NOBODY)
    with OpenAI(base_url=f"{gateway.base_url}/v1", api_key=gateway.key, max_retries=0, http_client=plain) as client:
        yield client
