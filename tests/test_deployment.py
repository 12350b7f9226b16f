"""Container files, checked without an engine: what is in them must exist, be complete and be locked down."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.architecture.source import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("setup", "web", "worker", "beat")
SECRETS = ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "AIGATEWAY_SECRET_KEY", "AIGATEWAY_KEKS", "AIGATEWAY_ADMIN_PASSWORD")
SERVICE_KEYS = {
    "build", "image", "restart", "init", "read_only", "cap_drop", "security_opt", "tmpfs", "environment", "logging", "command",
    "depends_on", "ports", "stop_grace_period", "healthcheck", "volumes",
}  # fmt: skip
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}


def test_the_services_are_those_of_the_architecture() -> None:
    assert set(SERVICES) == {"postgres", "redis", *OURS}
    assert set(COMPOSE) - {key for key in COMPOSE if key.startswith("x-")} == {"name", "services", "volumes", "networks"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_only_known_keys_and_what_it_names_exists(name: str) -> None:
    service = SERVICES[name]
    assert set(service) <= SERVICE_KEYS
    for other, terms in service.get("depends_on", {}).items():
        assert other in SERVICES
        assert terms["condition"] in CONDITIONS
        if terms["condition"] == "service_healthy":
            assert "test" in SERVICES[other]["healthcheck"]
    for volume in service.get("volumes", ()):
        assert volume.split(":")[0] in COMPOSE["volumes"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_that_stays_is_checked_and_may_drain(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\d+s", service["stop_grace_period"])
    if name == "setup":
        assert service["restart"] == "no"
    else:
        assert service["healthcheck"]["test"]
        assert service["healthcheck"]["start_period"] == "10m"  # a busy machine starts in minutes, and others wait for it
        assert service["restart"] == "unless-stopped"
    if name in OURS:
        assert service["stop_grace_period"] == "80s"


def test_S38_secrets_have_no_default_and_are_demanded_by_name() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for secret in SECRETS:
        assert f"${{{secret}:?set {secret} in .env}}" in text
        assert f"${{{secret}:-" not in text
        assert f"${{{secret}}}" not in text


def test_our_services_share_one_environment_and_one_image_and_are_locked_down() -> None:
    for name in OURS:
        service = SERVICES[name]
        assert SERVICES["web"]["environment"].items() <= service["environment"].items()
        assert service["image"] == SERVICES["web"]["image"]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])


def test_the_image_installs_by_hash_and_runs_as_an_ordinary_user() -> None:
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    words = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    install = next(line for line in lines if "pip install" in line)
    assert "--require-hashes" in install
    assert "-r /tmp/requirements.lock" in install
    user = [rest for word, rest in words if word == "USER"]
    assert user == ["gateway"]
    order = [word for word, _ in words]
    assert order.index("USER") < order.index("CMD")
    assert "--start-period=10m" in next(rest for word, rest in words if word == "HEALTHCHECK")
    for word, rest in words:
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists()


def test_the_build_context_is_an_allow_list() -> None:
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == {
        "manage.py", "pyproject.toml", "requirements.lock", "LICENSE", "aigateway", "providers", "usage", "preferences", "templates",
    }  # fmt: skip
