"""What a gateway does besides chat: embeddings and token counts, and what all requests have in common."""

from __future__ import annotations

from dataclasses import dataclass, field

from providers.upstream.types.chat import Capability, ChatRequest, ChatResponse, SourceBody, TokenUsage, Wire


@dataclass(frozen=True, slots=True)
class EmbeddingsRequest:
    """Texts, or lists of token ids, to turn into vectors. Same ``body_bytes``, ``wire_only``, ``hints`` as ``ChatRequest``."""

    model: str
    inputs: tuple[str | tuple[int, ...], ...]
    body_bytes: int
    dimensions: int | None = None
    end_user: str | None = None
    wire_only: frozenset[str] = frozenset()
    hints: frozenset[str] = frozenset()
    source: SourceBody | None = None
    stream: bool = False
    max_output_tokens: int | None = 0
    choices: int = 1
    images_by_address: int = 0
    provider_state: tuple[str, ...] = ()
    has_input_elsewhere: bool = False

    def required_capabilities(self) -> frozenset[Capability]:
        return frozenset({Capability.EMBEDDINGS})


@dataclass(frozen=True, slots=True)
class EmbeddingsResponse:
    """One vector per input, in the order of the inputs. ``body`` is the upstream's answer as received."""

    model: str
    vectors: tuple[tuple[float, ...], ...]
    usage: TokenUsage
    wire: Wire
    body: bytes
    id: str = ""
    output_bytes: int = 0


@dataclass(frozen=True, slots=True)
class CountTokensRequest:
    """How many input tokens would ``chat`` be? Providers that answer it charge nothing for it."""

    chat: ChatRequest

    @property
    def model(self) -> str:
        return self.chat.model

    @property
    def source(self) -> SourceBody | None:
        return self.chat.source

    @property
    def provider_state(self) -> tuple[str, ...]:
        return self.chat.provider_state

    body_bytes: int = 0
    stream: bool = False
    max_output_tokens: int | None = 0
    choices: int = 1
    images_by_address: int = 0
    has_input_elsewhere: bool = False

    def required_capabilities(self) -> frozenset[Capability]:
        return self.chat.required_capabilities() | {Capability.COUNT_TOKENS}


@dataclass(frozen=True, slots=True)
class TokenCount:
    """``input_tokens`` as the provider counts them."""

    input_tokens: int
    wire: Wire
    body: bytes
    model: str = ""
    id: str = ""
    usage: TokenUsage = field(default_factory=lambda: TokenUsage(input_tokens=0, output_tokens=0))
    output_bytes: int = 0


InferenceRequest = ChatRequest | EmbeddingsRequest | CountTokensRequest
InferenceResponse = ChatResponse | EmbeddingsResponse | TokenCount
