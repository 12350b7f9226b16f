from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from aigateway import start_values
from tests.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
RING = "k1:" + "A" * 43 + "="
WRONG = [
    ("HOST", "http://0.0.0.0", "address"),
    ("HOST", "0.0.0.0:8000", "address"),
    ("PORT", "http", "0 to 65535"),
    ("PORT", "70000", "0 to 65535"),
    ("PORT", "-1", "0 to 65535"),
    ("AIGATEWAY_PUBLIC_URL", "gateway.example.org", "scheme"),
    ("AIGATEWAY_PUBLIC_URL", "https://gateway.example.org/ai", "at the root"),
    ("AIGATEWAY_PUBLIC_URL", "https://user:pw@gateway.example.org", "at the root"),
    ("AIGATEWAY_PUBLIC_URL", "https://", "host"),
    ("AIGATEWAY_ALLOWED_HOSTS", "gateway.example.org:8000", "port"),
    ("AIGATEWAY_ALLOWED_HOSTS", "ok.example.org, https://gateway.example.org", "scheme"),
    ("AIGATEWAY_ALLOWED_HOSTS", "gateway example", "host name"),
    ("AIGATEWAY_BEHIND_PROXY", "perhaps", "1 or 0"),
    ("FORWARDED_ALLOW_IPS", "the proxy", "addresses"),
    ("DATABASE_URL", "postgres://u:hunter2@x@h/n", "%40"),
    ("DATABASE_URL", "postgres://u:hunter2#x@h/n", "%23"),
    ("DATABASE_URL", "postgres://u:hunter2/x@h/n", "%2F"),
    ("DATABASE_URL", "postgres://u:1/hunter2@h/n", "%2F"),
    ("DATABASE_URL", "postgres://u:1?hunter2@h/n", "%3F"),
    ("DATABASE_URL", "postgres://u:[hunter2@h/n", "%5B"),
    ("DATABASE_URL", "postgres://u:hunter2@h:port/n", "URL"),
    ("DATABASE_URL", "postgres://u:hunter2@h", "postgres://"),
    ("DATABASE_URL", "mysql://u:hunter2@h/n", "postgres://"),
    ("DATABASE_URL", "postgres:///n", "host"),
    ("DATABASE_URL", "/var/db.sqlite3", "sqlite:///"),
    ("DATABASE_URL", "sqlite://", "file"),
    ("AIGATEWAY_DB_POOL_MAX", "1", "from 2"),
    ("REDIS_URL", "localhost:6379", "redis://"),
    ("REDIS_URL", "redis://:hunter2#x@h:6379/0", "%23"),
    ("REDIS_URL", "redis://:hunter2@x@h:6379/0", "%40"),
    ("REDIS_URL", "redis://h:6379/zero", "redis://"),
    ("AIGATEWAY_SECRET_KEY", "hunter2", "32 random"),
    ("AIGATEWAY_SECRET_KEY", "a" * 60, "32 random"),
    ("AIGATEWAY_KEKS", "hunter2hunter2", "id:base64"),
    ("AIGATEWAY_KEKS", "k1:hunter2", "entry 1"),
    ("AIGATEWAY_KEKS", f"{RING},{RING}", "entry 2"),
    ("SUBSCRIPTION_ENDPOINT_URL", "host.example.org", "https://"),
    ("SUBSCRIPTION_WEBHOOK_SECRET", "hunter2", "16"),
    ("AIGATEWAY_ALERT_EMAILS", "ops@example.org, ops", "ops@example.org"),
    ("AIGATEWAY_EMAIL_URL", "smtp://u:hunter2/x@h:25", "%2F"),
    ("AIGATEWAY_EMAIL_URL", "mail.example.org", "smtp+tls://"),
    ("AIGATEWAY_EMAIL_FROM", "gateway", "ops@example.org"),
    ("AIGATEWAY_ALERT_WEBHOOK_URL", "ftp://h/x", "https://"),
    ("AIGATEWAY_ALERT_WEBHOOK_SECRET", "hunter2", "16"),
    ("AIGATEWAY_ADMIN_PASSWORD", "hunter2", "12"),
    ("AIGATEWAY_ADMIN_PASSWORD", "1234567890", "digits"),
    ("AIGATEWAY_BOOTSTRAP_KEY", "two words", "spaces"),
    ("AIGATEWAY_WEB_PROCESSES", "0", "from 1"),
    ("AIGATEWAY_WEB_PROCESSES", "1.5", "digits"),
    ("AIGATEWAY_DRAIN_S", "1m", "digits"),
    ("AIGATEWAY_MAX_BODY_BYTES", "10MB", "digits"),
    ("AIGATEWAY_MAX_BODY_BYTES", "9" * 5000, "digits"),
    ("AIGATEWAY_TIME_ZONE", "Mars/Olympus", "IANA"),
    ("AIGATEWAY_TIME_ZONE", "../../etc/passwd", "IANA"),
    ("AIGATEWAY_LOG_LEVEL", "loud", "DEBUG"),
    ("AIGATEWAY_VAR", __file__, "folder"),
    ("OPENAI_API_KEY", '"sk-hunter2"', "quotes"),
    ("ANTHROPIC_API_KEY", "'sk-hunter2'", "quotes"),
    ("OPENAI_API_KEY", "sk-hunter2\nsk-two", "one line"),
    ("OPENAI_API_KEY", "Bearer sk-hunter2", "spaces"),
    ("HF_TOKEN", "schlüssel", "ASCII"),
    ("OPENAI_BASE_URL", "api.openai.com", "https://"),
]
RIGHT = [
    ("HOST", "::"),
    ("PORT", "0"),
    ("AIGATEWAY_PUBLIC_URL", "https://gateway.example.org:8443/"),
    ("AIGATEWAY_ALLOWED_HOSTS", "gateway.example.org, .example.org, 10.0.0.1, [::1], *,"),
    ("FORWARDED_ALLOW_IPS", "127.0.0.1,172.18.0.0/16"),
    ("DATABASE_URL", "postgres://u:p%40%23%2F@h:5432/n?sslmode=require"),
    ("DATABASE_URL", "postgresql://u:p@/n?host=h"),
    ("DATABASE_URL", "sqlite:////var/lib/a#b@c.sqlite3"),
    ("REDIS_URL", "rediss://:p@h:6379/0"),
    ("REDIS_URL", "redis://h"),
    ("REDIS_URL", "unix:///run/redis.sock"),
    ("AIGATEWAY_EMAIL_URL", "smtp+tls://user%40example.org:p@h:587"),
    ("AIGATEWAY_EMAIL_URL", "consolemail://"),
    ("AIGATEWAY_EMAIL_FROM", "Gateway <gateway@example.org>"),
    ("AIGATEWAY_KEKS", RING),
    ("AIGATEWAY_LOG_LEVEL", "debug"),
    ("AIGATEWAY_TIME_ZONE", "Europe/Berlin"),
    ("AIGATEWAY_WEB_PROCESSES", " 2 "),
    ("OPENAI_API_KEY", "sk-proj-abc_DEF"),
    ("OPENAI_API_KEY", ""),
]


