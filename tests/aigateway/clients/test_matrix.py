"""Every official client against every upstream format: plain, streamed, with tools and with errors."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.aigateway.clients.anthropic_client import AnthropicClient
from tests.aigateway.clients.base import OfficialClient
from tests.aigateway.clients.google_client import GoogleClient
from tests.aigateway.clients.langchain_client import LangChainClient
from tests.aigateway.clients.litellm_client import LiteLLMAsAnthropicClient, LiteLLMClient
from tests.aigateway.clients.mistral_client import MistralClient
from tests.aigateway.clients.openai_client import OpenAIClient
from tests.aigateway.clients.world import RUNNING_TOTALS, TOOLED, UPSTREAMS, World, named

CLIENTS: tuple[type[OfficialClient], ...] = (
    OpenAIClient,
    AnthropicClient,
    MistralClient,
    GoogleClient,
    LangChainClient,
    LiteLLMClient,
    LiteLLMAsAnthropicClient,
)
PROMPT = "Hello [sim tokens=24] from a client"

each_client = pytest.mark.parametrize("make", CLIENTS, ids=[client.name for client in CLIENTS])
plain_and_streamed = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
each_upstream = pytest.mark.parametrize("kind", UPSTREAMS)


@each_client
@each_upstream
@plain_and_streamed
def test_the_answer_its_tokens_and_its_cost_are_those_of_the_provider(
    world: World, make: type[OfficialClient], kind: str, *, stream: bool
) -> None:
    client = world.client(make)
    heard, spent = world.metered(lambda: client.ask(named(kind), PROMPT, stream=stream))
    assert (heard.text, heard.finish) == (world.said(PROMPT), client.stopped)
    assert (spent.entry.input_tokens, spent.entry.output_tokens) == (spent.bill["input_tokens"], 24)
    if not (stream and client.adds_up_usage and kind in RUNNING_TOTALS):
        assert (heard.input_tokens, heard.output_tokens) == (spent.bill["input_tokens"], 24)


@each_client
@pytest.mark.parametrize("kind", TOOLED)
@plain_and_streamed
def test_a_forced_tool_is_called_and_its_result_is_answered(world: World, make: type[OfficialClient], kind: str, *, stream: bool) -> None:
    client = world.client(make)
    (heard, turn), _ = world.metered(lambda: client.call_tool(named(kind), stream=stream))
    assert (heard.calls, heard.finish) == ((("get_weather", {"city": "simulated"}),), client.called)
    told, _ = world.metered(lambda: client.answer_tool(named(kind), turn, stream=stream))
    assert (told.calls, told.finish) == ((), client.stopped)
    assert "The tool has answered." in told.text


@each_client
@plain_and_streamed
def test_an_unknown_model_is_a_typed_404(world: World, make: type[OfficialClient], *, stream: bool) -> None:
    client = world.client(make)
    assert_refused(client, 404, lambda: client.ask("no-such-model", PROMPT, stream=stream))


@each_client
@plain_and_streamed
def test_a_wrong_key_is_a_typed_401(world: World, make: type[OfficialClient], *, stream: bool) -> None:
    client = world.client(make, "gw_wrong")
    assert_refused(client, 401, lambda: client.ask(named("openai"), PROMPT, stream=stream))


@each_client
@each_upstream
@plain_and_streamed
def test_an_overloaded_provider_is_a_typed_error(world: World, make: type[OfficialClient], kind: str, *, stream: bool) -> None:
    client, billed = world.client(make), len(world.simulator.bill())
    assert_refused(client, 503, lambda: client.ask(named(kind), "Hello [sim fault=http_503]", stream=stream))
    assert len(world.simulator.bill()) == billed


@each_client
@each_upstream
def test_U09_a_stream_that_breaks_off_raises_and_is_billed(world: World, make: type[OfficialClient], kind: str) -> None:
    client = world.client(make)

    def listen() -> None:
        with pytest.raises(client.breaks):
            client.ask(named(kind), "Hello [sim fault=reset_mid_stream after=3 tokens=40]", stream=True)

    _, spent = world.recorded(listen)
    assert spent.bill["outcome"] == "reset"
    assert spent.entry.cost_nano > 0


def assert_refused(client: OfficialClient, status: int, call: Callable[[], object]) -> None:
    with pytest.raises(client.refusals[status]) as raised:
        call()
    assert client.status_of(raised.value) == status
