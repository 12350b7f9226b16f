"""Gemini bodies -> canonical requests (https://ai.google.dev/api/generate-content)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from aigateway.dialects.base import Sent, check_number, field_error, parse_object
from aigateway.dialects.gemini.shapes import CallingIn, ConfigIn, ContentIn, GenerateIn, ThinkingIn, camel_cased, json_schema_of
from aigateway.dialects.gemini.turns import TurnReader
from aigateway.dialects.provider_tools import gemini_adds_input, of_gemini
from aigateway.errors import invalid_request
from providers.upstream.types import ChatRequest, ResponseFormat, SourceBody, ToolChoice, ToolChoiceMode, Wire

_MAX_CONTENTS = 10_000
_MAX_TOOLS = 256
_KNOWN = frozenset(GenerateIn.__struct_encode_fields__) | {"labels", "store", "modelArmorConfig"}
_CONFIG_KNOWN = frozenset(ConfigIn.__struct_encode_fields__)
# They change the answer, and no other wire format has them.
_CONFIG_WIRE_ONLY = frozenset(
    (
        *("topK", "presencePenalty", "frequencyPenalty", "mediaResolution", "speechConfig", "imageConfig", "audioTimestamp"),
        *("enableEnhancedCivicAnswers", "routingConfig", "modelSelectionConfig", "modelConfig", "responseFormat", "enableAffectiveDialog"),
        *("translationConfig", "audioTranscriptionConfig"),
    )
)
_HARMLESS_THRESHOLDS = ("BLOCK_NONE", "OFF", "HARM_BLOCK_THRESHOLD_UNSPECIFIED", 0, 4, 5, None)
_MODES = {"AUTO": ToolChoiceMode.AUTO, "NONE": ToolChoiceMode.NONE, "ANY": ToolChoiceMode.REQUIRED, "VALIDATED": ToolChoiceMode.AUTO}
_STANDARD_TIERS = (None, "standard", "unspecified", "SERVICE_TIER_STANDARD", "SERVICE_TIER_UNSPECIFIED")
# From this budget on, in tokens. What a budget means as an effort is an approximation, so it is reported as left out.
_EFFORTS = ((16_384, "high"), (4_096, "medium"), (1, "low"))
_LEVELS = ("minimal", "low", "medium", "high", "xhigh")


def parse_generate(body: bytes, sent: Sent, *, stream: bool = False) -> ChatRequest:
    """Raises ``GatewayError`` (400) naming the field."""
    decoded = parse_object(body)
    return _chat_request(decoded, decoded, sent, len(body), stream=stream)


def parse_count(body: bytes, sent: Sent) -> ChatRequest:
    """The contents alone, or a whole request in ``generateContentRequest``."""
    decoded = parse_object(body)
    inner = camel_cased(decoded).get("generateContentRequest")
    if inner is not None and not isinstance(inner, dict):
        raise invalid_request("generateContentRequest: Expected `object`.", param="generateContentRequest")
    if inner is not None and len(decoded) > 1:
        raise invalid_request("generateContentRequest: send it alone.", param="generateContentRequest")
    return _chat_request(decoded if inner is None else inner, decoded, sent, len(body), stream=False)


def _chat_request(asked: dict[str, Any], decoded: dict[str, Any], sent: Sent, size: int, *, stream: bool) -> ChatRequest:
    fields = {name: value for name, value in camel_cased(asked).items() if value is not None}
    refuse_unlisted(fields, _KNOWN, "")
    typed = _typed(fields, GenerateIn)
    model = model_of(sent, typed.model)
    config = typed.generation_config or ConfigIn()
    given = fields.get("generationConfig") or {}
    refuse_unlisted(given, _CONFIG_KNOWN | _CONFIG_WIRE_ONLY, "generationConfig.")
    _check(typed, config)
    reader = TurnReader()
    messages = [*reader.system(typed.system_instruction)]
    for position, content in enumerate(typed.contents):
        messages += reader.turn(position, content)
    tools = tuple(reader.tools(typed.tools or []))
    effort = _effort(config.thinking_config, reader)
    choice = _tool_choice(typed, {tool.name for tool in tools}, reader)
    _note_the_rest(fields, given, reader)
    return ChatRequest(
        model=model,
        messages=tuple(messages),
        body_bytes=size,
        stream=stream,
        include_usage=True,
        max_output_tokens=config.max_output_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        stop=tuple(config.stop_sequences or ()),
        seed=config.seed,
        choices=config.candidate_count or 1,
        tools=tools,
        tool_choice=choice,
        response_format=_response_format(config, reader),
        reasoning_effort=effort,
        logprobs=(config.logprobs or 0) if config.response_logprobs else None,
        has_input_elsewhere=gemini_adds_input(typed.tools or ()),
        provider_tools=of_gemini(typed.tools or ()),
        wire_only=frozenset(reader.wire_only),
        hints=frozenset(reader.hints),
        source=SourceBody(Wire.GEMINI, decoded),
    )


def _typed(fields: Mapping[str, Any], shape: type[Any]) -> Any:
    try:
        return msgspec.convert(fields, shape)
    except msgspec.ValidationError as error:
        raise field_error(str(error)) from None


def model_of(sent: Sent, in_body: str | None) -> str:
    """The name stands in the path and may hold slashes; a body that names another one is refused (B07)."""
    model = sent.path.get("model", "")
    if not model or len(model) > 200:
        raise invalid_request("model: name a model in the path, at most 200 characters.", param="model")
    if in_body is not None and in_body.removeprefix("models/") != model:
        raise invalid_request("model: the body names another model than the path.", param="model")
    return model


def refuse_unlisted(fields: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    """A misspelt limit must not look accepted (M06, S01)."""
    for name in fields:
        if name not in known:
            raise invalid_request(
                f"'{where}{name[:60]}' is not a field of this request.", param=f"{where}{name[:60]}", code="unknown_field"
            )


def _check(typed: GenerateIn, config: ConfigIn) -> None:
    if not typed.contents:
        raise invalid_request("contents: send at least one content.", param="contents", code="empty_array")
    if len(typed.contents) > _MAX_CONTENTS:
        raise invalid_request(f"contents: at most {_MAX_CONTENTS} contents.", param="contents")
    declared = [tool.get("functionDeclarations") or [] for tool in typed.tools or ()]
    for position, functions in enumerate(declared):
        if not isinstance(functions, list):
            where = f"tools[{position}].functionDeclarations"
            raise invalid_request(f"{where}: Expected `array`.", param=where)
    if sum(map(len, declared)) > _MAX_TOOLS:
        raise invalid_request(f"tools: at most {_MAX_TOOLS} functions.", param="tools")
    check_number("generationConfig.maxOutputTokens", config.max_output_tokens, 1, 10_000_000)
    check_number("generationConfig.candidateCount", config.candidate_count, 1, 8)
    check_number("generationConfig.temperature", config.temperature, 0, 2)
    check_number("generationConfig.topP", config.top_p, 0, 1)
    check_number("generationConfig.logprobs", config.logprobs, 0, 20)
    check_number("generationConfig.seed", config.seed, -(2**31), 2**31 - 1)
    _refuse_surcharges(typed, config)


def _refuse_surcharges(typed: GenerateIn, config: ConfigIn) -> None:
    """Google bills these apart from the list price of tokens, which neither the reservation nor the ledger would know of
    (https://ai.google.dev/gemini-api/docs/pricing)."""
    if typed.service_tier not in _STANDARD_TIERS:
        raise invalid_request("serviceTier: only 'standard'; other tiers have prices of their own.", param="serviceTier")
    if any(modality in ("IMAGE", 2) for modality in config.response_modalities or ()):
        name = "generationConfig.responseModalities"
        raise invalid_request(f"{name}: generated images have prices of their own, which the gateway does not know.", param=name)


def _response_format(config: ConfigIn, reader: TurnReader) -> ResponseFormat | None:
    """Google guarantees the schema, so a translation asks for the guarantee as well."""
    if config.response_mime_type in (None, "", "text/plain"):
        return None
    if config.response_mime_type != "application/json":
        reader.wire_only.add(f"generationConfig.responseMimeType {config.response_mime_type[:60]!r}")
        return None
    schema = config.response_json_schema or json_schema_of(config.response_schema)
    return ResponseFormat(schema=schema, strict=True) if isinstance(schema, dict) else ResponseFormat()


def _effort(thinking: ThinkingIn | None, reader: TurnReader) -> str | None:
    if thinking is None:
        return None
    level = (thinking.thinking_level or "").lower()
    if level and level != "thinking_level_unspecified":
        if level not in _LEVELS:
            name = "generationConfig.thinkingConfig.thinkingLevel"
            raise invalid_request(f"{name}: use one of {', '.join(_LEVELS)}.", param=name)
        return level
    budget = thinking.thinking_budget
    if budget is None:
        if thinking.include_thoughts:
            reader.hints.add("thinkingConfig.includeThoughts")
        return None
    if budget == 0:
        return "none"
    reader.hints.add("thinkingConfig.thinkingBudget")
    return next((name for least, name in _EFFORTS if budget >= least), None)  # -1: as the model sees fit


def _tool_choice(typed: GenerateIn, declared: set[str], reader: TurnReader) -> ToolChoice | None:
    calling: CallingIn | None = typed.tool_config.function_calling_config if typed.tool_config else None
    if calling is None or calling.mode in (None, "", "MODE_UNSPECIFIED"):
        return None
    name = "toolConfig.functionCallingConfig"
    if calling.mode not in _MODES:
        raise invalid_request(f"{name}.mode: use one of {', '.join(_MODES)}.", param=f"{name}.mode")
    if calling.mode == "VALIDATED":
        reader.hints.add(f"{name}.mode=VALIDATED")
    allowed = set(calling.allowed_function_names or ())
    if allowed and allowed != declared:
        if len(allowed) == 1 and calling.mode == "ANY":
            return ToolChoice(ToolChoiceMode.NAMED, allowed.pop())
        reader.wire_only.add(f"{name}.allowedFunctionNames")
    return ToolChoice(_MODES[calling.mode])


def _note_the_rest(fields: Mapping[str, Any], config: Mapping[str, Any], reader: TurnReader) -> None:
    for position, content in enumerate(fields["contents"]):
        reader.note(f"contents[{position}]", content, ContentIn)
    reader.note("systemInstruction", fields.get("systemInstruction"), ContentIn)
    reader.note("generationConfig.thinkingConfig", config.get("thinkingConfig"), ThinkingIn)
    calling = (fields.get("toolConfig") or {}).get("functionCallingConfig")
    reader.note("toolConfig.functionCallingConfig", calling, CallingIn)
    reader.wire_only.update(f"generationConfig.{name}" for name in config if name in _CONFIG_WIRE_ONLY and config[name] is not None)
    if config.get("responseModalities") not in (None, [], ["TEXT"], [1]):
        reader.wire_only.add("generationConfig.responseModalities")
    reader.wire_only.update(name for name in ("cachedContent", "modelArmorConfig") if fields.get(name))
    reader.wire_only.update(
        f"toolConfig.{name}" for name, value in (fields.get("toolConfig") or {}).items() if value and name != "functionCallingConfig"
    )
    reader.hints.update(name for name in ("labels", "store") if fields.get(name))
    settings = fields.get("safetySettings") or []
    if any(setting.get("threshold") not in _HARMLESS_THRESHOLDS for setting in settings):
        reader.wire_only.add("safetySettings")  # a filter that was asked for must not be left out
    elif settings:
        reader.hints.add("safetySettings")
