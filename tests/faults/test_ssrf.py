"""S01-S08: over 600 spellings of addresses nobody may be sent to, at every place where a URL enters, judged at the socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import transaction

from aigateway import alerts
from aigateway.entitlements import endpoint as entitlement_endpoint
from providers import actions, own_services
from providers.audit import SYSTEM, Actor
from providers.client import fetch, tell
from providers.environment import register_from_environment
from providers.forms import ProviderForm
from providers.health import probe
from providers.models import Provider
from providers.registry import provider_spec
from providers.upstream.egress import EgressPolicy, is_literal
from providers.upstream.errors import UpstreamError
from providers.upstream.transport import Deadline, Transport
from providers.upstream.types import HttpRequest, ProviderSpec
from tests.faults import ssrf
from tests.faults.doors import DOORS
from tests.providers.conftest import api
from tests.providers.test_client_bounds import host
from tests.providers.upstream import rig

URLS = ssrf.vectors()
QUICK_S = 2.0


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int]]]:
    monkeypatch.setattr(socket, "getaddrinfo", ssrf.look_up)
    own_services.forget()
    with ssrf.watched() as seen:
        yield seen
    own_services.forget()


def dial(spec: ProviderSpec) -> None:
    with suppress(UpstreamError):
        probe(spec, QUICK_S)


def typed_plainly(url: str) -> bool:
    """Whether the host is an address, or localhost, as people write it: the only spellings that open a private place."""
    name = urlsplit(url).hostname or ""
    return name.endswith("localhost") or is_literal(name)


@contextmanager
def undone() -> Iterator[None]:
    """What was saved is taken back, so that thousands of rows stay one."""
    with suppress(_Undo), transaction.atomic():
        yield
        raise _Undo


class _Undo(Exception):
    pass


def judge(judged: list[tuple[str, int]], url: str, provider: Provider | None) -> None:
    """After ``url`` was offered; ``provider`` is what was made of it."""
    private_ok = provider is not None and provider.allow_private
    if private_ok:
        assert typed_plainly(url), (url, provider.base_url if provider else "")
    assert ssrf.forbidden(judged, private_ok=private_ok) == [], url
    judged.clear()


def test_there_are_more_than_600_vectors() -> None:
    assert len(URLS) == len(set(URLS)) > 600


# --------------------------------------------------------------------------- the provider's base URL


@pytest.mark.django_db
def test_S05_S06_base_urls_in_the_admin_form(judged: list[tuple[str, int]]) -> None:
    limits = {"connect_timeout_s": 2, "first_byte_timeout_s": 30, "idle_timeout_s": 60, "total_timeout_s": 600, "max_connections": 9}
    other = {"kind": "openai_compatible", "label": "X", "priority": 1, "weight": 1, "disconnect_policy": "close", **limits}
    made = 0
    for url in URLS:
        form_class = type("Form", (ProviderForm,), {"actor": SYSTEM})
        form = form_class({**other, "base_url": url})
        if not form.is_valid():
            judge(judged, url, None)
            continue
        with undone():
            provider = actions.create_provider(form.instance, SYSTEM)
            dial(provider_spec(provider))
            judge(judged, url, provider)
            made += 1
    assert 10 < made < len(URLS) / 3


@pytest.mark.django_db
@pytest.mark.parametrize("allow_private", [False, True])
def test_S05_S06_base_urls_over_REST(judged: list[tuple[str, int]], admin_user: Any, allow_private: bool) -> None:
    client = api(admin_user)
    made = 0
    for url in URLS:
        with undone():
            body = {"kind": "openai_compatible", "label": "X", "base_url": url[:300], "allow_private": allow_private}
            answer = client.post("/api/v1/ai/admin/providers", json.dumps(body), content_type="application/json")
            assert answer.status_code in (201, 400), (url, answer.content)
            if answer.status_code == 201:
                made += 1
                dial(provider_spec(Provider.objects.get(pk=answer.json()["id"])))
            assert ssrf.forbidden(judged, private_ok=allow_private or typed_plainly(url)) == [], url
            judged.clear()
    assert 10 < made < len(URLS) / 2


@pytest.mark.django_db
def test_S05_S06_a_changed_base_url(judged: list[tuple[str, int]]) -> None:
    kept = actions.create_provider(Provider(kind="openai_compatible", label="X", base_url="https://api.example/v1"), SYSTEM)
    for url in URLS:
        with undone():
            provider = Provider.objects.get(pk=kept.pk)
            provider.base_url = url[:300]
            try:
                dial(provider_spec(actions.update_provider(provider, SYSTEM)))
            except ValidationError:
                provider = None
            judge(judged, url, provider)


@pytest.mark.django_db
def test_S05_S06_base_urls_of_the_environment(judged: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("providers.prices.known_models", lambda _: ())
    for url in URLS:
        with undone():
            register_from_environment({"OPENAI_API_KEY": "sk-canary-0123456789", "OPENAI_BASE_URL": url})
            for provider in Provider.objects.all():
                dial(provider_spec(provider))
            judge(judged, url, Provider.objects.first())
    for url in [url for url in URLS[::25] if "\0" not in url]:
        with undone():
            monkeypatch.setenv("OPENAI_COMPATIBLE_BASE_URL", url)
            call_command("register_providers", verbosity=0)
            for provider in Provider.objects.all():
                dial(provider_spec(provider))
            judge(judged, url, Provider.objects.first())


@pytest.mark.django_db
def test_S06_who_is_no_superuser_reaches_no_private_address_at_all(judged: list[tuple[str, int]]) -> None:
    staff = Actor(None, is_superuser=False)
    for url in URLS:
        with undone():
            with suppress(ValidationError):
                dial(provider_spec(actions.create_provider(Provider(kind="openai_compatible", label="X", base_url=url), staff)))
            assert judged == [], url


def test_S04_S05_rows_nobody_checked_and_the_control_plane(judged: list[tuple[str, int]]) -> None:
    for url in URLS:
        dial(rig.provider(url, allow_private=False))
        assert ssrf.forbidden(judged, private_ok=False) == [], url
        dial(rig.provider(url, allow_private=True))
        assert ssrf.forbidden(judged, private_ok=True) == [], url
        judged.clear()


async def test_S04_S05_rows_nobody_checked_and_the_data_plane(judged: list[tuple[str, int]]) -> None:
    for allow_private in (False, True):
        for url in URLS:
            spec = rig.provider(url, allow_private=allow_private)
            carrier = Transport(lambda spec=spec: EgressPolicy.for_providers([spec]), ssl_context=False)
            await carrier.start()
            with suppress(UpstreamError):
                await carrier.send(spec, None, HttpRequest("/chat/completions", b"{}"), Deadline(QUICK_S))
            await carrier.close()
            assert ssrf.forbidden(judged, private_ok=allow_private) == [], url
            judged.clear()


# --------------------------------------------------------------------------- endpoints of the environment


def test_S05_webhooks_and_key_sets(judged: list[tuple[str, int]]) -> None:
    """What comes from the environment may be private; metadata services and their like it may not be, and no key is fetched there."""
    for url in URLS:
        with suppress(UpstreamError):
            tell(url, {}, b"{}", timeout_s=QUICK_S)
        with suppress(UpstreamError):
            fetch("GET", url, {}, timeout_s=QUICK_S)
        assert ssrf.forbidden(judged, private_ok=True) == [], url
        judged.clear()


@pytest.mark.django_db
def test_S05_the_alert_webhook(judged: list[tuple[str, int]], settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "payload", lambda _: {})
    for url in URLS:
        settings.ALERT_WEBHOOK_URL, settings.ALERT_WEBHOOK_SECRET = url, "s"
        assert alerts._post(type("Alert", (), {"pk": 1})()) is False
        assert ssrf.forbidden(judged, private_ok=True) == [], url
        judged.clear()


async def test_S05_the_entitlement_endpoint(judged: list[tuple[str, int]], settings: Any) -> None:
    for url in URLS:
        settings.SUBSCRIPTION_ENDPOINT_URL, settings.SUBSCRIPTION_ENDPOINT_TOKEN = url, "token"
        with suppress(ValueError, UpstreamError, entitlement_endpoint.SubscriptionUnknown):
            carrier = Transport(lambda: EgressPolicy.for_providers(entitlement_endpoint.specs()), ssl_context=False)
            await carrier.start()
            ask = entitlement_endpoint.fetcher(carrier)
            try:
                if ask is not None:
                    await ask("ursula")
            finally:
                await carrier.close()
        assert ssrf.forbidden(judged, private_ok=True) == [], url
        judged.clear()


# --------------------------------------------------------------------------- redirects, content


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 300, 305])
def test_S03_no_redirect_is_followed_by_the_control_plane(status: int) -> None:
    seen: list[bool] = []
    with host(lambda _: seen.append(True)) as secret:

        def redirects(send: Any) -> None:
            send(f"HTTP/1.1 {status} X\r\nLocation: {secret}/key\r\nContent-Length: 0\r\n\r\n".encode())

        with host(redirects) as base_url:
            spec = rig.provider(f"{base_url}/v1", allow_private=True)
            assert probe(spec, QUICK_S).status == "red"
            with pytest.raises(UpstreamError):
                fetch("GET", base_url, {}, timeout_s=QUICK_S)
            assert tell(base_url, {}, b"{}", timeout_s=QUICK_S) == status
    assert seen == []


def with_picture(name: str, url: str) -> dict[str, Any]:
    openai = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    return {
        "chat": {"model": "sim-small", "messages": [{"role": "user", "content": openai}]},
        "messages": {
            "model": "sim-small",
            "max_tokens": 20,
            "messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": url}}]}],
        },
        "gemini": {"contents": [{"role": "user", "parts": [{"text": "?"}, {"fileData": {"mimeType": "image/png", "fileUri": url}}]}]},
    }[name]


@pytest.mark.parametrize("name", ["chat", "messages", "gemini"])
def test_S07_no_address_in_a_request_is_fetched(gateway: Any, name: str) -> None:
    """Whatever becomes of the request, a listener at the address hears nothing."""
    heard: list[bool] = []
    with host(lambda _: heard.append(True)) as listener:
        port = urlsplit(listener).port
        for url in [f"http://{spelling}:{port}/x.png" for spelling in ssrf.spellings("127.0.0.1") if spelling.isascii()] + [
            f"{listener}/x"
        ]:
            body = json.dumps(with_picture(name, url)).encode()
            answer = gateway.client.post(
                DOORS[name].path.format(model="sim-small"), content=body, headers={"Content-Type": "application/json"}
            )
            assert answer.status_code in (200, 400, 502), (url, answer.text)
    assert heard == []
