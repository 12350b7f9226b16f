"""What failing pages, logs, schemas and open endpoints show (S13, S14, S19, S29)."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import get_resolver
from django.views.debug import get_exception_reporter_filter
from drf_spectacular.generators import SchemaGenerator
from structlog.stdlib import ProcessorFormatter

from aigateway import env
from aigateway.api.debug_pages import Reporter
from providers.upstream import redaction
from tests.aigateway.conftest import LiveGateway
from usage.models import ApiKey

SECRET = "canary0f1e2d3c4b5a69788796a5b4c3d2e1f0"


def written(records: list[logging.LogRecord]) -> str:
    """Records of the standard library as our handler writes them."""
    ours = next(each.formatter for each in logging.getLogger().handlers if isinstance(each.formatter, ProcessorFormatter))
    return "\n".join(ours.format(record) for record in records)


class Failing:
    """Middleware that fails with a secret in its message and in a local variable."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        return self.get_response(request)

    def process_view(self, request: Any, *_: Any) -> None:
        password = SECRET
        raise RuntimeError(f"{request.path} could not connect with {password}")


def _addresses() -> Iterator[str]:
    """Every address of the control plane, with something in place of its parameters."""
    for path in sorted(_patterns(get_resolver("aigateway.urls"), "/")):
        yield (
            re.sub(r"\([^)]*\)|\[[^\]]*\]\+?", "1", re.sub(r"<(?:\w+:)?\w+>", "1", path))
            .replace("^", "")
            .replace("$", "")
            .replace("\\Z", "")
        )


def _patterns(resolver: Any, before: str) -> set[str]:
    found = set()
    for each in resolver.url_patterns:
        path = before + str(each.pattern)
        found |= _patterns(each, path) if hasattr(each, "url_patterns") else {path}
    return found


@pytest.fixture
def failing(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(redaction, "_own", {})
    settings.SECRET_KEY = SECRET
    redaction.remember(env.secrets_of(settings))
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.faults.test_exposure.Failing"]
    return settings


@pytest.mark.django_db
@pytest.mark.parametrize("debug", [False, True])
def test_S14_no_failing_page_and_no_log_of_it_shows_a_secret(failing: Any, debug: bool, caplog: pytest.LogCaptureFixture) -> None:
    failing.DEBUG = debug
    client = Client(raise_request_exception=False)
    failed = 0
    for address in _addresses():
        answer = client.get(address)
        failed += answer.status_code == 500
        assert SECRET not in answer.getvalue().decode("utf-8", "replace"), address
        assert SECRET not in str(answer.headers)
    assert failed > 100
    logged = written(caplog.records)
    assert "could not connect with ***" in logged
    assert SECRET not in logged


def test_S14_a_debug_page_hides_every_setting_that_may_hold_a_password(rf: Any, settings: Any) -> None:
    settings.REDIS_URL = settings.CELERY_BROKER_URL = f"redis://:{SECRET}@localhost/0"
    settings.EMAIL_URL, settings.EMAIL_HOST_PASSWORD, settings.KEY_RING = f"smtp://u:{SECRET}@h", SECRET, f"k1:{SECRET}"
    settings.SUBSCRIPTION_ENDPOINT_TOKEN = settings.ALERT_WEBHOOK_SECRET = SECRET
    request = rf.get("/", HTTP_AUTHORIZATION=f"Bearer {SECRET}", HTTP_X_API_KEY=SECRET, HTTP_COOKIE=f"sessionid={SECRET}")
    assert SECRET not in str(get_exception_reporter_filter(request).get_safe_settings())
    try:
        raise KeyError("something")
    except KeyError as error:
        page = Reporter(request, type(error), error, error.__traceback__).get_traceback_html()
    assert SECRET not in page


OF_FILES = {"sha256", "file_sha256"}
"""Checksums of exports and months, which are there to be compared."""


def _properties(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for name, field in node.get("properties", {}).items() if isinstance(node.get("properties"), dict) else ():
            if not (isinstance(field, dict) and field.get("writeOnly")):
                yield name
        for value in node.values():
            yield from _properties(value)
    elif isinstance(node, list):
        for value in node:
            yield from _properties(value)


def test_S19_no_answer_has_a_field_that_looks_like_a_secret_or_its_hash() -> None:
    answers = SchemaGenerator().get_schema(public=True)["components"]["schemas"]
    requests = {name for name in answers if name.endswith("Request")}
    names = set(_properties({name: schema for name, schema in answers.items() if name not in requests}))
    assert {"fingerprint", "last4"} <= names
    assert {name for name in names if re.search("hash|passw|secret|sealed|sha256|digest|plaintext", name)} - OF_FILES == set()


@pytest.mark.django_db
def test_S19_what_is_stored_of_a_password_or_a_key_opens_nothing(gateway: LiveGateway) -> None:
    user = get_user_model().objects.create_user("olga", password="a long pass phrase", is_staff=True)
    assert django_settings.PASSWORD_HASHERS
    assert user.password.count("$") >= 3, "an algorithm, its cost, a salt and a hash"
    client = Client()
    for password in (user.password, hashlib.sha256(b"a long pass phrase").hexdigest(), user.password.rpartition("$")[2]):
        assert client.post("/admin/login/", {"username": "olga", "password": password}).status_code == 200
    assert client.post("/admin/login/", {"username": "olga", "password": "a long pass phrase"}).status_code == 302
    stored = bytes(ApiKey.objects.get().secret_sha256)
    for sent in (stored.hex(), hashlib.sha256(gateway.key.encode()).hexdigest(), f"gw_{ApiKey.objects.get().pk}_{stored.hex()[:43]}"):
        answer = gateway.chat(headers={"Authorization": f"Bearer {sent}"})
        assert answer.status_code == 401, sent


NASTY = ("a\r\nb", 'a\n{"event":"forged","level":"info"}', "a\x1b[31mred", "a\x00b", "a\u2028b", "a\x85b", "a\x7fb")


@pytest.mark.parametrize("text", NASTY)
def test_S29_a_record_is_a_line_whatever_is_in_path_model_and_headers(
    gateway: LiveGateway, text: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    gateway.chat(model=text)
    gateway.chat(f"[sim fault=http_400] {text}")
    for path in (f"/v1/{quote(text)}", f"/admin/{quote(text)}/", f"/api/v1/ai/models/{quote(text)}"):
        gateway.client.get(path, params={text: text})
    if text.isprintable():
        gateway.chat(headers={"X-Request-ID": text})
    records = [record for record in caplog.records if record.name.startswith("django")]
    lines = [*capfd.readouterr().err.split("\n"), *written(records).split("\n")]
    assert records
    for line in filter(None, lines):
        record = json.loads(line)
        assert record["event"] != "forged"
        assert not re.search("[\x00-\x1f\x7f]", line)


@pytest.mark.parametrize("path", ["/metrics", "/v1/metrics", "/debug", "/_sim/journal", "/api/v1/ai/metrics", "/prometheus"])
def test_S13_nothing_is_measured_in_public(gateway: LiveGateway, path: str) -> None:
    answer = gateway.client.get(path, headers={"Authorization": ""})
    assert answer.status_code in (401, 403, 404)
    assert gateway.user.username not in answer.text


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/api/health"])
def test_S13_health_names_no_user_no_key_and_no_address(gateway: LiveGateway, path: str) -> None:
    text = gateway.client.get(path, headers={"Authorization": ""}).text
    for told in (gateway.user.username, gateway.key, "127.0.0.1", "sim-small", str(django_settings.VAR_DIR)):
        assert told not in text
