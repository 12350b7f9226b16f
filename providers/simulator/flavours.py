"""How services differ that speak OpenAI's chat completions, as data. Sources: the vendors' API references and recorded traffic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class UsageStyle(StrEnum):
    """When a stream reports usage: if asked for, in the finish chunk, on every chunk, or in Groq's own ``x_groq``."""

    ASKED = "asked"
    FINISH = "finish"
    EVERY = "every"
    X_GROQ = "x_groq"


class CostShape(StrEnum):
    """How the usage names what the call cost: not at all, in dollars, in dollars by part, or in ticks of 1e-10 dollars."""

    NONE = "none"
    DOLLARS = "dollars"
    PARTS = "parts"
    TICKS = "ticks"


class ErrorShape(StrEnum):
    OPENAI = "openai"
    MISTRAL = "mistral"
    FLAT = "flat"
    NUMBERED = "numbered"
    LLAMACPP = "llamacpp"
    TEXT = "text"


_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Flavour:
    """``fields`` are the only top-level fields taken, ``refused`` those refused by name; ``refuses_null`` is for both.
    ``required_words``: the words ``tool_choice`` may be. ``reasoning_key`` carries thoughts beside the content.
    ``reasoning_apart``: reasoning tokens are not part of the completion. ``whole_calls``: a tool call is streamed in one piece.
    ``answer_extras`` and ``chunk_extras`` are further keys of a plain answer and of a chunk."""

    name: str
    fields: frozenset[str] | None = None
    refused: frozenset[str] = frozenset()
    refuses_null: bool = False
    required_words: frozenset[str] = frozenset({"none", "auto", "required"})
    usage: UsageStyle = UsageStyle.ASKED
    has_done: bool = True
    newline: bytes = b"\n"
    gap: bytes = b" "
    comment: bytes = b""
    reasoning_key: str | None = None
    reasoning_apart: bool = False
    whole_calls: bool = False
    splits_cache: bool = False
    has_timings: bool = False
    errors: ErrorShape = ErrorShape.OPENAI
    cost: CostShape = CostShape.NONE
    answer_extras: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    chunk_extras: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)


_COMMON = frozenset(
    (
        *("model", "messages", "stream", "stream_options", "temperature", "top_p", "max_tokens", "stop", "n", "tools", "tool_choice"),
        *("response_format", "presence_penalty", "frequency_penalty", "seed", "logprobs", "top_logprobs", "user", "parallel_tool_calls"),
    )
)
# https://platform.openai.com/docs/api-reference/chat/create
_OPENAI_FIELDS = _COMMON | frozenset(
    (
        *("max_completion_tokens", "logit_bias", "metadata", "store", "service_tier", "reasoning_effort", "modalities", "audio"),
        *("prediction", "web_search_options", "verbosity", "functions", "function_call", "safety_identifier", "prompt_cache_key"),
        *("prompt_cache_retention", "moderation"),
    )
)
# https://docs.mistral.ai/api/#tag/chat
_MISTRAL_FIELDS = frozenset(
    (
        *("model", "messages", "stream", "temperature", "top_p", "max_tokens", "stop", "random_seed", "n", "tools", "tool_choice"),
        *("response_format", "presence_penalty", "frequency_penalty", "prediction", "parallel_tool_calls", "prompt_mode"),
        *("safe_prompt", "metadata", "reasoning_effort", "guardrails", "prompt_cache_key"),
    )
)

_ROWS = (
    Flavour("openai", fields=_OPENAI_FIELDS),
    Flavour("azure", fields=_OPENAI_FIELDS),
    Flavour(
        "mistral",
        fields=_MISTRAL_FIELDS,
        refuses_null=False,
        required_words=frozenset({"none", "auto", "any", "required"}) - {"required"},
        usage=UsageStyle.FINISH,
        reasoning_key="content",
        whole_calls=True,
        errors=ErrorShape.MISTRAL,
        chunk_extras={"p": "abcdefghijklmnop"},
    ),
    Flavour("deepseek", usage=UsageStyle.FINISH, reasoning_key="reasoning_content", splits_cache=True),
    Flavour("groq", refused=frozenset({"logprobs", "top_logprobs", "logit_bias"}), usage=UsageStyle.X_GROQ, reasoning_key="reasoning"),
    Flavour(
        "xai",
        usage=UsageStyle.EVERY,
        reasoning_key="reasoning_content",
        reasoning_apart=True,
        whole_calls=True,
        errors=ErrorShape.FLAT,
        cost=CostShape.TICKS,
    ),
    Flavour(
        "openrouter",
        comment=b": OPENROUTER PROCESSING\n\n",
        reasoning_key="reasoning",
        errors=ErrorShape.NUMBERED,
        cost=CostShape.DOLLARS,
        answer_extras={"provider": "Simulator"},
        chunk_extras={"provider": "Simulator"},
    ),
    Flavour("vllm", refuses_null=True, reasoning_key="reasoning", errors=ErrorShape.NUMBERED, answer_extras={"kv_transfer_params": None}),
    Flavour("llamacpp", reasoning_key="reasoning_content", has_timings=True, errors=ErrorShape.LLAMACPP),
    Flavour("huggingface", gap=b"", has_done=False, errors=ErrorShape.TEXT),
    Flavour(
        "perplexity",
        newline=b"\r\n",
        has_done=False,
        usage=UsageStyle.EVERY,
        cost=CostShape.PARTS,
        answer_extras={"citations": []},
    ),
    Flavour("transformers", has_done=False, usage=UsageStyle.FINISH),
    Flavour("ollama", reasoning_key="reasoning"),
)

FLAVOURS: Mapping[str, Flavour] = MappingProxyType({row.name: row for row in _ROWS})
