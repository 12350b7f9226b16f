"""For whom the inference plane answers: its own names, and HTTP that knows names."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from tests.aigateway.conftest import LiveGateway

PATHS = ("/v1/models", "/v1/nothing", "/v1beta/models")


def asked(gateway: LiveGateway, path: str, version: str, *headers: str) -> tuple[int, dict[str, str]]:
    """Status and error of a request written by hand."""
    port = int(gateway.base_url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        lines = (f"GET {path} HTTP/{version}", *headers, f"Authorization: Bearer {gateway.key}", "Connection: close")
        connection.sendall("\r\n".join((*lines, "", "")).encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body).get("error", {})


@pytest.mark.parametrize("path", PATHS)
def test_C26_a_foreign_host_is_refused_on_inference(gateway: LiveGateway, path: str) -> None:
    for host in ("Host: evil.example", "Host: 127.0.0.1.evil.example", "Host: ", "X-Nothing: at-all"):
        status, error = asked(gateway, path, "1.1", host)
        assert status == 400, host
        assert error.get("code") in ("host_not_allowed", "invalid_http"), error
        assert "evil" not in str(error)


def test_C26_its_own_names_are_answered(gateway: LiveGateway, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["127.0.0.1", ".gateway.example"]
    assert [asked(gateway, "/v1/models", "1.1", f"Host: {host}")[0] for host in ("127.0.0.1:8000", "eu.gateway.example")] == [200, 200]


@pytest.mark.parametrize("path", PATHS)
def test_C26_HTTP_1_0_is_told_to_upgrade(gateway: LiveGateway, path: str) -> None:
    status, error = asked(gateway, path, "1.0", "Host: 127.0.0.1")
    assert (status, error["code"]) == (426, "http_version_too_old")
