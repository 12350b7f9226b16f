"""The request id, in and out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable
from typing import Any, cast

import pytest
import structlog
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory

from aigateway.api.request_id import RequestIdMiddleware, request_id_of

MADE = re.compile(r"req_[0-9a-f]{32}")


@pytest.mark.parametrize("sent", ["a", "req_1.2-3", "x" * 64, "-"])
def test_a_well_formed_id_is_taken_and_returned(client: Client, sent: str) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": sent})["X-Request-ID"] == sent


@pytest.mark.parametrize("sent", ["", "x" * 65, "a b", "a\tb", "ä", "<script>", "a;b", "a\x00", "id\n"])
def test_a_malformed_id_is_replaced_and_never_echoed(client: Client, sent: str) -> None:
    assert MADE.fullmatch(client.get("/healthz", headers={"X-Request-ID": sent})["X-Request-ID"])


def test_ids_made_here_differ(client: Client) -> None:
    assert client.get("/healthz")["X-Request-ID"] != client.get("/healthz")["X-Request-ID"]


@pytest.mark.parametrize("path", ["/api/nothing", "/nothing", "/api/v1/ai/usage", "/api/broken", "/broken"])
@pytest.mark.django_db
def test_errors_carry_it_too(path: str) -> None:
    response = Client(raise_request_exception=False).get(path, headers={"X-Request-ID": "mine"})
    assert response["X-Request-ID"] == "mine"


async def test_asynchronous_stack(async_client: AsyncClient) -> None:
    response = await async_client.get("/healthz", headers={"X-Request-ID": "mine"})
    assert response["X-Request-ID"] == "mine"


def test_it_is_bound_to_the_log_for_the_time_of_the_request() -> None:
    seen: list[dict[str, Any]] = []

    def view(request: HttpRequest) -> HttpResponse:
        seen.append(structlog.contextvars.get_contextvars())
        return HttpResponse(request_id_of(request))

    response = cast(HttpResponse, RequestIdMiddleware(view)(RequestFactory().get("/", headers={"X-Request-ID": "mine"})))
    assert seen == [{"request_id": "mine"}]
    assert response.content == b"mine"
    assert structlog.contextvars.get_contextvars() == {}


async def test_parallel_asynchronous_requests_do_not_mix() -> None:
    both_inside = asyncio.Barrier(2)

    async def view(request: HttpRequest) -> HttpResponse:
        await both_inside.wait()
        return HttpResponse(structlog.contextvars.get_contextvars()["request_id"])

    middleware = RequestIdMiddleware(view)
    requests = [RequestFactory().get("/", headers={"X-Request-ID": name}) for name in ("one", "two")]
    responses = await asyncio.gather(*[cast(Awaitable[HttpResponse], middleware(request)) for request in requests])
    assert [(response.content, response["X-Request-ID"]) for response in responses] == [(b"one", "one"), (b"two", "two")]
    assert structlog.contextvars.get_contextvars() == {}
