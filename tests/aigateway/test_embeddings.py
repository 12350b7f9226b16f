"""OpenAI embeddings on a running gateway (R104): the official client, every kind of provider that makes vectors, and the bill."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openai import BadRequestError, OpenAI

from providers import actions
from providers.audit import SYSTEM
from providers.models import Deployment, Price, Provider
from providers.simulator.routes import base_url_for
from providers.upstream.types import Capability, ModelListing, Secret
from tests.aigateway.conftest import LiveGateway, price_model
from tests.aigateway.sdk import openai_client
from tests.providers.fake_provider import fake_provider
from tests.providers.simulator.fixtures import SimulatorHandle
from usage.models import LedgerEntry

KINDS = ("openai", "mistral", "vllm", "gemini", "ollama", "cohere")


def add(base_url: str, kind: str, *, name: str | None = None) -> Deployment:
    provider = Provider(slug=kind.replace("_", "-"), label=kind, kind=kind, base_url=base_url, allow_private=True)
    actions.create_provider(provider, SYSTEM, Secret("sk-test"))
    made = price_model(provider, name or kind, 1_000_000_000, 0)
    made.upstream_model, made.capabilities = "sim-small", ["embeddings"]
    return actions.save_deployment(made, SYSTEM)


@pytest.fixture
def gateway(simulator: SimulatorHandle, start_gateway: Callable[[], LiveGateway]) -> LiveGateway:
    port = int(simulator.origin.rpartition(":")[2])
    for kind in KINDS:
        add(base_url_for(kind, port), kind)
    return start_gateway()


@pytest.fixture
def client(gateway: LiveGateway) -> Iterator[OpenAI]:
    with openai_client(gateway) as client:
        yield client


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_R104_every_text_has_its_vector_in_either_encoding(client: OpenAI, kind: str, encoding: Any) -> None:
    one = client.embeddings.create(model=kind, input="alpha", encoding_format="float").data[0].embedding
    raw = client.embeddings.with_raw_response.create(model=kind, input=["alpha", "beta"], encoding_format=encoding)
    rows = json.loads(raw.text)["data"]
    assert {type(row["embedding"]) for row in rows} == {str if encoding == "base64" else list}
    # Without an encoding the client asks for base64 and decodes it itself.
    both = [row.embedding for row in client.embeddings.create(model=kind, input=["alpha", "beta"]).data]
    assert both[0] == pytest.approx(one, abs=1e-6)
    assert both[0] != both[1]
    assert sum(number * number for number in one) == pytest.approx(1, abs=1e-3)


def test_R104_tokens_are_booked_and_told(client: OpenAI, simulator: SimulatorHandle) -> None:
    answer = client.embeddings.create(model="openai", input=["some words", "and more words"])
    line, [billed] = LedgerEntry.objects.get(), simulator.bill(1)
    assert answer.usage.prompt_tokens == line.usage.input_tokens == billed["input_tokens"] > 0
    assert (line.cost_nano, line.basis) == (answer.usage.prompt_tokens * 1000, "measured")


def test_U29_a_provider_that_tells_no_usage_is_booked_at_a_flagged_estimate(gateway: LiveGateway) -> None:
    answer = gateway.client.post("/v1/embeddings", json={"model": "gemini", "input": "some words"})
    assert answer.json()["usage"] is None
    line = LedgerEntry.objects.get()
    assert line.basis == "estimated"
    assert line.cost_nano > 0


def test_R104_dimensions_reach_the_provider_under_its_own_name(start_gateway: Callable[[], LiveGateway]) -> None:
    with fake_provider() as upstream:
        upstream.script.body = json.dumps({"data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 1}}).encode()
        for kind in ("mistral", "vllm"):
            add(upstream.base_url, kind)
        gateway = start_gateway()
        for kind in ("mistral", "vllm"):
            sent = {"model": kind, "input": "x", "dimensions": 8, "user": None}
            assert gateway.client.post("/v1/embeddings", json=sent).status_code == 200
    bodies = [json.loads(body) for body in upstream.bodies]
    assert bodies == [{"model": "sim-small", "input": "x", "output_dimension": 8}, {"model": "sim-small", "input": "x", "dimensions": 8}]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "stream": True}, "stream"),
        ({"input": {"text": "a"}}, "input"),
    ],
)
def test_B08_what_is_wrong_is_named_and_nothing_is_sent(
    gateway: LiveGateway, simulator: SimulatorHandle, fields: dict[str, Any], param: str
) -> None:
    answer = gateway.client.post("/v1/embeddings", json={"model": "openai", **fields})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert simulator.journal() == []


def test_a_chat_model_makes_no_vectors_and_the_reverse_and_both_say_so(
    simulator: SimulatorHandle, start_gateway: Callable[[], LiveGateway]
) -> None:
    made = add(simulator.base_url, "openai_compatible", name="vectors")
    price_model(made.provider, "sim-small", 1, 1)
    gateway = start_gateway()
    with openai_client(gateway) as client:
        with pytest.raises(BadRequestError) as refused:
            client.embeddings.create(model="sim-small", input="x")
        assert refused.value.code == "unsupported_feature"
        with pytest.raises(BadRequestError) as refused:
            client.chat.completions.create(model="vectors", messages=[{"role": "user", "content": "Hi"}])
        assert refused.value.code == "unsupported_feature"
        assert client.embeddings.create(model="auto", input="x").model
        assert client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "Hi"}]).model == "sim-small"


@pytest.mark.django_db
def test_R205_embedding_models_are_imported_with_their_price_and_nothing_else_to_do() -> None:
    provider = Provider(kind="openai", label="OpenAI")
    actions.create_provider(provider, SYSTEM, Secret("sk-test"))
    listed = [ModelListing("text-embedding-3-small"), ModelListing("gpt-4o-mini"), ModelListing("whisper-1")]
    actions.import_models(provider.pk, listed, SYSTEM)
    made = Deployment.objects.get(name="text-embedding-3-small")
    assert made.capabilities == [Capability.EMBEDDINGS.value]
    price = Price.objects.get(deployment=made)
    assert (price.input_nano_per_mtok, price.output_nano_per_mtok) == (20_000_000, 0)
    assert set(Deployment.objects.values_list("name", flat=True)) == {"text-embedding-3-small", "gpt-4o-mini"}
