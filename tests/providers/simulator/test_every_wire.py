"""Every adapter against the simulator over a real socket: what it asks is taken, what comes back is understood and billed alike."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from providers.catalog import KINDS
from providers.simulator.routes import BASE_PATHS, base_url_for
from providers.upstream import errors
from providers.upstream.adapters import ADAPTERS, Adapter
from providers.upstream.egress import EgressPolicy
from providers.upstream.transport import Deadline, Transport
from providers.upstream.types import (
    ChatDelta,
    ChatRequest,
    CountTokensRequest,
    EmbeddingsRequest,
    FinishReason,
    ImagePart,
    InferenceRequest,
    Message,
    ResponseFormat,
    Role,
    Target,
    TextPart,
    TokenUsage,
    ToolSpec,
    Wire,
)
from tests.providers.simulator.fixtures import SimulatorHandle
from tests.providers.upstream import rig

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = (ToolSpec("get_weather", "Weather of a city", CITY), ToolSpec("get_time", "Time in a city", CITY))

SERVED = [kind for kind in KINDS if kind in BASE_PATHS and KINDS[kind].adapter in ADAPTERS and KINDS[kind].preset is None]
PAIRS = [(kind, KINDS[kind].adapter) for kind in SERVED]
if Wire.OPENAI_RESPONSES in ADAPTERS:
    PAIRS.append(("openai", Wire.OPENAI_RESPONSES))
CHATTING = [pair for pair in PAIRS if pair[1] is not Wire.TEXT_GENERATION]
TOOLED = [pair for pair in CHATTING if pair[0] != "perplexity"]
SEEING = [pair for pair in CHATTING if pair[0] not in ("deepseek",)]


class Caller:
    """One adapter and the transport, pointed at the simulator's door for a kind of provider."""

    def __init__(self, sim: SimulatorHandle, transport: Transport, kind: str, wire: Wire) -> None:
        self.sim, self.transport, self.adapter = sim, transport, ADAPTERS[wire]
        style = {"auth_style": KINDS[kind].auth_style} if kind in KINDS else {}
        base_url = base_url_for(kind, urlsplit(sim.origin).port or 0)
        self.provider = rig.provider(base_url, kind=kind, adapter=wire, **style)

    def target(self, model: str = "sim-small") -> Target:
        return rig.target(self.provider, upstream_model=model, max_output_tokens=2000)

    async def ask(self, request: InferenceRequest, model: str = "sim-small") -> Any:
        """The adapter's reading of a whole answer; raises the error it makes of a refused one."""
        http = self.adapter.render(request, self.target(model))
        answer = await self.transport.send(self.provider, self.provider.credentials[0], http, Deadline(20))
        if answer.status >= 300:
            raise self.adapter.parse_error(answer)
        return self.adapter.parse(request, answer)

    async def stream(self, request: ChatRequest, model: str = "sim-small") -> tuple[list[ChatDelta], TokenUsage]:
        http = self.adapter.render(request, self.target(model))
        opened = await self.transport.open_stream(self.provider, self.provider.credentials[0], http, Deadline(20))
        parser, events, deltas = self.adapter.stream_parser(), self.adapter.event_parser(), []
        try:
            if opened.status >= 300:
                raise self.adapter.parse_error(await opened.read_response())
            async for chunk in opened.iter_chunks():
                deltas += [parser.feed(event) for event in events.feed(chunk)]
            deltas += [parser.feed(event) for event in events.finish()]
        finally:
            await opened.aclose()
        assert parser.is_complete
        return deltas, parser.usage


@pytest.fixture
async def transport(simulator: SimulatorHandle) -> AsyncIterator[Transport]:
    policy = EgressPolicy(frozenset({("127.0.0.1", urlsplit(simulator.origin).port or 0)}))
    made = Transport(lambda: policy)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def caller(simulator: SimulatorHandle, transport: Transport, pair: tuple[str, Wire]) -> Caller:
    return Caller(simulator, transport, *pair)


