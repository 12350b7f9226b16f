"""A real inference server behind the gateway: llama.cpp's, through llama-cpp-python, with a tiny model of random weights.

Left out of ``make test``, because it compiles llama.cpp for some minutes: ``pytest -m inference_server`` runs it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from openai import BadRequestError, OpenAI

from providers import actions
from providers.audit import SYSTEM
from providers.client import list_models
from providers.models import Provider
from providers.registry import provider_spec
from tests.aigateway.conftest import LiveGateway, price_model
from tests.aigateway.servers.running import environment, running
from tests.providers.fake_provider import closed_port
from usage.models import LedgerEntry

pytestmark = [pytest.mark.inference_server, pytest.mark.timeout(3600)]

PACKAGES = ("llama-cpp-python[server]>=0.3,<0.4", "gguf")
CONTEXT_TOKENS = 512


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a running server."""
    python, scratch, port = environment("llamacpp", *PACKAGES), tmp_path_factory.mktemp("llamacpp"), closed_port()
    model = scratch / "tiny.gguf"
    subprocess.run([python, Path(__file__).with_name("tiny_gguf.py"), model], check=True)
    command = [python, "-m", "llama_cpp.server", "--model", model, "--host", "127.0.0.1", "--port", str(port)]
    with running([*command, "--n_ctx", str(CONTEXT_TOKENS)], f"http://127.0.0.1:{port}/v1/models", scratch / "server.log"):
        yield f"http://127.0.0.1:{port}/v1"


@pytest.fixture
def gateway(server: str, start_gateway: Callable[[], LiveGateway]) -> LiveGateway:
    provider = Provider(slug="own", label="Own", kind="llamacpp", base_url=server, allow_private=True)
    actions.create_provider(provider, SYSTEM)
    made = price_model(provider, "tiny", 1_000_000_000, 2_000_000_000)
    made.max_output_tokens = 16
    actions.save_deployment(made, SYSTEM)
    return start_gateway()


@pytest.fixture
def client(gateway: LiveGateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{gateway.base_url}/v1", api_key=gateway.key, max_retries=0) as client:
        yield client


def test_a_whole_answer_is_booked_at_the_servers_own_count(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "Hi"}], max_tokens=8)
    assert answer.usage is not None
    line = LedgerEntry.objects.get()
    assert (line.usage.input_tokens, line.usage.output_tokens) == (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    assert line.basis == "measured"


def test_a_stream_that_tells_no_usage_is_booked_as_an_estimate(client: OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "Hi"}], max_tokens=8, stream=True))
    assert chunks[-1].choices[0].finish_reason in {"length", "stop"}
    line = LedgerEntry.objects.get()
    assert (line.basis, line.error_code) == ("estimated", "")
    assert line.cost_nano > 0


def test_a_prompt_above_its_context_is_the_clients_fault(client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as refused:
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "a" * 3000}], max_tokens=8)
    assert refused.value.code == "context_length_exceeded"


def test_an_anthropic_client_is_streamed_to(gateway: LiveGateway) -> None:
    body = {"model": "tiny", "max_tokens": 8, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    with gateway.client.stream("POST", "/v1/messages", json=body) as response:
        raw = b"".join(response.iter_raw())
    assert raw.rstrip().split(b"\n")[-2] == b"event: message_stop"


def test_its_model_is_found_by_the_file_it_was_started_with(gateway: LiveGateway) -> None:
    [listed] = list_models(provider_spec(Provider.objects.get()))
    assert listed.name.endswith("tiny.gguf")
