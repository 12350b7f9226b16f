"""The fields of Gemini bodies (https://ai.google.dev/api/generate-content), once their keys are in camel case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from aigateway.errors import invalid_request

# Values whose keys are the client's own words, not Google's.
_FREE = frozenset(
    {"args", "response", "parametersJsonSchema", "responseJsonSchema", "labels", "default", "example", "enum", "partMetadata"}
)
_NAMED = frozenset({"properties", "defs"})


class ContentIn(msgspec.Struct, rename="camel"):
    """Google takes one part for a list of one."""

    parts: list[dict[str, Any]] | dict[str, Any] | None = None
    role: str | None = None

    @property
    def listed_parts(self) -> list[dict[str, Any]]:
        return [self.parts] if isinstance(self.parts, dict) else self.parts or []


class ThinkingIn(msgspec.Struct, rename="camel"):
    include_thoughts: bool | None = None
    thinking_budget: int | None = None
    thinking_level: str | None = None


class ConfigIn(msgspec.Struct, rename="camel"):
    """``generationConfig`` as far as other providers know it too; the rest is looked at by name."""

    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: list[str] | None = None
    seed: int | None = None
    candidate_count: int | None = None
    response_mime_type: str | None = None
    response_schema: dict[str, Any] | None = None
    response_json_schema: Any = None
    response_logprobs: bool | None = None
    logprobs: int | None = None
    response_modalities: list[str | int] | None = None
    thinking_config: ThinkingIn | None = None


class CallingIn(msgspec.Struct, rename="camel"):
    mode: str | None = None
    allowed_function_names: list[str] | None = None


class ToolConfigIn(msgspec.Struct, rename="camel"):
    function_calling_config: CallingIn | None = None


class GenerateIn(msgspec.Struct, rename="camel"):
    contents: list[ContentIn]
    model: str | None = None
    system_instruction: ContentIn | None = None
    tools: list[dict[str, Any]] | None = None
    tool_config: ToolConfigIn | None = None
    generation_config: ConfigIn | None = None
    safety_settings: list[dict[str, Any]] | None = None
    cached_content: str | None = None
    service_tier: str | None = None


class EmbedIn(msgspec.Struct, rename="camel"):
    content: ContentIn
    model: str | None = None
    output_dimensionality: int | None = None


class BlobIn(msgspec.Struct, rename="camel"):
    data: str
    mime_type: str


class FileIn(msgspec.Struct, rename="camel"):
    file_uri: str
    mime_type: str | None = None


class CallIn(msgspec.Struct, rename="camel"):
    name: str
    args: dict[str, Any] | None = None
    id: str | None = None


class ResultIn(msgspec.Struct, rename="camel"):
    name: str
    response: dict[str, Any]
    id: str | None = None
    parts: list[dict[str, Any]] | None = None


class DeclarationIn(msgspec.Struct, rename="camel"):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    parameters_json_schema: Any = None


def camel_cased(value: Any, where: str = "") -> Any:
    """Google accepts every name in either spelling; the client's own words (arguments, results, schemas) are left alone.

    Raises ``GatewayError`` 400 for a field given in both spellings (B07).
    """
    if isinstance(value, list):
        return [camel_cased(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    out: dict[str, Any] = {}
    for key, inner in value.items():
        name = _camel(key)
        place = f"{where}.{key}" if where else key
        if name in out:
            raise invalid_request(f"{place[:100]}: the field is given in two spellings.", param=place[:100], code="duplicate_field")
        if name in _FREE:
            out[name] = inner
        elif name in _NAMED and isinstance(inner, Mapping):
            out[name] = {own: camel_cased(schema, f"{place}.{own}") for own, schema in inner.items()}
        else:
            out[name] = camel_cased(inner, place)
    return out


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest) if head else name


def json_schema_of(schema: Any) -> Any:
    """Google's OpenAPI dialect of a schema as JSON Schema: types in lower case, ``nullable`` as a type of its own."""
    if isinstance(schema, list):
        return [json_schema_of(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "type" and isinstance(value, str):
            out[key] = value.lower()
        elif key == "properties" and isinstance(value, Mapping):
            out[key] = {name: json_schema_of(inner) for name, inner in value.items()}
        elif key in ("items", "anyOf", "prefixItems"):
            out[key] = json_schema_of(value)
        elif key not in ("nullable", "propertyOrdering"):
            out[key] = value
    if schema.get("nullable") is True and "type" in out:
        out["type"] = [out["type"], "null"]
    return out
