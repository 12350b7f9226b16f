"""Whose word about a client's address and scheme is believed (C23)."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from aigateway import env
from aigateway.process import web
from tests.architecture.source import ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


async def seen(client: str, *forwarded: str) -> tuple[str, str]:
    """Address and scheme as the application sees them."""
    config = web.configured()
    found: list[tuple[str, str]] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        found.append((scope["client"][0], scope["scheme"]))

    config.app = application
    config.load()
    headers = [(b"x-forwarded-for", address.encode()) for address in forwarded] + [(b"x-forwarded-proto", b"https")]
    await config.loaded_app({"type": "http", "client": (client, 1), "scheme": "http", "headers": headers}, None, None)  # type: ignore[arg-type]
    return found[0]


async def test_C23_nobody_is_believed_where_no_proxy_is_configured(settings: Any) -> None:
    settings.FORWARDED_ALLOW_IPS = ["0.0.0.0/0"]
    assert await seen("192.0.2.1", "203.0.113.9") == ("192.0.2.1", "http")


@pytest.mark.parametrize(
    ("client", "forwarded", "address"),
    [
        ("172.30.83.1", ("203.0.113.9",), "203.0.113.9"),
        ("172.30.83.7", ("203.0.113.9",), "203.0.113.9"),
        ("192.0.2.1", ("203.0.113.9",), "192.0.2.1"),
        ("172.30.84.1", ("203.0.113.9",), "172.30.84.1"),
        ("172.30.83.1", ("198.51.100.66, 203.0.113.9",), "203.0.113.9"),
        ("172.30.83.1", ("198.51.100.66", "203.0.113.9"), "203.0.113.9"),
        ("172.30.83.1", ("203.0.113.9, 172.30.83.2",), "203.0.113.9"),
        ("172.30.83.1", (), "172.30.83.1"),
    ],
)
async def test_C23_the_compose_network_is_believed_and_only_about_the_last_stranger(
    settings: Any, monkeypatch: pytest.MonkeyPatch, client: str, forwarded: tuple[str, ...], address: str
) -> None:
    network = COMPOSE["networks"]["default"]["ipam"]["config"][0]["subnet"]
    trusted = COMPOSE["services"]["web"]["environment"]["FORWARDED_ALLOW_IPS"]
    assert network == "${AIGATEWAY_NETWORK:-172.30.83.0/24}"
    assert trusted == f"${{FORWARDED_ALLOW_IPS:-{network}}}"
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", network.split(":-")[1].rstrip("}"))
    settings.BEHIND_PROXY = True
    settings.FORWARDED_ALLOW_IPS = env.networks("FORWARDED_ALLOW_IPS", "127.0.0.1")
    believed = client.startswith("172.30.83.")
    assert await seen(client, *forwarded) == (address, "https" if believed else "http")


def test_C23_django_believes_no_header_of_its_own(settings: Any) -> None:
    assert settings.SECURE_PROXY_SSL_HEADER is None
    assert settings.USE_X_FORWARDED_HOST is False
