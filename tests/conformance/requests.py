"""Judges what the gateway would ask: the recorded request goes through the client's format and the adapter.

On the same wire every recorded field must arrive. Translated through the canonical form it must mean the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

from aigateway.dialects.anthropic_messages.dialect import AnthropicCountTokens, AnthropicMessages
from aigateway.dialects.base import Dialect, Sent
from aigateway.dialects.gemini.dialect import GeminiBatchEmbed, GeminiCountTokens, GeminiEmbed, GeminiGenerate, GeminiStream
from aigateway.dialects.openai_chat.dialect import OpenAIChat
from aigateway.dialects.openai_embeddings import OpenAIEmbeddings
from aigateway.dialects.openai_responses.dialect import OpenAIResponses
from aigateway.errors import GatewayError
from providers.catalog import KINDS
from providers.upstream.adapters import Adapter
from providers.upstream.errors import UnsupportedRequest
from providers.upstream.types import CountTokensRequest, HealthStatus, HttpRequest, InferenceRequest, ProviderSpec, Target
from tests.conformance import asked_anthropic, asked_gemini, asked_openai, asked_others
from tests.conformance.asked import Asked, json_value
from tests.conformance.asked_canonical import chat_request, embeddings_request
from tests.conformance.asked_same import expect_passed_on, expect_same_meaning
from tests.conformance.exchange import Exchange
from tests.conformance.route import Operation, Way
from tests.conformance.verdict import Difference, Refused, expect

_REFUSALS = (400, 404, 413, 415, 422)
"""Statuses with which a provider declines a request that the gateway may decline as well."""
_ON_PURPOSE = frozenset(
    ("service_tier", "serviceTier", "speed", "inference_geo", "background", "models", "generationConfig.responseModalities")
)
"""Fields that the gateway refuses by their value: they cost more than the list price it reserves and bills, or answer later."""
_MOST_OUTPUT_TOKENS = 10_000_000
_MODEL_FREE = frozenset({"chat.completions", "embeddings"})
_STAND_IN = "the-only-one"


@dataclass(frozen=True, slots=True)
class Spoken:
    """How requests of one API are read, and the client format that takes them, if there is one."""

    read: Callable[[dict[str, Any], str], Asked]
    dialect: type[Dialect] | None = None


SPOKEN: Mapping[str, Spoken] = {
    "chat.completions": Spoken(asked_openai.read_chat, OpenAIChat),
    "responses": Spoken(asked_openai.read_responses, OpenAIResponses),
    "embeddings": Spoken(asked_openai.read_embeddings, OpenAIEmbeddings),
    "messages": Spoken(asked_anthropic.read_messages, AnthropicMessages),
    "messages.count_tokens": Spoken(asked_anthropic.read_messages, AnthropicCountTokens),
    "generateContent": Spoken(asked_gemini.read_contents, GeminiGenerate),
    "streamGenerateContent": Spoken(asked_gemini.read_contents, GeminiStream),
    "countTokens": Spoken(asked_gemini.read_contents, GeminiCountTokens),
    "embedContent": Spoken(asked_gemini.read_embeddings, GeminiEmbed),
    "batchEmbedContents": Spoken(asked_gemini.read_embeddings, GeminiBatchEmbed),
    "ollama.chat": Spoken(asked_others.read_ollama),
    "ollama.embed": Spoken(asked_others.read_ollama_embed),
    "cohere.chat": Spoken(asked_others.read_cohere),
    "cohere.embed": Spoken(asked_others.read_cohere_embed),
    "tgi.generate": Spoken(asked_others.read_generate),
    "hf.task": Spoken(asked_others.read_generate),
}


def judge_request(exchange: Exchange, way: Way, adapter: Adapter) -> None:
    """Raises ``Difference``, or ``Refused`` where the gateway on purpose does not ask this: a field that one service alone knows, a
    surcharge, content without a place in any client format, or what a translation refuses by name instead of losing it.

    What the provider itself declined may be declined here, or asked and declined there.
    """
    if not exchange.has_request or not way.is_asked or way.operation is Operation.NOT_OFFERED:
        return
    if way.operation is Operation.MODELS:
        _expect_address(exchange, adapter.render_models(None), "request")
        return
    if exchange.request_body is None:
        return
    spoken = SPOKEN.get(exchange.api)
    if spoken is None:
        raise Difference("request", "an API whose requests can be read", exchange.api)
    try:
        if spoken.dialect is not None:
            _judge_spoken(exchange, way, adapter, spoken, spoken.dialect)
        elif isinstance(exchange.request_body, dict):
            _judge_unspoken(exchange, way, adapter, spoken)
    except Refused:
        if exchange.status not in _REFUSALS:
            raise


# --------------------------------------------------------------------------- formats that clients speak


def _judge_spoken(exchange: Exchange, way: Way, adapter: Adapter, spoken: Spoken, dialect: type[Dialect]) -> None:
    recorded = _with_model(exchange)
    request = _parsed(exchange, recorded, dialect)
    target = _target(exchange, way, request.model)
    try:
        sent = _rendered(adapter, request, target, "request")
    except Refused as refusal:
        if exchange.status in _REFUSALS:
            return
        raise Difference("request", "what the provider took", str(refusal)) from None
    _expect_address(exchange, sent, "request")
    _expect_headers(exchange, sent)
    assert isinstance(recorded, dict)
    body = _body(sent)
    expect_passed_on(recorded, body, sent.degraded)
    expect("request.stream", spoken.read(recorded, exchange.path).stream, spoken.read(body, _place(exchange, sent)).stream)
    translated = _without_source(request)
    if translated is not None:
        _judge_translated(exchange, way, adapter, spoken, translated, target)
    if sent.degraded:
        raise Refused(f"Left out, and the client is told, because this service refuses or ignores it: {', '.join(sent.degraded)}")


def _judge_translated(exchange: Exchange, way: Way, adapter: Adapter, spoken: Spoken, translated: InferenceRequest, target: Target) -> None:
    again = _rendered(adapter, translated, target, "request, translated")
    meant, means = spoken.read(_with_model(exchange), exchange.path), spoken.read(_body(again), _place(exchange, again))
    if way.operation is Operation.COUNT_TOKENS:
        meant.limit = means.limit = None  # nothing is put out
    expect_same_meaning("request, translated", meant, means, again.degraded)


def _with_model(exchange: Exchange) -> Any:
    """Where the address stands for one model, the recording need not name it; the gateway always does."""
    body = exchange.request_body
    body = json_value(body) if isinstance(body, str) else body
    if isinstance(body, dict) and exchange.api in _MODEL_FREE and "model" not in body:
        return {**body, "model": _STAND_IN}
    return body


def _parsed(exchange: Exchange, body: Any, dialect: type[Dialect]) -> InferenceRequest:
    sent = Sent(headers=exchange.request_headers, path={"model": asked_gemini.model_of(exchange.path)})
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    try:
        return dialect().parse(raw, None, sent).request
    except GatewayError as error:
        if exchange.status not in _REFUSALS and error.code != "unknown_field" and error.param not in _ON_PURPOSE:
            raise Difference("request", "a request that is taken", error.message) from None
        raise Refused(f"The gateway refuses this request by name: {error.message}") from None


def _without_source(request: InferenceRequest) -> InferenceRequest | None:
    """The bare canonical form; ``None`` where it says itself that it does not hold everything."""
    if isinstance(request, CountTokensRequest):
        inner = _without_source(request.chat)
        return None if inner is None else CountTokensRequest(inner)  # type: ignore[arg-type]
    return None if request.wire_only else replace(request, source=None)


# --------------------------------------------------------------------------- formats that only providers speak


def _judge_unspoken(exchange: Exchange, way: Way, adapter: Adapter, spoken: Spoken) -> None:
    recorded = spoken.read(exchange.request_body, exchange.path)
    is_embedding = way.operation is Operation.EMBEDDINGS
    if not (recorded.inputs if is_embedding else recorded.turns):
        raise Refused("no client format of the gateway asks without a text")
    request = embeddings_request(recorded) if is_embedding else chat_request(recorded)
    sent = _rendered(adapter, request, _target(exchange, way, recorded.model), "request")
    _expect_address(exchange, sent, "request")
    rendered = spoken.read(_body(sent), _place(exchange, sent))
    beyond = {name: value for name, value in recorded.others.items() if rendered.others.get(name) != value}
    if recorded.budget != rendered.budget:
        beyond["a budget for reasoning"] = recorded.budget
        rendered.budget = recorded.budget
    recorded.others = {name: value for name, value in recorded.others.items() if name not in beyond}
    rendered.others = {name: value for name, value in rendered.others.items() if name not in beyond}
    expect_same_meaning("request", recorded, rendered, sent.degraded)
    if beyond:
        raise Refused(f"no client format of the gateway asks for this: {', '.join(sorted(beyond))}")


# --------------------------------------------------------------------------- rendering


def _target(exchange: Exchange, way: Way, model: str) -> Target:
    kind = KINDS[way.kind]
    provider = ProviderSpec(
        id=1,
        slug=kind.slug,
        label=kind.label,
        kind=kind.slug,
        adapter=way.wire,
        base_url=_base_url(exchange) or kind.base_url,
        auth_style=kind.auth_style,
        credentials=(),
        needs_credential=False,
        timeouts=kind.timeouts,
        allow_private=False,
        max_connections=1,
        priority=1,
        weight=1,
        health=HealthStatus.UNKNOWN,
    )
    return Target(1, model, model, provider, frozenset(), _MOST_OUTPUT_TOKENS, None)


def _base_url(exchange: Exchange) -> str:
    """Of services whose models stand in the path: what stands before them."""
    before, found, _ = exchange.path.partition("/models/")
    if not found:
        return ""
    return f"https://provider.test{before}" + ("/models" if exchange.api in ("hf.task", "tgi.generate") else "")


def _rendered(adapter: Adapter, request: InferenceRequest, target: Target, path: str) -> HttpRequest:
    try:
        return adapter.render(request, target)
    except UnsupportedRequest as error:
        raise Refused(f"{path}: {error.detail}") from None


def _body(sent: HttpRequest) -> dict[str, Any]:
    body = json.loads(sent.body)
    if not isinstance(body, dict):
        raise Difference("request.body", "an object", body)
    return body


def _place(exchange: Exchange, sent: HttpRequest) -> str:
    """The address a rendered request goes to, with what stands before it in the recording."""
    return _base_url(exchange).removeprefix("https://provider.test") + sent.path


def _expect_address(exchange: Exchange, sent: HttpRequest, path: str) -> None:
    """Method, the last parts of the path, and how a stream is asked for where the query says so."""
    expect(f"{path}.method", exchange.method, sent.method)
    recorded, _, query = exchange.path.partition("?")
    rendered, _, own_query = sent.path.partition("?")
    if not unquote(recorded).endswith(unquote(rendered)):
        raise Difference(f"{path}.path", recorded, rendered)
    if re.search(r"\balt=sse\b", query) and "alt=sse" not in own_query:
        raise Difference(f"{path}.query", "alt=sse", own_query)
    if sent.method == "POST":
        expect(f"{path}.content-type", "application/json", sent.headers.get("content-type"))


def _expect_headers(exchange: Exchange, sent: HttpRequest) -> None:
    """Headers without which the body means something else."""
    for name in ("anthropic-version", "anthropic-beta"):
        if name in exchange.request_headers:
            expect(f"request.headers.{name}", exchange.request_headers[name], sent.headers.get(name))
