"""C09, B08: the REST surface does what its OpenAPI document says, whatever is sent to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from django.core.cache import cache
from django.test import Client

from tests.api_contract.document import Surroundings, cases_of_each, every_case, loaded, operations, run
from tests.api_contract.judging import Findings
from tests.api_contract.world import World, build_world
from tests.providers.fake_provider import fake_provider
from tests.undone import undone

pytestmark = [pytest.mark.both_databases, pytest.mark.timeout(600)]

PRINCIPALS = ("root key", "root key", "root session", "plain key", "plain session", "nobody", "wrong key")
BASE = "http://testserver"


@pytest.fixture(scope="module")
def by_name() -> dict[str, Any]:
    return {f"{operation.method.upper()} {operation.path}": operation for operation in loaded()}


@pytest.fixture
def world(db: None, made_up_costs: None, settings: Any, tmp_path: Any) -> Iterator[World]:
    settings.KEY_RING = None
    settings.KEY_RING_FILE = tmp_path / "keks"
    with fake_provider() as upstream:
        yield build_world(upstream.base_url)


@pytest.fixture
def send(world: World) -> Callable[[Any, Surroundings], Any]:
    """Sends a case in this process and undoes what it did, so that each case finds the same world."""
    clients = {name: Client(raise_request_exception=False) for name in ("root session", "plain session", "key")}
    clients["root session"].force_login(world.root)
    clients["plain session"].force_login(world.plain)
    keys = {"root key": world.root_key, "plain key": world.plain_key, "wrong key": "gw_abcdefghijkl_" + "x" * 43}

    def sent(case: Any, beside: Surroundings) -> Any:
        prepared = _prepared(case)
        headers = {name: value for name, value in prepared.headers.items() if name.lower() not in ("cookie", "content-length")}
        if beside.who != "nobody":
            headers = {name: value for name, value in headers.items() if name.lower() not in ("authorization", "x-api-key")}
        if beside.who in keys:
            headers["Authorization"] = f"Bearer {keys[beside.who]}"
        more = {"Accept": beside.accept, "Idempotency-Key": beside.repeat, "X-Request-ID": beside.request_id}
        headers |= {name: value for name, value in more.items() if value}
        body = prepared.body or b""
        content_type = headers.pop("Content-Type", "")
        cache.clear()
        with undone():
            answer = clients.get(beside.who, clients["key"]).generic(
                prepared.method,
                prepared.url.removeprefix(BASE),
                body.encode() if isinstance(body, str) else body,
                content_type,
                headers=headers,
            )
            content = b"".join(answer.streaming_content) if answer.streaming else answer.content
        return _answer(prepared, answer, content)

    return sent


def _prepared(case: Any) -> requests.PreparedRequest:
    sent = case.as_transport_kwargs(base_url=BASE)
    return requests.Request(**{name: value for name, value in sent.items() if name != "cookies"}).prepare()


def _answer(prepared: requests.PreparedRequest, answer: Any, content: bytes) -> Any:
    from schemathesis.core.transport import Response

    headers = {name: [value] for name, value in answer.headers.items()}
    return Response(answer.status_code, headers, content, prepared, 0.0, verify=False)


@pytest.mark.parametrize("name", operations(inference=False))
def test_C09_B08_an_operation_answers_as_its_document_says(
    name: str, by_name: dict[str, Any], world: World, send: Callable[[Any, Surroundings], Any]
) -> None:
    operation, findings = by_name[name], Findings()
    cases = every_case(operation, world.parameters(operation.path), PRINCIPALS)
    count = cases_of_each(inference=False)
    run(cases, count, lambda drawn: findings.judge(drawn[0], send(*drawn)))
    assert not findings.found, str(findings)
    assert findings.cases >= count, findings.cases
