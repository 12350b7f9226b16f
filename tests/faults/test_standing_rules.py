"""Rules that hold for the whole product at once: S14, S19, S24, S28, S29, S35, S38, S39, and S17 over the inference surface."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as product_settings
from django.contrib.auth.hashers import get_hashers
from django.contrib.auth.models import User
from django.test import Client, override_settings

from aigateway import env, logs
from aigateway.door.views import urlpatterns as inference_routes
from tests.aigateway.conftest import LiveGateway
from tests.api_contract.document import document
from tests.providers.simulator.fixtures import SimulatorHandle
from usage.keys.actions import create_api_key, revoke_api_key
from usage.models import ApiKey, Attempt

CANARY = "sk-canary-of-a-failing-view-93f1"
INJECTIONS = (
    "' OR '1'='1",
    "'; DROP TABLE usage_apikey; --",
    "1) OR 1=1 --",
    '" OR ""="',
    "admin'/*",
    "' UNION SELECT secret_sha256 FROM usage_apikey --",
    "gw_' OR id LIKE '%",
    "gw_aaaaaaaaaaaa_' OR 1=1 --",
    "%27%20OR%201=1",
    "1;SELECT pg_sleep(5)",
    "'||(SELECT 1)||'",
    "\\'; --",
    "x' AND SLEEP(5)='",
)


# --------------------------------------------------------------------------- what leaks when something fails


@pytest.mark.django_db
@override_settings(ROOT_URLCONF="tests.control_plane_urls", DEBUG=False)
@pytest.mark.parametrize("path", ["/api/broken", "/broken"])
def test_S14_a_view_that_fails_says_nothing_of_why(path: str) -> None:
    answer = Client(raise_request_exception=False).get(path, headers={"Authorization": f"Bearer {CANARY}", "Cookie": f"sessionid={CANARY}"})
    said = answer.content.decode()
    assert answer.status_code == 500
    for secret in ("a secret detail", "Traceback", "RuntimeError", CANARY, str(product_settings.SECRET_KEY), "settings"):
        assert secret not in said


def test_S19_passwords_are_stored_by_a_slow_salted_hash() -> None:
    assert get_hashers()[0].algorithm in ("pbkdf2_sha256", "argon2", "scrypt", "bcrypt_sha256")
    assert not {hasher.algorithm for hasher in get_hashers()} & {"md5", "unsalted_md5", "unsalted_sha1", "sha1"}


@pytest.mark.django_db
def test_S19_no_answer_of_the_document_has_a_field_for_a_hash_or_a_secret() -> None:
    secret = re.compile(r"password|secret|sealed|_hash$|^hash|session", re.IGNORECASE)
    written = {"password", "old_password", "new_password"}  # a body may carry one, an answer never
    schemas = document()["components"]["schemas"]
    answered = {name for path in document()["paths"].values() for operation in path.values() for name in _referred(operation["responses"])}
    found = {f"{name}.{field}" for name in answered for field in schemas[name].get("properties", {}) if secret.search(field)}
    assert {each for each in found if each.partition(".")[2] not in written} == set()


def _referred(part: Any) -> set[str]:
    return set(re.findall(r"#/components/schemas/(\w+)", json.dumps(part)))


@pytest.mark.parametrize("text", ["a\r\nb", 'x\n{"event":"forged","level":"info"}', "\x1b[2Jgone", "\u2028next", "\x00nul"])
def test_S29_a_record_is_one_line_whatever_stands_in_it(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(logs.os, "write", lambda _, line: written.append(line))
    logs.LineLogger("test").info(logs._encode({"event": "asked", "path": text, "model": text}))
    line = written[0].removesuffix(b"\n")
    assert len(written) == 1
    assert not set(line) & {0, 10, 13, 27}
    assert json.loads(line)["path"] == text


# --------------------------------------------------------------------------- defaults


def test_S38_no_secret_has_a_default_that_two_installations_share(tmp_path: Path) -> None:
    first, second = (env.stored_secret(tmp_path / name / "secret_key", env.new_secret_key()) for name in ("one", "two"))
    assert first != second
    assert min(len(first), len(second)) >= 40
    assert env.stored_secret(tmp_path / "one" / "secret_key", "another") == first
    assert (tmp_path / "one" / "secret_key").stat().st_mode & 0o077 == 0


def test_S38_nothing_in_the_repository_is_a_secret_somebody_could_keep() -> None:
    root = Path(__file__).resolve().parents[2]
    shipped = [*root.glob("docker-compose.yml"), root / "Dockerfile", *root.glob("docs/*.md"), root / "README.md"]
    found = [
        f"{path.name}: {line.strip()[:80]}"
        for path in shipped
        for line in path.read_text().splitlines()
        if re.search(r"(SECRET_KEY|KEKS|PASSWORD)\s*[:=]\s*[\"']?[A-Za-z0-9+/]{8,}[\"']?\s*$", line) and "$" not in line
    ]
    assert found == []


# --------------------------------------------------------------------------- the inference surface, running


def _paths() -> list[str]:
    return ["/" + re.sub(r"<path:model>", "sim-small", str(route.pattern)) for route in inference_routes]


def test_S24_every_inference_route_lets_in_the_same_people(gateway: LiveGateway, user: User) -> None:
    """Introspected: a route added without the one admission answers somebody here."""
    usage_only = create_api_key(user, "usage only", scopes=("own_usage",))[1]
    ended = create_api_key(user, "ended")
    revoke_api_key(ended[0])
    gateway.client.headers.pop("Authorization")
    let_in: list[str] = []
    for path in _paths():
        method = "GET" if path.endswith(("/models", "/sim-small")) else "POST"
        for name, key, expected in (("nobody", "", 401), ("an ended key", ended[1], 401), ("a key for usage", usage_only, 403)):
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            answer = gateway.client.request(method, path, headers=headers, json={} if method == "POST" else None)
            if answer.status_code != expected:
                let_in.append(f"{name} {method} {path}: {answer.status_code}")
    assert let_in == []
    assert Attempt.objects.count() == 0


def test_S17_injections_in_every_header_and_field_are_text(gateway: LiveGateway) -> None:
    keys = ApiKey.objects.count()
    for text in INJECTIONS:
        for headers in ({"Authorization": f"Bearer {text}"}, {"X-API-Key": text, "Authorization": ""}):
            answer = gateway.client.post("/v1/chat/completions", json={"model": "sim-small", "messages": []}, headers=headers)
            assert answer.status_code == 401, (text, answer.status_code)
        for header in ("X-Gateway-Context", "X-Request-ID", "Idempotency-Key", "User-Agent"):
            assert gateway.chat("Hello", headers={header: text}).status_code < 500, (header, text)
        for field in ("model", "user"):
            body = {"model": "sim-small", "messages": [{"role": "user", "content": text}], field: text}
            assert gateway.client.post("/v1/chat/completions", json=body).status_code < 500, (field, text)
    assert ApiKey.objects.count() == keys


def test_S28_the_same_question_of_two_callers_is_asked_twice(gateway: LiveGateway, simulator: SimulatorHandle) -> None:
    other = User.objects.create_user("otto")
    _, key = create_api_key(other, "other")
    same = {"Idempotency-Key": "one-and-the-same"}
    answers = [gateway.chat("Hello", headers=same), gateway.chat("Hello", headers={**same, "Authorization": f"Bearer {key}"})]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert "Idempotent-Replayed" not in answers[1].headers
    assert sorted(Attempt.objects.values_list("user_id", flat=True)) == sorted([gateway.user.pk, other.pk])
    for answer in answers:
        assert "no-store" in answer.headers["Cache-Control"]


def test_S39_whose_money_it_is_follows_from_the_key_and_nothing_else(gateway: LiveGateway) -> None:
    other = User.objects.create_user("otto")
    named = {"user": other.username, "metadata": {"user_id": str(other.pk), "user": other.username}}
    headers = {
        name: str(other.pk)
        for name in ("X-User-ID", "X-Gateway-User", "X-Forwarded-User", "Remote-User", "X-End-User", "OpenAI-Organization")
    }
    for fields, sent in (({}, headers), (named, {}), (named, headers)):
        gateway.chat("Hello", headers=sent, **fields)
    assert Attempt.objects.count() >= 1
    assert set(Attempt.objects.values_list("user_id", flat=True)) == {gateway.user.pk}


def test_S35_two_keys_work_side_by_side_so_that_one_can_be_replaced(gateway: LiveGateway, user: User) -> None:
    new = create_api_key(user, "new")[1]
    failed = [
        number
        for number in range(20)
        if gateway.chat("Hello", headers={"Authorization": f"Bearer {new}"} if number % 2 else {}).status_code != 200
    ]
    assert failed == []
    revoke_api_key(ApiKey.objects.get(name="test"))
    assert gateway.chat("Hello").status_code == 401
    assert gateway.chat("Hello", headers={"Authorization": f"Bearer {new}"}).status_code == 200
