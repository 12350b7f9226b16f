"""The vocabulary every adapter, dialect and policy shares: frozen values, no behaviour that needs I/O.

Money is integer nano-dollars (1e-9 USD). Durations end in ``_s`` or ``_ms``. ``None`` always means
"unknown", never zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

JsonObject = dict[str, Any]


class Secret:
    """A string that cannot be printed, compared by accident, serialised or pickled. ``reveal()`` is the only way out."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        return (Secret, ("***",))


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


class Wire(StrEnum):
    """Wire formats, spoken by clients (dialects) and by upstreams (adapters)."""

    OPENAI_CHAT = "openai_chat"
    ANTHROPIC_MESSAGES = "anthropic_messages"
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
    """Reasoning text; ``signature`` must be sent back unchanged to the provider that issued it."""

    text: str
    signature: str | None = None


Part = TextPart | ImagePart | ReasoningPart


@dataclass(frozen=True, slots=True)
class ToolCall:
    """``arguments`` is JSON text exactly as the model wrote it, which may be invalid JSON."""

    id: str
    name: str
    arguments: str


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
    """The client's decoded body and its wire format, so that a same-wire upstream receives every field it sent."""

    wire: Wire
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One chat request, whatever wire format it came in.

    ``body_bytes`` is the size of the received body; it bounds the input tokens from above (a token is at least one byte).
    ``max_output_tokens`` is ``None`` when the client named none; dispatch then sets the target's own maximum.
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
    source: SourceBody | None = None

    def required_capabilities(self) -> frozenset[Capability]:
        needed = {Capability.CHAT}
        if self.stream:
            needed.add(Capability.STREAM)
        if self.tools:
            needed.add(Capability.TOOLS)
        if any(isinstance(part, ImagePart) for message in self.messages for part in message.parts):
            needed.add(Capability.VISION)
        if self.response_format is not None:
            needed.add(Capability.JSON_MODE if self.response_format.schema is None else Capability.JSON_SCHEMA)
        return frozenset(needed)


# --------------------------------------------------------------------------- answers


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of one call in disjoint buckets: their sum is what was consumed, nothing is counted twice.

    ``input_tokens`` excludes cached tokens and ``output_tokens`` excludes reasoning tokens, whatever the provider's own
    convention; adapters normalise (wire.md, section 0). ``None`` is "not reported".
    """

    input_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_input_tokens: int | None = None
    audio_output_tokens: int | None = None

    @property
    def total_input_tokens(self) -> int | None:
        return _sum_known(
            self.input_tokens, self.cache_read_tokens, self.cache_write_tokens, self.cache_write_1h_tokens, self.audio_input_tokens
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
            **{
                f.name: getattr(self, f.name) if getattr(later, f.name) is None else getattr(later, f.name)
                for f in fields(TokenUsage)
            }
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
class ChatChoice:
    """``index`` counts the alternatives a client asked for with ``n``."""

    index: int
    text: str
    finish_reason: FinishReason | None
    reasoning: tuple[ReasoningPart, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    refusal: str | None = None


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


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A fragment of a streamed tool call: the first one of an ``index`` carries ``id`` and ``name``."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class ChatDelta:
    """What one upstream stream event means. Every field may be empty (keep-alives, usage-only events)."""

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
    is_end: bool = False

    @property
    def has_content(self) -> bool:
        """Content the client would see: the point after which no fail-over is possible."""
        return bool(self.text or self.reasoning or self.tool_calls or self.refusal)


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One upstream event: ``raw`` is its exact bytes (terminator included), ``delta`` its meaning."""

    raw: bytes
    delta: ChatDelta


# --------------------------------------------------------------------------- HTTP, as adapters see it


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What an adapter wants sent. ``path`` is appended to the provider's base URL; headers carry no credential."""

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete upstream answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class ModelListing:
    """One model a provider says it has."""

    name: str
    display_name: str | None = None
    context_window_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[Capability] | None = None


# --------------------------------------------------------------------------- configuration snapshot


