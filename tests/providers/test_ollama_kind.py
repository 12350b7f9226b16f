"""Ollama's row: its own API at the server's root, and the formats clients bring below ``/v1``."""

from __future__ import annotations

import pytest

from providers.health import probe
from providers.registry import provider_spec
from providers.upstream.adapters import adapter_for
from providers.upstream.types import HealthStatus, Wire
from tests.providers.conftest import make_provider
from tests.providers.fake_provider import fake_provider
from tests.providers.upstream import rig

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "entered", ["http://gpu.lan:11434", "http://gpu.lan:11434/", "http://gpu.lan:11434/v1", "http://gpu.lan:11434/v1/"]
)
def test_a_base_url_of_the_compatible_door_still_works(entered):
    spec = provider_spec(make_provider(entered, kind="ollama", allow_private=True))
    assert (spec.base_url.rstrip("/"), spec.adapter) == ("http://gpu.lan:11434", Wire.OLLAMA)


def test_other_kinds_keep_the_base_url_as_entered():
    assert provider_spec(make_provider("http://gpu.lan:8000/v1", kind="vllm", allow_private=True)).base_url == "http://gpu.lan:8000/v1"


def test_clients_of_a_format_it_speaks_are_not_translated():
    spec = provider_spec(make_provider("http://gpu.lan:11434/v1", kind="ollama", allow_private=True))
    chosen = {wire: adapter_for(spec, rig.from_client(wire, {})) for wire in (Wire.OPENAI_CHAT, Wire.ANTHROPIC_MESSAGES, Wire.NATIVE)}
    assert {wire: (adapter.wire, prefix) for wire, (adapter, prefix) in chosen.items()} == {
        Wire.OPENAI_CHAT: (Wire.OPENAI_CHAT, "/v1"),
        Wire.ANTHROPIC_MESSAGES: (Wire.ANTHROPIC_MESSAGES, "/v1"),
        Wire.NATIVE: (Wire.OLLAMA, ""),
    }


def test_R208_the_probe_reads_the_list_of_installed_models_and_generates_nothing():
    with fake_provider() as upstream:
        upstream.script.body = b'{"models": [{"name": "qwen3:4b"}]}'
        outcome = probe(provider_spec(make_provider(upstream.base_url, kind="ollama", allow_private=True)))
    assert outcome.status is HealthStatus.GREEN
    assert [(method, path) for method, path, _ in upstream.asked] == [("GET", "/api/tags")]
