"""Liveness needs nothing; readiness names what is missing."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.utils import ConnectionHandler
from django.test import Client, override_settings
from pytest_django import DjangoAssertNumQueries

from aigateway.process import health
from tests import servers
from tests.aigateway.conftest import LiveGateway

pytestmark = pytest.mark.both_databases


@pytest.fixture(autouse=True)
def _control_plane(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(health._Migrated, "seen", False)
    with override_settings(ROOT_URLCONF="tests.control_plane_urls", REDIS_URL=None):
        yield


def test_liveness_touches_no_database() -> None:
    """Without the database mark any query fails this test."""
    response = Client().get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "alive"})
    assert "no-store" in response["Cache-Control"]


@pytest.mark.django_db
def test_ready_without_redis_configured() -> None:
    response = Client().get("/readyz")
    assert response.status_code == 200
    assert response.json() == {
        "status": "ready",
        "checks": {"database": "ok", "migrations": "ok", "redis": "not_configured", "credentials": "ok"},
    }


@pytest.mark.django_db
def test_redis_away_degrades_only() -> None:
    with override_settings(REDIS_URL=f"redis://127.0.0.1:{servers.free_port()}/0"):
        response = Client().get("/readyz")
    assert (response.status_code, response.json()["status"]) == (200, "degraded")
    assert response.json()["checks"]["redis"] == "unreachable"


def test_database_away_is_503_and_says_nothing_of_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise OperationalError("connection to host secret failed")

    monkeypatch.setattr(health, "_ask_database", away)
    response = Client().get("/readyz")
    assert response.status_code == 503
    assert response.json() == {
        "status": "unready",
        "checks": {"database": "unreachable", "migrations": "unknown", "redis": "not_configured", "credentials": "unknown"},
    }


@pytest.mark.django_db
def test_missing_migrations_are_503() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'preferences'")
    response = Client().get("/readyz")
    assert (response.status_code, response.json()["checks"]["migrations"]) == (503, "unmigrated")


@pytest.mark.django_db
def test_migrations_are_looked_up_until_they_are_complete_and_then_no_more(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    assert Client().get("/readyz").status_code == 200
    with django_assert_num_queries(2):
        assert Client().get("/readyz").status_code == 200


def test_only_reading_is_allowed() -> None:
    assert Client().post("/healthz").status_code == 405


@pytest.fixture
def pooled_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A pooled PostgreSQL behind an address that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        away = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "away",
            "HOST": "127.0.0.1",
            "PORT": mute.getsockname()[1],
            "OPTIONS": {"pool": {"min_size": 1, "timeout": 10}},
        }
        handler = ConnectionHandler({"default": {}, "away": away})
        monkeypatch.setattr(health, "connections", handler)
        monkeypatch.setattr(health, "DEFAULT_DB_ALIAS", "away")
        yield mute
        handler["away"].pool.close(timeout=0)  # type: ignore[attr-defined]
        del type(handler["away"])._connection_pools["away"]  # type: ignore[attr-defined]


def test_a_mute_database_is_noticed_within_two_seconds(pooled_away: socket.socket) -> None:
    started = time.monotonic()
    assert Client().get("/readyz").json()["checks"]["database"] == "unreachable"
    assert time.monotonic() - started < 2.0


# --------------------------------------------------------------------------- by address


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/api/health"])
def test_C07_a_probe_is_answered_whatever_host_it_names_and_never_sent_to_https(gateway: LiveGateway, settings: Any, path: str) -> None:
    settings.SECURE_SSL_REDIRECT = True
    settings.ALLOWED_HOSTS = ["gateway.example.org"]
    for host in ("10.1.2.3", "10.1.2.3:8000", "[fd00::7]", "a_b", "gateway.example.org", "%00", ""):
        answer = gateway.client.get(path, headers={"Host": host}, follow_redirects=False)
        assert (host, answer.status_code, answer.headers["Content-Type"]) == (host, 200, "application/json")
    assert gateway.client.post(path, headers={"Host": "10.1.2.3"}).status_code == 405
    assert gateway.client.get("/admin/login/", headers={"Host": "10.1.2.3"}).status_code == 400