@dataclass(frozen=True, slots=True)
class PriceCard:
    """Prices of one deployment in nano-dollars per million tokens (``2.50 USD/Mtok == 2_500_000_000``).

    A bucket whose price is ``None`` falls back: cache buckets and audio input to ``input``, reasoning and audio output to
    ``output``. ``request_nano`` is added once per call. ``id`` is the ``providers.Price`` row, fixed at dispatch.
    """

    id: int
    input_nano_per_mtok: int
    output_nano_per_mtok: int
    cache_read_nano_per_mtok: int | None = None
    cache_write_nano_per_mtok: int | None = None
    cache_write_1h_nano_per_mtok: int | None = None
    reasoning_nano_per_mtok: int | None = None
    audio_input_nano_per_mtok: int | None = None
    audio_output_nano_per_mtok: int | None = None
    request_nano: int = 0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Deadlines of one provider in seconds (faults.md, "Deadlines"); ``total_s`` covers one attempt."""

    connect_s: float = 2.0
    first_byte_s: float = 30.0
    idle_s: float = 60.0
    total_s: float = 600.0


@dataclass(frozen=True, slots=True)
class CredentialRef:
    """A decrypted provider key on its way to a header. ``id`` is the ``providers.Credential`` row."""

    id: str
    secret: Secret


class HealthStatus(StrEnum):
    """Green answers, yellow answers badly, red does not answer, unknown was never checked."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"
    UNKNOWN = "unknown"


class AuthStyle(StrEnum):
    """How a provider wants its key: in which header."""

    BEARER = "bearer"
    X_API_KEY = "x_api_key"
    API_KEY = "api_key"
    NONE = "none"


class DisconnectPolicy(StrEnum):
    """What happens upstream when the client leaves: ``close`` stops generation, ``drain`` reads to the usage."""

    CLOSE = "close"
    DRAIN = "drain"


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """One account at one service, as the data plane needs it. ``slug`` is its stable public name."""

    id: int
    slug: str
    label: str
    kind: str
    adapter: Wire
    base_url: str
    auth_style: AuthStyle
    credentials: tuple[CredentialRef, ...]
    needs_credential: bool
    timeouts: Timeouts
    allow_private: bool
    max_connections: int
    priority: int
    weight: int
    health: HealthStatus
    disconnect_policy: DisconnectPolicy = DisconnectPolicy.CLOSE
    extra_headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """A deployment (one upstream model on one provider) as a choice.

    ``name`` is what clients ask for, ``upstream_model`` what the provider is asked for. ``price`` is ``None`` when nobody
    priced it: such a target is refused for paid use.
    """

    id: int
    name: str
    upstream_model: str
    provider: ProviderSpec
    capabilities: frozenset[Capability]
    max_output_tokens: int
    price: PriceCard | None
    display_name: str = ""
    context_window_tokens: int | None = None

    @property
    def address(self) -> str:
        """The unambiguous public name, ``provider/model``."""
        return f"{self.provider.slug}/{self.name}"


class Policy(StrEnum):
    """How candidates are ordered. ``preference`` puts the caller's wish first and falls back to ``priority``."""

    PRIORITY = "priority"
    COST = "cost"
    PREFERENCE = "preference"


@dataclass(frozen=True, slots=True)
class RouteChoice:
    """One target of a route; lower ``priority`` is tried first."""

    target_id: int
    priority: int
    weight: int


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """A name clients ask for and the targets behind it. ``policy is None`` uses the global one."""

    name: str
    policy: Policy | None
    choices: tuple[RouteChoice, ...]


@dataclass(frozen=True, slots=True)
class RoutingSettings:
    """Global routing configuration; an admin edits it, ``Snapshot`` carries it."""

    default_policy: Policy = Policy.PREFERENCE
    max_attempts: int = 3
    retries_per_target: int = 2
    retry_base_s: float = 1.0
    deadline_s: float = 600.0
    breaker_failures: int = 5
    breaker_open_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything routing needs, immutable; replaced as a whole when ``version`` moves."""

    version: int
    targets: Mapping[int, Target]
    targets_by_name: Mapping[str, tuple[int, ...]]
    routes: Mapping[str, RouteSpec]
    routing: RoutingSettings = RoutingSettings()


# --------------------------------------------------------------------------- routing


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a caller likes and may have.

    ``model`` is the name asked for; ``auto`` means "by preference". ``provider`` narrows it. ``preferred`` lists
    (provider slug or None, model name) pairs, most wanted first. ``allowed_models is None`` means every model.
    With ``allow_fallback`` false, only the named provider may answer.
    """

    model: str = "auto"
    provider: str | None = None
    preferred: tuple[tuple[str | None, str], ...] = ()
    policy: Policy | None = None
    allowed_models: frozenset[str] | None = None
    allow_fallback: bool = True


@dataclass(frozen=True, slots=True)
class Skipped:
    """A target left out of a plan and why: ``reason`` is a stable code, ``detail`` is for people."""

    address: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Ordered targets with the reason for the order, and a reason for every one left out."""

    targets: tuple[Target, ...]
    skipped: tuple[Skipped, ...]
    policy: Policy
    why: str
