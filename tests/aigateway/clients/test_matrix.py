"""Every official client against every upstream format: plain, streamed, with tools and with errors.

Every client meets each wire format in every test. The flavours of OpenAI's format either pass a client as they are or are
translated: one client of each sort meets them all in every test, the others in a streamed answer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from itertools import product

import pytest
from google.genai import errors

from tests.aigateway.clients.anthropic_client import AnthropicClient
from tests.aigateway.clients.base import OfficialClient
from tests.aigateway.clients.every import CLIENTS, each_client, plain_and_streamed
from tests.aigateway.clients.google_client import GoogleClient
from tests.aigateway.clients.openai_client import OpenAIClient
from tests.aigateway.clients.world import BREAKING_DOWN, RUNNING_TOTALS, TOOLED, UPSTREAMS, WIRES, World, named

PROMPT = "Hello [sim tokens=24] from a client"
MEET_FLAVOURS = (OpenAIClient, AnthropicClient)


def meetings(
    kinds: Iterable[str],
    *,
    never: Collection[tuple[type[OfficialClient], str]] = (),
    ways: Collection[bool] = (False, True),
    all_hear_flavours: bool = False,
) -> pytest.MarkDecorator:
    met = [
        pytest.param(make, kind, stream, id=f"{make.name}-{kind}-{'streamed' if stream else 'plain'}")
        for make, kind, stream in product(CLIENTS, kinds, ways)
        if (kind in WIRES or make in MEET_FLAVOURS or (all_hear_flavours and stream)) and (make, kind) not in never
    ]
    return pytest.mark.parametrize(("make", "kind", "stream"), met)


@meetings(UPSTREAMS, all_hear_flavours=True)
def test_the_answer_its_tokens_and_its_cost_are_those_of_the_provider(
    world: World, make: type[OfficialClient], kind: str, *, stream: bool
) -> None:
    client = world.client(make)
    heard, spent = world.metered(lambda: client.ask(named(kind), PROMPT, stream=stream))
    assert (heard.text, heard.finish) == (world.said(PROMPT), client.stopped)
    assert (spent.entry.input_tokens, spent.entry.output_tokens) == (spent.bill["input_tokens"], 24)
    if not (stream and client.adds_up_usage and kind in RUNNING_TOTALS):
        assert (heard.input_tokens, heard.output_tokens) == (spent.bill["input_tokens"], 24)


@meetings(BREAKING_DOWN)
def test_cached_and_reasoning_tokens_are_counted_as_the_client_counts_them(
    world: World, make: type[OfficialClient], kind: str, *, stream: bool
) -> None:
    client = world.client(make)
    heard, spent = world.metered(lambda: client.ask(named(kind, "sim-cached"), PROMPT, stream=stream))
    cached = spent.bill["cached_tokens"] if client.cached_are_input else 0
    assert spent.bill["cached_tokens"] > 0
    assert (heard.input_tokens, heard.output_tokens) == (spent.bill["input_tokens"] + cached, 24)
    heard, spent = world.metered(lambda: client.ask(named(kind, "sim-reasoner"), PROMPT, stream=stream))
    thoughts = spent.bill["reasoning_tokens"] if client.thoughts_are_output else 0
    assert spent.bill["reasoning_tokens"] > 0
    assert (heard.text, heard.output_tokens) == (world.said(PROMPT), 24 + thoughts)


@meetings(TOOLED, never={(GoogleClient, "ollama")})
def test_a_forced_tool_is_called_and_its_result_is_answered(world: World, make: type[OfficialClient], kind: str, *, stream: bool) -> None:
    client = world.client(make)
    (heard, turn), _ = world.metered(lambda: client.call_tool(named(kind), stream=stream))
    assert (heard.calls, heard.finish) == ((("get_weather", {"city": "simulated"}),), client.called)
    told, _ = world.metered(lambda: client.answer_tool(named(kind), turn, stream=stream))
    assert (told.calls, told.finish) == ((), client.stopped)
    assert "The tool has answered." in told.text


@plain_and_streamed
def test_a_forced_tool_is_refused_where_the_model_decides_itself(world: World, *, stream: bool) -> None:
    """Google's client needs Ollama's own format, the only one of the three Ollama speaks that cannot force a call."""
    client = world.client(GoogleClient)
    with pytest.raises(errors.ClientError, match="the model decides whether it calls a tool"):
        client.call_tool(named("ollama"), stream=stream)


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


@meetings(UPSTREAMS)
def test_an_overloaded_provider_is_a_typed_error(world: World, make: type[OfficialClient], kind: str, *, stream: bool) -> None:
    client, billed = world.client(make), len(world.simulator.bill())
    assert_refused(client, 503, lambda: client.ask(named(kind), "Hello [sim fault=http_503]", stream=stream))
    assert len(world.simulator.bill()) == billed


@meetings(UPSTREAMS, ways=[True])
def test_U09_a_stream_that_breaks_off_raises_and_is_billed(world: World, make: type[OfficialClient], kind: str, *, stream: bool) -> None:
    client = world.client(make)

    def listen() -> None:
        with pytest.raises(client.breaks):
            client.ask(named(kind), "Hello [sim fault=reset_mid_stream after=3 tokens=40]", stream=stream)

    _, spent = world.recorded(listen)
    assert spent.bill["outcome"] == "reset"
    assert spent.entry.cost_nano > 0


def assert_refused(client: OfficialClient, status: int, call: Callable[[], object]) -> None:
    with pytest.raises(client.refusals[status]) as raised:
        call()
    assert client.status_of(raised.value) == status
