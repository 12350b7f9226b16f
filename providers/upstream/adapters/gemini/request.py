"""Canonical request -> Gemini body (https://ai.google.dev/api/generate-content#v1beta.GenerationConfig)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from providers.upstream.adapters.gemini.schema import schema_of
from providers.upstream.adapters.gemini.turns import render_turns, system_parts
from providers.upstream.adapters.translation import left_out, refusal, refuse_unpriced_tools, refuse_untranslatable
from providers.upstream.types import (
    ChatRequest,
    EmbeddingsRequest,
    ImagePart,
    JsonObject,
    ReasoningPart,
    Role,
    Target,
    ToolChoice,
    ToolChoiceMode,
    ToolSpec,
    Wire,
)

_CHOICES_MAX = 8
_INT32 = range(-(2**31), 2**31)
_FORCING = (ToolChoiceMode.REQUIRED, ToolChoiceMode.NAMED)
_MODES = {ToolChoiceMode.AUTO: "AUTO", ToolChoiceMode.NONE: "NONE", ToolChoiceMode.REQUIRED: "ANY", ToolChoiceMode.NAMED: "ANY"}
# What Google's own OpenAI-compatible API makes of ``reasoning_effort``: a budget in tokens up to Gemini 2.5, a level from Gemini 3 on
# (https://ai.google.dev/gemini-api/docs/openai#thinking).
_BUDGET_FAMILY = re.compile(r"gemini-2\.5", re.IGNORECASE)
_NEVER_THINKS = re.compile(r"gemini-(?:1|2\.0)|gemma-[123]", re.IGNORECASE)
_ALWAYS_THINKS = re.compile(r"gemini-2\.5-pro", re.IGNORECASE)
_BUDGET_TOKENS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
_LEVELS = {"minimal": "minimal", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_MORE_THAN_HIGH = ("xhigh", "max")


def is_same_wire(request: ChatRequest | EmbeddingsRequest) -> bool:
    return request.source is not None and request.source.wire is Wire.GEMINI


def model_path(target: Target) -> str:
    """``/models/x``; tuned models have a collection of their own."""
    collection, slash, name = target.upstream_model.partition("/")
    if not slash or collection not in ("models", "tunedModels"):
        collection, name = "models", target.upstream_model
    return f"/{collection}/{quote(name, safe='')}"


def is_vertex(target: Target) -> bool:
    """Vertex AI has models below publishers, and some of its calls are shaped otherwise."""
    return "/publishers/" in target.provider.base_url


def degraded(request: ChatRequest) -> tuple[str, ...]:
    """Nothing for a client of the same wire format."""
    return () if is_same_wire(request) else left_out(request, *_dropped(request))


def _dropped(request: ChatRequest) -> Iterator[str]:
    """What this API has no place for and an answer hardly depends on."""
    if request.end_user:
        yield "user"
    if request.seed is not None and request.seed not in _INT32:
        yield "seed"
    if request.reasoning_effort in _MORE_THAN_HIGH:
        yield f"reasoning_effort={request.reasoning_effort}"
    if any(tool.strict for tool in request.tools):
        yield "tools.strict"
    for message in request.messages:
        if message.name is not None and message.role not in (Role.USER, Role.TOOL):
            yield f"{message.role.value}.name"
        for part in message.parts:
            if isinstance(part, ReasoningPart):
                yield "reasoning"
            elif isinstance(part, ImagePart) and part.detail not in (None, "auto"):
                yield "image detail"


def render_body(request: ChatRequest, target: Target) -> JsonObject:
    """The body to send. A client of the same wire format has every field passed on, whatever it means."""
    if request.source is not None and is_same_wire(request):
        refuse_unpriced_tools(request, target)
        body = dict(request.source.body)
        config_key, config = _own(body, "generationConfig", "generation_config")
        limit_key, _ = _own(config, "maxOutputTokens", "max_output_tokens")
    else:
        refuse_untranslatable(request)
        body = _translated(request, target)
        config_key, limit_key = "generationConfig", "maxOutputTokens"
        config = body.get(config_key, {})
    body.pop("model", None)  # it stands in the path
    body[config_key] = {**config, limit_key: target.output_cap_tokens(request.max_output_tokens)}
    return body


def _own(body: Mapping[str, Any], *spellings: str) -> tuple[str, Any]:
    """The spelling the client used and its value; both are accepted everywhere."""
    name = next((spelling for spelling in spellings if spelling in body), spellings[0])
    return name, body.get(name) or {}


def render_count_body(request: ChatRequest, target: Target) -> JsonObject:
    """A translated question is counted with its system prompt and tools, so it goes as a whole request
    (https://ai.google.dev/api/tokens#method:-models.counttokens); Vertex takes the parts as they are."""
    if request.source is not None and is_same_wire(request):
        return _renamed(request.source.body, target)
    refuse_untranslatable(request)
    body = _translated(request, target)
    if is_vertex(target):
        return body
    return {"generateContentRequest": {"model": model_path(target)[1:], **body}}


def _renamed(sent: Mapping[str, Any], target: Target) -> JsonObject:
    """The client's own name of the model, wherever it stands, becomes the provider's."""
    body = {name: value for name, value in sent.items() if name != "model"}
    for name in ("generateContentRequest", "generate_content_request"):
        if isinstance(body.get(name), Mapping):
            body[name] = {**body[name], "model": model_path(target)[1:]}
    return body


def _translated(request: ChatRequest, target: Target) -> JsonObject:
    _refuse_unknown_to_gemini(request)
    system = system_parts(request)
    config = _generation_config(request, target)
    optional: JsonObject = {
        "systemInstruction": {"parts": system} if system else None,
        "tools": [{"functionDeclarations": [_tool(tool) for tool in request.tools]}] if request.tools else None,
        "toolConfig": _tool_config(request.tool_choice) if request.tools else None,
        "generationConfig": config or None,
    }
    return {
        "contents": render_turns(request, target.upstream_model),
        **{name: value for name, value in optional.items() if value is not None},
    }


def _refuse_unknown_to_gemini(request: ChatRequest) -> None:
    if request.choices > _CHOICES_MAX:
        raise refusal("n", f"at most {_CHOICES_MAX} answers")
    if request.parallel_tool_calls is False and request.tools:
        raise refusal("parallel_tool_calls", "several calls at once cannot be switched off")
    if not request.tools and request.tool_choice is not None and request.tool_choice.mode in _FORCING:
        raise refusal("tool_choice", "no tools are given")


def _generation_config(request: ChatRequest, target: Target) -> JsonObject:
    wanted = request.response_format
    optional: JsonObject = {
        "temperature": request.temperature,
        "topP": request.top_p,
        "stopSequences": list(request.stop) or None,
        "seed": request.seed if request.seed is not None and request.seed in _INT32 else None,
        "candidateCount": request.choices if request.choices != 1 else None,
        "responseMimeType": "application/json" if wanted is not None else None,
        "responseJsonSchema": schema_of(wanted.schema) if wanted is not None and wanted.schema is not None else None,
        "responseLogprobs": True if request.logprobs is not None else None,
        "logprobs": request.logprobs or None,
        "thinkingConfig": _thinking(request.reasoning_effort, target.upstream_model),
    }
    return {name: value for name, value in optional.items() if value is not None}


def _thinking(effort: str | None, model: str) -> JsonObject | None:
    """Thoughts are asked for as well: a client that names an effort can show them, and they cost nothing more."""
    if effort is None or (effort == "none" and _NEVER_THINKS.search(model)):
        return None
    if effort not in _BUDGET_TOKENS:
        raise refusal("reasoning_effort", f"{effort!r} is no known effort")
    if _NEVER_THINKS.search(model):
        raise refusal("reasoning_effort", "this model does not reason")
    if _BUDGET_FAMILY.search(model):
        if effort == "none" and _ALWAYS_THINKS.search(model):
            raise refusal("reasoning_effort", "reasoning cannot be switched off")
        return {"thinkingBudget": _BUDGET_TOKENS[effort], "includeThoughts": effort != "none"}
    if effort == "none":
        raise refusal("reasoning_effort", "reasoning cannot be switched off")
    level = _LEVELS[effort]
    return {"thinkingLevel": "low" if level == "minimal" and "-pro" in model else level, "includeThoughts": True}


def _tool(tool: ToolSpec) -> JsonObject:
    declaration: JsonObject = {"name": tool.name}
    if tool.description is not None:
        declaration["description"] = tool.description
    if tool.parameters:
        # ``parameters`` takes a dialect of OpenAPI 3.0 that knows neither additionalProperties nor $ref.
        declaration["parametersJsonSchema"] = schema_of(tool.parameters)
    return declaration


def _tool_config(choice: ToolChoice | None) -> JsonObject | None:
    if choice is None:
        return None
    calling: JsonObject = {"mode": _MODES[choice.mode]}
    if choice.mode is ToolChoiceMode.NAMED:
        calling["allowedFunctionNames"] = [choice.name or ""]
    return {"functionCallingConfig": calling}
