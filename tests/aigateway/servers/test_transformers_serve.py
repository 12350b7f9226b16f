"""A real inference server behind the gateway: ``transformers serve`` with a tiny model of random weights.

Left out of ``make test``, because it installs a gigabyte: ``pytest -m inference_server`` runs it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from openai import BadRequestError, OpenAI, UnprocessableEntityError

from providers import actions
from providers.audit import SYSTEM
from providers.models import Provider
from tests.aigateway.conftest import LiveGateway, price_model
from tests.aigateway.servers.running import environment, running
from tests.providers.fake_provider import closed_port
from usage.models import LedgerEntry

pytestmark = [pytest.mark.inference_server, pytest.mark.timeout(900)]

PACKAGES = ("torch==2.13.0", "transformers[serving]>=5,<6")


@pytest.fixture(scope="module")
def python() -> Path:
    return environment("transformers-serve", *PACKAGES)


@pytest.fixture(scope="module")
def model(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-llama")
    subprocess.run([python, Path(__file__).with_name("tiny_llama.py"), folder], check=True)
    return folder


@pytest.fixture(scope="module")
def server(python: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a running server."""
    port, scratch = closed_port(), tmp_path_factory.mktemp("serve")
    command = [python.parent / "transformers", "serve", model, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    environ = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(scratch)}
    with running(command, f"http://127.0.0.1:{port}/health", scratch / "serve.log", environ):
        yield f"http://127.0.0.1:{port}/v1"


@pytest.fixture
def gateway(server: str, model: Path, start_gateway: Callable[[], LiveGateway]) -> LiveGateway:
    provider = Provider(slug="own", label="Own", kind="openai_compatible", base_url=server, allow_private=True)
    actions.create_provider(provider, SYSTEM)
    made = price_model(provider, "tiny", 1_000_000_000, 2_000_000_000)
    made.upstream_model, made.max_output_tokens = str(model), 64
    actions.save_deployment(made, SYSTEM)
    return start_gateway()


@pytest.fixture
def client(gateway: LiveGateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{gateway.base_url}/v1", api_key=gateway.key, max_retries=0) as client:
        yield client


def test_a_whole_answer_comes_with_its_usage_and_is_booked(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "Hi"}], max_tokens=8)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    line = LedgerEntry.objects.get()
    assert (line.usage.input_tokens, line.usage.output_tokens, line.basis) == (answer.usage.prompt_tokens, 8, "measured")
    assert line.cost_nano == answer.usage.prompt_tokens * 1000 + 8 * 2000


def test_a_stream_without_a_done_marker_ends_properly_with_usage_in_its_finish_chunk(client: OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "Hi"}], max_tokens=8, stream=True))
    assert chunks[-1].choices[0].finish_reason == "length"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    line = LedgerEntry.objects.get()
    assert (line.usage.output_tokens, line.basis, line.error_code) == (8, "measured", "")


def test_an_anthropic_client_is_answered_by_it_too(gateway: LiveGateway) -> None:
    body = {"model": "tiny", "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}]}
    answer = gateway.client.post("/v1/messages", json=body).json()
    assert (answer["type"], answer["stop_reason"], answer["usage"]["output_tokens"]) == ("message", "max_tokens", 8)


def test_its_detail_errors_reach_the_client_as_the_clients_fault(client: OpenAI) -> None:
    with pytest.raises((BadRequestError, UnprocessableEntityError)) as refused:
        client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "Hi"}], max_tokens=8, extra_body={"safe_prompt": True}
        )
    assert refused.value.status_code == 400
    assert "safe_prompt" in str(refused.value)
