"""Chat requests and answers, whatever wire format they come in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

import msgspec

from providers.upstream.types.provider_tools import ProviderTools

JsonObject = dict[str, Any]


class Capability(StrEnum):
    """What a deployment can do; a request that needs more than a target has is never sent to it."""

    CHAT = "chat"
    STREAM = "stream"
    TOOLS = "tools"
    VISION = "vision"
    JSON_MODE = "json_mode"
    JSON_SCHEMA = "json_schema"
    REASONING = "reasoning"
    EMBEDDINGS = "embeddings"
    COUNT_TOKENS = "count_tokens"


class Wire(StrEnum):
    """Wire formats, spoken by clients (dialects) and by upstreams (adapters)."""

    OPENAI_CHAT = "openai_chat"
    OPENAI_RESPONSES = "openai_responses"
    OPENAI_EMBEDDINGS = "openai_embeddings"
    ANTHROPIC_MESSAGES = "anthropic_messages"
    GEMINI = "gemini"
    OLLAMA = "ollama"
    COHERE = "cohere"
    TEXT_GENERATION = "text_generation"
    """Hugging Face's ``/generate`` and text-generation task: a prompt in, its continuation out."""
    NATIVE = "native"


class Role(StrEnum):
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class FinishReason(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


# --------------------------------------------------------------------------- requests


@dataclass(frozen=True, slots=True)
class TextPart:
    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image by ``url`` or by base64 ``data`` with its ``media_type``. The gateway never fetches the URL itself."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class ReasoningPart:
    """Reasoning text; ``signature`` must be sent back unchanged to the provider that issued it.

    A ``redacted`` part has no text: its ``signature`` is the provider's opaque block.
    """

    text: str
    signature: str | None = None
    redacted: bool = False


Part = TextPart | ImagePart | ReasoningPart


@dataclass(frozen=True, slots=True)
class ToolCall:
    """``arguments`` is JSON text exactly as the model wrote it, which may be invalid JSON.

    ``signature`` is opaque state of the provider (Gemini's ``thoughtSignature``) that must go back with the call.
    """

    id: str
    name: str
    arguments: str
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. ``tool_call_id`` is set on ``Role.TOOL`` turns only."""

    role: Role
    parts: tuple[Part, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))


@dataclass(frozen=True, slots=True)
class ToolSpec:
    name: str
    description: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    strict: bool | None = None


class ToolChoiceMode(StrEnum):
    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"
    NAMED = "named"


@dataclass(frozen=True, slots=True)
class ToolChoice:
    mode: ToolChoiceMode
    name: str | None = None


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """``schema is None`` asks for any JSON object; otherwise for JSON that matches ``schema``."""

    name: str = "response"
    schema: Mapping[str, Any] | None = None
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class SourceBody:
    """The client's decoded body and its wire format, so that a same-wire upstream receives every field it sent.

    ``headers`` are the client's own that a same-wire upstream needs (``anthropic-beta``): lower-case names, from an
    allow-list of the dialect, values checked.
    """

    wire: Wire
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One chat request, whatever wire format it came in.

    ``body_bytes`` is the size of the received body; it bounds the input tokens from above (a token is at least one byte).
    ``max_output_tokens`` is ``None`` when the client named none; adapters then send the target's own maximum.
    ``wire_only`` names what the client asked for that only an upstream of the same wire format can honour; an adapter of
    another one refuses the request (``UnsupportedRequest``) instead of dropping it. ``hints`` names fields that change no
    answer (labels for the provider's books): another adapter leaves them out and says so in ``HttpRequest.degraded``.
    ``logprobs`` asks for the log probabilities of the tokens with that many alternatives each (0: the chosen ones only).
    ``provider_state`` holds ids and opaque blocks that only the account that issued them understands (U34).
    ``has_input_elsewhere``: the provider adds input that the body does not hold (a stored conversation, files, what its own tools
    find), so only the context window bounds it, for each run of the model. ``provider_tools`` cost more than tokens.
    """

    model: str
    messages: tuple[Message, ...]
    body_bytes: int
    stream: bool = False
    include_usage: bool = False
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    choices: int = 1
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: str | None = None
    logprobs: int | None = None
    end_user: str | None = None
    provider_state: tuple[str, ...] = ()
    has_input_elsewhere: bool = False
    provider_tools: ProviderTools | None = None
    wire_only: frozenset[str] = frozenset()
    hints: frozenset[str] = frozenset()
    source: SourceBody | None = None
    images: tuple[ImagePart, ...] = field(init=False, compare=False, repr=False)
    """Found once: a conversation may have tens of thousands of parts, and routing asks for every target."""

    def __post_init__(self) -> None:
        images = tuple([part for message in self.messages for part in message.parts if isinstance(part, ImagePart)])
        object.__setattr__(self, "images", images)

    @property
    def images_by_address(self) -> int:
        """Images whose size the body does not bound, because the provider fetches them."""
        return sum(image.url is not None for image in self.images)

    def required_capabilities(self) -> frozenset[Capability]:
        needed = {Capability.CHAT}
        if self.stream:
            needed.add(Capability.STREAM)
        if self.tools:
            needed.add(Capability.TOOLS)
        if self.images:
            needed.add(Capability.VISION)
        if self.response_format is not None:
            needed.add(Capability.JSON_MODE if self.response_format.schema is None else Capability.JSON_SCHEMA)
        return frozenset(needed)


# --------------------------------------------------------------------------- answers


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of one call in disjoint buckets: their sum is what was consumed, nothing is counted twice.

    ``input_tokens`` excludes cached, audio and image tokens counted apart, and ``output_tokens`` excludes reasoning tokens, whatever
    the provider's own convention; adapters normalise (wire.md, section 0). ``None`` is "not reported".
    """

    input_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_input_tokens: int | None = None
    audio_output_tokens: int | None = None
    image_input_tokens: int | None = None
    reported_cost_nano: int | None = None
    """What the provider says the call cost, in nano-dollars: kept beside our own figure, never in its place."""
    provider_tool_calls: int | None = field(default=None, compare=False)  # billed one by one; no tokens

    @property
    def total_input_tokens(self) -> int | None:
        return _sum_known(
            self.input_tokens,
            self.cache_read_tokens,
            self.cache_write_tokens,
            self.cache_write_1h_tokens,
            self.audio_input_tokens,
            self.image_input_tokens,
        )

    @property
    def total_output_tokens(self) -> int | None:
        return _sum_known(self.output_tokens, self.reasoning_tokens, self.audio_output_tokens)

    @property
    def is_complete(self) -> bool:
        """Both directions are known, so a cost computed from it is a measurement."""
        return self.input_tokens is not None and self.output_tokens is not None

    def merged_with(self, later: TokenUsage) -> TokenUsage:
        """Later values replace earlier ones, field by field: providers repeat cumulative usage, so it is never summed."""
        return TokenUsage(
            **{f.name: getattr(self, f.name) if getattr(later, f.name) is None else getattr(later, f.name) for f in fields(TokenUsage)}
        )


def _sum_known(first: int | None, *rest: int | None) -> int | None:
    known = [count for count in (first, *rest) if count is not None]
    return sum(known) if known else None


@dataclass(frozen=True, slots=True)
class RateLimitState:
    """What a provider's headers said about its own limit; ``reset_s`` counts from receipt."""

    remaining_requests: int | None = None
    remaining_tokens: int | None = None
    reset_s: float | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One generated token with its natural-logarithm probability and the alternatives considered."""

    token: str
    logprob: float
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class ChatChoice:
    """``index`` counts the alternatives a client asked for with ``n``."""

    index: int
    text: str
    finish_reason: FinishReason | None
    reasoning: tuple[ReasoningPart, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    refusal: str | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class ChatResponse:
    """A whole answer. ``body`` is the upstream's answer as received, for clients of the same wire format."""

    id: str
    model: str
    choices: tuple[ChatChoice, ...]
    usage: TokenUsage
    wire: Wire
    body: bytes
    created_s: int | None = None

    @property
    def output_bytes(self) -> int:
        """UTF-8 bytes of everything the model wrote."""
        texts = [text for choice in self.choices for text in (choice.text, choice.refusal or "")]
        texts += [part.text for choice in self.choices for part in choice.reasoning]
        texts += [call.arguments for choice in self.choices for call in choice.tool_calls]
        return sum(len(text.encode("utf-8", "replace")) for text in texts)


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A fragment of a streamed tool call: the first one of an ``index`` carries ``id`` and ``name``."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    signature: str | None = None


class ChatDelta(msgspec.Struct, frozen=True, gc=False):
    """What one upstream stream event means. Every field may be empty (keep-alives, usage-only events).

    ``others`` means the same for further choices (``n`` above 1). A struct: there is one for every event, and it costs a tenth.
    """

    text: str = ""
    reasoning: str = ""
    reasoning_signature: str | None = None
    tool_calls: tuple[ToolCallDelta, ...] = ()
    refusal: str = ""
    finish_reason: FinishReason | None = None
    usage: TokenUsage | None = None
    id: str | None = None
    model: str | None = None
    choice_index: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()
    is_end: bool = False
    others: tuple[ChatDelta, ...] = ()

    @property
    def has_content(self) -> bool:
        """Content the client would see: the point after which no fail-over is possible. Does not look at ``others``."""
        return bool(self.text or self.reasoning or self.tool_calls or self.refusal)


class StreamEvent(msgspec.Struct, frozen=True, gc=False):
    """One upstream event: ``raw`` is its exact bytes (terminator included), ``delta`` its meaning.

    Where an event speaks of several choices, one follows for each further choice, with empty ``raw``.
    """

    raw: bytes
    delta: ChatDelta
