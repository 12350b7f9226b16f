"""What each service's chat completions do differently from OpenAI's, as data: one row per provider kind.

A row holds only what a request must respect; answers tell their own shape (``message``, ``usage``). A kind without a
row is treated as OpenAI itself: its client decides what to send.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from providers.upstream.types import JsonObject

_NOTHING: Mapping[str, JsonObject] = MappingProxyType({})

# Labels for the provider's own books that only OpenAI and Azure know; leaving them out changes no answer.
LABELS = frozenset(
    ("metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "user", "usage")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Profile:
    """How one service wants the OpenAI body.

    ``stream_options``: whether it takes the field; a service that does not reports usage unasked. ``output_limit``: its only name
    for the limit, ``None`` when it takes both. ``renamed``: its names for OpenAI's fields. ``required``: its word for
    ``tool_choice: required``; ``named_tool``: whether ``tool_choice`` may name a tool. ``developer_role``: whether it knows the role
    (else ``system``, which means the same). ``tool_images``: whether a tool's result may hold images. ``efforts``: what stands for a
    ``reasoning_effort`` it words differently. ``reasoning_key``: the key of an assistant turn that takes earlier reasoning back.
    ``left_out``: fields it refuses or ignores that change no answer. ``refused``: fields it refuses that do. ``parts``: the content
    parts it takes, ``None`` for all. ``message_keys``: the keys each role may have, ``None`` for all. ``call_id_chars``: the exact
    length of a tool call id (letters and digits only), ``None`` when free. ``needs_parameters``: a tool without parameters must say so
    with an empty schema.
    """

    stream_options: bool = True
    output_limit: str | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    required: str = "required"
    named_tool: bool = True
    developer_role: bool = False
    tool_images: bool = False
    several_choices: bool = True
    json_schema: bool = True
    efforts: Mapping[str, JsonObject] = field(default_factory=lambda: _NOTHING)
    reasoning_key: str | None = None
    left_out: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    parts: frozenset[str] | None = None
    message_keys: Mapping[str, frozenset[str]] | None = None
    call_id_chars: int | None = None
    needs_parameters: bool = False


PLAIN = Profile(developer_role=True, left_out=frozenset({"usage"}))
"""OpenAI itself, and servers nobody described."""

# https://docs.mistral.ai/api/ : unknown fields are refused (422 extra_forbidden), stream_options and name among them; usage comes
# with every stream; a tool call id has exactly nine letters and digits (400 invalid_function_call, code 3280).
_MISTRAL = Profile(
    stream_options=False,
    output_limit="max_tokens",
    renamed={"seed": "random_seed"},
    required="any",
    left_out=LABELS - {"metadata", "prompt_cache_key"},
    refused=frozenset(
        (
            *("logprobs", "top_logprobs", "logit_bias", "modalities", "audio", "web_search_options", "verbosity"),
            *("functions", "function_call"),
        )
    ),
    parts=frozenset({"text", "image_url", "document_url", "input_audio", "reference", "thinking", "file"}),
    message_keys={
        "system": frozenset({"role", "content"}),
        "user": frozenset({"role", "content"}),
        "assistant": frozenset({"role", "content", "tool_calls", "prefix"}),
        "tool": frozenset({"role", "content", "tool_call_id", "name"}),
    },
    call_id_chars=9,
    needs_parameters=True,
)

# https://api-docs.deepseek.com/guides/thinking_mode : thinking is on unless switched off; other efforts are taken as they are. Only
# text parts (400 "unknown variant"), only json_object. https://api-docs.deepseek.com/api/create-chat-completion has no n.
_DEEPSEEK = Profile(
    output_limit="max_tokens",
    several_choices=False,
    json_schema=False,
    efforts={"none": {"thinking": {"type": "disabled"}}},
    reasoning_key="reasoning_content",
    left_out=LABELS,
    parts=frozenset({"text"}),
)

# https://console.groq.com/docs/openai : 400 for logprobs, logit_bias, top_logprobs, messages[].name, n above 1.
_GROQ = Profile(
    developer_role=True,
    several_choices=False,
    left_out=frozenset({"metadata", "store", "usage"}),
    refused=frozenset({"logprobs", "top_logprobs", "logit_bias"}),
    parts=frozenset({"text", "image_url"}),
    message_keys={
        role: frozenset({"role", "content", *more})
        for role, more in {
            "system": (),
            "developer": (),
            "user": (),
            "assistant": ("tool_calls", "reasoning"),
            "tool": ("tool_call_id",),
        }.items()
    },
)

# https://ai.google.dev/gemini-api/docs/openai ; refusals ("Unknown name ...: Cannot find field") are reported for the fields below.
_GEMINI = Profile(
    left_out=LABELS,
    refused=frozenset({"seed", "frequency_penalty", "logit_bias"}),
    parts=frozenset({"text", "image_url", "input_audio"}),
)

# Servers with chat templates: https://docs.vllm.ai/en/latest/features/reasoning_outputs.html ,
# https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md . Thinking is switched off through the template.
_TEMPLATE_OFF: Mapping[str, JsonObject] = MappingProxyType({"none": {"chat_template_kwargs": {"enable_thinking": False}}})

PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "openai": PLAIN,
        "azure": PLAIN,
        "openai_compatible": PLAIN,
        "simulator": PLAIN,
        # https://openrouter.ai/docs/api/reference/parameters : normalises everything itself; wants reasoning back under its own key.
        "openrouter": Profile(developer_role=True, reasoning_key="reasoning"),
        # https://docs.x.ai/docs/api-reference : the developer role is a synonym of system.
        "xai": Profile(developer_role=True, reasoning_key="reasoning_content", left_out=frozenset({"metadata", "store", "usage"})),
        "mistral": _MISTRAL,
        "ditectrev": _MISTRAL,
        "deepseek": _DEEPSEEK,
        "groq": _GROQ,
        "gemini_openai": _GEMINI,
        # Whatever upstream the router picks: https://huggingface.co/docs/inference-providers/tasks/chat-completion knows max_tokens only.
        "huggingface": Profile(output_limit="max_tokens", left_out=LABELS),
        "novita": Profile(output_limit="max_tokens", left_out=LABELS),
        "together": Profile(output_limit="max_tokens", left_out=LABELS),
        "fireworks": Profile(output_limit="max_tokens", left_out=LABELS - {"user"}),
        # https://docs.perplexity.ai/api-reference/chat-completions-post : no tools, one choice.
        "perplexity": Profile(
            output_limit="max_tokens",
            several_choices=False,
            left_out=LABELS,
            refused=frozenset({"tools", "logprobs", "logit_bias", "seed"}),
        ),
        # https://inference-docs.cerebras.ai/resources/openai : 400 for these, and no developer role.
        "cerebras": Profile(
            several_choices=False,
            left_out=LABELS - {"user"},
            refused=frozenset({"frequency_penalty", "presence_penalty", "logit_bias"}),
        ),
        # https://docs.z.ai/api-reference/llm/chat-completion : thinking is switched as at DeepSeek.
        "zai": Profile(
            output_limit="max_tokens",
            several_choices=False,
            json_schema=False,
            efforts={"none": {"thinking": {"type": "disabled"}}},
            reasoning_key="reasoning_content",
            left_out=LABELS,
        ),
        "vllm": Profile(efforts=_TEMPLATE_OFF, reasoning_key="reasoning_content", left_out=LABELS - {"user"}),
        # A named tool_choice is read as "auto": the one tool alone with "required" means the same.
        "llamacpp": Profile(
            tool_images=True, named_tool=False, efforts=_TEMPLATE_OFF, reasoning_key="reasoning_content", left_out=LABELS - {"user"}
        ),
        # https://docs.ollama.com/api/openai-compatibility : the /v1 door.
        "ollama": Profile(developer_role=True, several_choices=False, reasoning_key="reasoning", left_out=LABELS - {"user"}),
    }
)


def profile_of(kind: str) -> Profile:
    """The row of a provider kind."""
    return PROFILES.get(kind, PLAIN)