@pytest.mark.parametrize(("name", "value", "said"), WRONG)
def test_C06_P09_a_wrong_value_is_one_line_with_variable_and_mend_and_without_the_value(name: str, value: str, said: str) -> None:
    (line,) = start_values.faults({name: value})
    assert line.startswith(f"{name} ")
    assert said in line
    assert line.count("\n") == 0
    assert "hunter2" not in line


@pytest.mark.parametrize(("name", "value"), RIGHT)
def test_C06_a_right_value_passes(name: str, value: str) -> None:
    assert start_values.faults({name: value}) == []


def test_C06_every_wrong_value_is_told_at_once() -> None:
    told = start_values.faults({"PORT": "x", "REDIS_URL": "y", "AIGATEWAY_LOG_LEVEL": "z"})
    assert [line.split()[0] for line in told] == ["PORT", "REDIS_URL", "AIGATEWAY_LOG_LEVEL"]


def test_C06_every_variable_that_settings_read_and_the_page_names_is_in_the_table() -> None:
    read = (ROOT / "aigateway" / "settings.py").read_text()
    found = set(re.findall(r'"((?:AIGATEWAY|SUBSCRIPTION|DATABASE|REDIS)_[A-Z0-9_]+|HOST|PORT)"', read))
    page = (ROOT / "docs" / "configuration.md").read_text()
    found |= {name for name in re.findall(r"^\| `([A-Z0-9_]+)` \|", page, re.MULTILINE) if not name.startswith("AIGATEWAY_TEST_")}
    unchecked = found - start_values.checks().keys() - {"AIGATEWAY_ADMIN_USERNAME"}
    assert unchecked == set()


STARTS = [
    ("run", "DATABASE_URL", "postgres://u:hunter2@x#y@h/n"),
    ("run", "AIGATEWAY_TIME_ZONE", "Mars/Olympus"),
    ("check", "AIGATEWAY_LOG_LEVEL", "loud"),
    ("migrate", "AIGATEWAY_EMAIL_URL", "smtp://u:hunter2/x@h:25"),
]


def _start(command: list[str], tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "AIGATEWAY_VAR": str(tmp_path / "var"), **environment}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("command", "name", "value"), STARTS)
def test_C06_O06_a_command_ends_with_the_line_and_no_traceback(tmp_path: Path, command: str, name: str, value: str) -> None:
    ended = _start([sys.executable, "manage.py", command], tmp_path, **{name: value})
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith(f"error: {name} ")
    assert len(ended.stderr.splitlines()) == 1
    assert "hunter2" not in ended.stderr


@pytest.mark.parametrize("module", [["aigateway.process.web"], ["celery", "--app", "aigateway", "worker"]])
def test_C06_O06_so_do_the_programs_that_containers_start(tmp_path: Path, module: list[str]) -> None:
    ended = _start([sys.executable, "-m", *module], tmp_path, REDIS_URL="localhost:6379")
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "error: REDIS_URL has another scheme than it may have. Write it like redis://:password@host:6379/0."
    ]


def test_C06_O06_a_database_that_refuses_is_one_line(tmp_path: Path) -> None:
    url = f"postgres://gateway:hunter2@127.0.0.1:{free_port()}/gateway"
    ended = _start([sys.executable, "manage.py", "run"], tmp_path, DATABASE_URL=url, PORT="0")
    assert ended.returncode == 1
    assert "DATABASE_URL" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
    assert "hunter2" not in ended.stderr
