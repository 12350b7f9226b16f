"""JSON schemas as Gemini takes them (https://ai.google.dev/gemini-api/docs/structured-output#json_schema_support)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# They say something about the schema and nothing about the values.
_ANNOTATIONS = frozenset({"$schema", "$comment", "examples", "discriminator", "deprecated", "readOnly", "writeOnly"})
_NAMED_SCHEMAS = frozenset({"properties", "$defs", "definitions", "patternProperties"})
_LITERAL = frozenset({"enum", "required", "default", "type", "propertyOrdering"})


def schema_of(value: Any) -> Any:
    """The same schema without annotations that the API refuses; ``const`` becomes an ``enum`` of one."""
    if isinstance(value, list):
        return [schema_of(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    out: dict[str, Any] = {}
    for key, inner in value.items():
        if key in _ANNOTATIONS:
            continue
        if key == "const":
            out["enum"] = [inner]
        elif key in _LITERAL:
            out[key] = inner
        elif key in _NAMED_SCHEMAS and isinstance(inner, Mapping):
            out[key] = {name: schema_of(schema) for name, schema in inner.items()}
        else:
            out[key] = schema_of(inner)
    return out
