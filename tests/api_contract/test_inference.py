"""C09, B08: the inference surface does what its OpenAPI document says, over a real socket and with a provider behind it."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from django.contrib.auth.models import User

from tests.aigateway.conftest import LiveGateway, gateway, new_simulator, simulator, start_gateway, user
from tests.api_contract.document import Surroundings, cases_of_each, every_case, loaded, run
from tests.api_contract.judging import Findings

__all__ = ["gateway", "new_simulator", "simulator", "start_gateway", "user"]

pytestmark = [pytest.mark.both_databases, pytest.mark.timeout(600)]


def test_C09_B08_inference_answers_as_its_document_says(gateway: LiveGateway, user: User) -> None:
    findings, count = Findings(), cases_of_each(inference=True)
    keys = {"key": gateway.key, "wrong key": "gw_abcdefghijkl_" + "x" * 43}
    session = requests.Session()
    session.trust_env = False

    def ask(drawn: tuple[Any, Surroundings]) -> None:
        case, beside = drawn
        sent = case.as_transport_kwargs(base_url=gateway.base_url)
        headers = {name: value for name, value in sent.pop("headers").items() if name.lower() not in ("authorization", "x-api-key")}
        if beside.who in keys:
            headers["Authorization"] = f"Bearer {keys[beside.who]}"
        more = {"Accept": beside.accept, "Idempotency-Key": beside.repeat, "X-Request-ID": beside.request_id.strip()}
        headers |= {name: value for name, value in more.items() if value}
        prepared = session.prepare_request(requests.Request(headers=headers, **sent))
        findings.judge(case, session.send(prepared, timeout=60))

    with session:
        for operation in loaded():
            if "inference" in (operation.tags or ()):
                run(every_case(operation, {}, ("key", "key", "key", "nobody", "wrong key")), count, ask)
    assert not findings.found, str(findings)
    assert findings.cases >= 8 * count
