"""The OpenAPI document is valid, complete about errors, and readable offline under the strict policy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client, override_settings

STATUSES_OF_WRITES = {"400", "401", "403", "413", "415", "429", "503"}


@pytest.fixture(autouse=True)
def _whole_surface() -> Iterator[None]:
    with override_settings(ROOT_URLCONF="aigateway.urls"):
        yield


@pytest.fixture
def document() -> dict[str, Any]:
    response = Client().get("/api/schema/", headers={"Accept": "application/vnd.oai.openapi+json"})
    assert response.status_code == 200
    answer: dict[str, Any] = response.json()
    return answer


@pytest.mark.django_db
def test_the_document_is_valid_and_without_warnings(tmp_path: Any) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "openapi.yaml"))


@pytest.mark.django_db
def test_every_operation_says_which_errors_it_gives(document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        error = {"$ref": f"#/components/schemas/{'AnthropicError' if path.startswith('/v1/messages') else 'ErrorAnswer'}"}
        for method, operation in item.items():
            answers = operation["responses"]
            assert {"429", "503"} <= set(answers), (path, method)
            for status, answer in answers.items():
                if status.startswith(("4", "5")):
                    assert answer["content"]["application/json"]["schema"] == error, (path, method, status)
                    assert answer["description"]
    assert set(document["paths"]["/api/v1/ai/preferences"]["put"]["responses"]) >= STATUSES_OF_WRITES
    assert "404" in document["paths"]["/api/v1/ai/preferences/{context}"]["delete"]["responses"]


@pytest.mark.django_db
def test_every_operation_names_its_authentication(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    assert schemes["bearerKey"]["scheme"] == "bearer"
    assert schemes["headerKey"]["name"] == "X-API-Key"
    assert schemes["accessToken"]["bearerFormat"] == "JWT"
    assert schemes["cookieAuth"]["in"] == "cookie"
    for operation in document["paths"]["/api/v1/ai/preferences"].values():
        assert {next(iter(choice)) for choice in operation["security"]} == {"accessToken", "bearerKey", "headerKey", "cookieAuth"}


@pytest.mark.django_db
def test_costs_are_described_in_both_formats(document: dict[str, Any]) -> None:
    operation = document["paths"]["/api/v1/ai/admin/costs"]["get"]
    assert set(operation["responses"]["200"]["content"]) == {"application/json", "text/csv"}
    chosen = next(parameter for parameter in operation["parameters"] if parameter["name"] == "format")
    assert sorted(chosen["schema"]["enum"]) == ["csv", "focus", "focus-1.2", "focus-1.4", "json"]


@pytest.mark.django_db
def test_the_page_loads_nothing_from_elsewhere_and_runs_nothing_inline() -> None:
    client = Client()
    response = client.get("/api/docs/")
    page = response.content.decode()
    assert response.status_code == 200
    policy = response["Content-Security-Policy"]
    assert "script-src 'self';" in f"{policy};"
    assert "unsafe" not in policy
    assert not re.search(r"<style|style=|\son\w+=|javascript:", page)
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(re.findall(r"<script src=", page)) == page.count("<script") == 3
    assert all(source.startswith("/") for source in sources), sources
    script = next(source for source in sources if "script" in source).replace("&amp;", "&")
    started = client.get(script)
    assert started["Content-Type"] == "application/javascript"
    assert "/api/schema/" in started.content.decode()
    for source in sources:
        if source.startswith("/static/"):
            served = client.get(source)
            assert served.status_code == 200, source
            served.close()


@pytest.mark.django_db
def test_the_document_is_served_as_yaml_by_default() -> None:
    assert Client().get("/api/schema/")["Content-Type"].startswith("application/vnd.oai.openapi")


@pytest.mark.django_db
def test_R501_R509_inference_tells_of_rate_limits_and_of_repeating_safely(document: dict[str, Any]) -> None:
    limits = {f"X-RateLimit-{name}-{measure}" for name in ("Limit", "Remaining", "Reset") for measure in ("Requests", "Tokens")}
    for path in ("/v1/chat/completions", "/api/v1/ai/generate", "/v1/messages", "/v1/responses", "/v1/embeddings"):
        operation = document["paths"][path]["post"]
        assert [(each["name"], each["in"], each.get("required", False)) for each in operation["parameters"]] == [
            ("Idempotency-Key", "header", False)
        ]
        answers = operation["responses"]
        assert set(answers["200"]["headers"]) >= limits | {"Idempotent-Replayed"}
        assert set(answers["429"]["headers"]) >= limits | {"Retry-After", "Retry-After-Ms"}
        assert {"409", "422"} <= set(answers)
    listing = document["paths"]["/v1/models"]["get"]
    assert set(listing["responses"]["200"]["headers"]) >= limits
    assert not {"409", "422"} & set(listing["responses"])