def asking(text: str, **more: Any) -> ChatRequest:
    return ChatRequest(model="gpt-4o", messages=(Message(Role.USER, (TextPart(text),)),), body_bytes=200, **more)


def assert_billed(caller: Caller, usage: TokenUsage, *, lines: int = 1) -> None:
    line = caller.sim.bill(lines)[-1]
    assert usage.total_input_tokens == line["input_tokens"] + line["cached_tokens"]
    assert usage.total_output_tokens == line["output_tokens"] + line["reasoning_tokens"]


def every(pairs: list[tuple[str, Wire]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("pair", pairs, ids=[f"{kind}-{wire}" for kind, wire in pairs])


@every(PAIRS)
@pytest.mark.parametrize("model", ["sim-small", "sim-reasoner", "sim-cached"])
async def test_a_plain_answer_is_understood_and_billed_alike(caller: Caller, pair: tuple[str, Wire], model: str) -> None:
    if pair[1] is Wire.TEXT_GENERATION:
        model = "sim-small"  # the server has one model
    answer = await caller.ask(asking("hello [sim tokens=20]", max_output_tokens=500), model)
    assert "This is the simulator." in answer.choices[0].text
    assert answer.choices[0].finish_reason is FinishReason.STOP
    if answer.usage.is_complete or pair[1] is not Wire.TEXT_GENERATION:
        assert_billed(caller, answer.usage)


@every(PAIRS)
@pytest.mark.parametrize("model", ["sim-small", "sim-reasoner", "sim-cached"])
async def test_a_stream_is_understood_and_billed_alike(caller: Caller, pair: tuple[str, Wire], model: str) -> None:
    if pair[1] is Wire.TEXT_GENERATION:
        model = "sim-small"
    request = asking("hello [sim tokens=20 split_bytes=7]", stream=True, include_usage=True, max_output_tokens=500)
    deltas, usage = await caller.stream(request, model)
    assert "This is the simulator." in "".join(delta.text for delta in deltas)
    assert_billed(caller, usage)


@every(CHATTING)
@pytest.mark.parametrize("fault", ["doubled_usage", "cumulative_usage"])
async def test_usage_told_more_than_once_counts_once(caller: Caller, fault: str) -> None:
    _, usage = await caller.stream(asking(f"hi [sim fault={fault}]", stream=True, include_usage=True, max_output_tokens=500))
    assert_billed(caller, usage)


@every(TOOLED)
async def test_parallel_tool_calls_are_understood(caller: Caller) -> None:
    answer = await caller.ask(asking("weather [sim calls=2]", tools=TOOLS, max_output_tokens=500))
    calls = answer.choices[0].tool_calls
    assert [call.name for call in calls] == ["get_weather", "get_time"]
    assert [json.loads(call.arguments) for call in calls] == [{"city": "simulated"}] * 2
    assert len({call.id for call in calls}) == 2
    assert answer.choices[0].finish_reason is FinishReason.TOOL_CALLS


@every(TOOLED)
async def test_a_tool_conversation_goes_on_after_the_call(caller: Caller) -> None:
    first = asking("weather [sim signatures=1]", tools=TOOLS[:1], max_output_tokens=500)
    called = (await caller.ask(first)).choices[0]
    result = Message(Role.TOOL, (TextPart("Sunny"),), tool_call_id=called.tool_calls[0].id, name="get_weather")
    told = ChatRequest(
        "gpt-4o",
        (*first.messages, Message(Role.ASSISTANT, tool_calls=called.tool_calls), result),
        900,
        tools=TOOLS[:1],
        max_output_tokens=500,
    )
    answer = await caller.ask(told)
    assert "The tool has answered." in answer.choices[0].text


@every(TOOLED)
async def test_streamed_tool_calls_are_understood(caller: Caller) -> None:
    request = asking("weather [sim calls=2]", tools=TOOLS, stream=True, include_usage=True, max_output_tokens=500)
    deltas, usage = await caller.stream(request)
    arguments: dict[int, str] = {}
    for call in (call for delta in deltas for call in delta.tool_calls):
        arguments[call.index] = arguments.get(call.index, "") + (call.arguments or "")
    assert [json.loads(text) for text in arguments.values()] == [{"city": "simulated"}] * 2
    assert_billed(caller, usage)


@every([pair for pair in CHATTING if pair[0] not in ("deepseek", "zai")])
async def test_json_of_a_schema_is_understood(caller: Caller) -> None:
    answer = await caller.ask(asking("give JSON", response_format=ResponseFormat(schema=CITY), max_output_tokens=500))
    assert json.loads(answer.choices[0].text) == {"city": "simulated"}


@every(SEEING)
async def test_an_image_is_taken_and_counted(caller: Caller) -> None:
    shown = (TextPart("what is this?"), ImagePart(data=PIXEL, media_type="image/png"))
    await caller.ask(ChatRequest("gpt-4o", (Message(Role.USER, shown),), 900, max_output_tokens=500))
    assert caller.sim.bill(1)[0]["input_tokens"] >= 85


@every(PAIRS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("http_400", errors.CallerFault),
        ("http_401", errors.AuthRejected),
        ("http_403", errors.PermissionRefused),
        ("http_404", errors.ModelNotFound),
        ("http_429", errors.RateLimited),
        ("quota", errors.QuotaExhausted),
        ("http_500", errors.UpstreamError),
        ("http_503", errors.Overloaded),
        ("too_long", errors.ContextTooLong),
    ],
)
async def test_every_kind_of_error_has_its_class(caller: Caller, fault: str, expected: type[Exception], *, stream: bool) -> None:
    request = asking(f"hi [sim fault={fault}]", stream=stream, max_output_tokens=500)
    with pytest.raises(errors.UpstreamError) as raised:
        await (caller.stream(request) if stream else caller.ask(request))
    assert isinstance(raised.value, expected), repr(raised.value)
    assert caller.sim.bill() == []


@every(PAIRS)
async def test_an_error_in_a_stream_is_raised(caller: Caller) -> None:
    with pytest.raises(errors.UpstreamError):
        await caller.stream(asking("hi [sim fault=error_in_200]", stream=True, max_output_tokens=500))


@every(PAIRS)
async def test_models_are_listed(caller: Caller, pair: tuple[str, Wire]) -> None:
    names, cursor = [], None
    while True:
        http = caller.adapter.render_models(cursor)
        answer = await caller.transport.send(caller.provider, caller.provider.credentials[0], http, Deadline(20))
        listed, cursor = caller.adapter.parse_models(answer)
        names += [listing.name for listing in listed]
        if cursor is None:
            break
    assert names == ["sim-small", *([] if pair[1] is Wire.TEXT_GENERATION else names[1:])]
    assert pair[1] is Wire.TEXT_GENERATION or {"sim-large", "sim-claude"} <= set(names)


EMBEDDING = [pair for pair in PAIRS if type(ADAPTERS[pair[1]]).render_embeddings is not Adapter.render_embeddings]


@every(EMBEDDING)
async def test_embeddings_are_understood_and_billed_alike(caller: Caller, pair: tuple[str, Wire]) -> None:
    answer = await caller.ask(EmbeddingsRequest("gpt-4o", ("first text", "second"), 100))
    assert [round(sum(number * number for number in vector), 3) for vector in answer.vectors] == [1.0, 1.0]
    [line] = caller.sim.bill(1)
    assert line["input_tokens"] == 5
    assert answer.usage.input_tokens == (None if pair[1] is Wire.GEMINI else 5)


@every([pair for pair in PAIRS if type(ADAPTERS[pair[1]]).render_count_tokens is not Adapter.render_count_tokens])
async def test_counting_tokens_is_free_and_true(caller: Caller) -> None:
    counted = await caller.ask(CountTokensRequest(asking("hello there")))
    assert caller.sim.bill() == []
    answered = await caller.ask(asking("hello there", max_output_tokens=500))
    assert counted.input_tokens == answered.usage.total_input_tokens
