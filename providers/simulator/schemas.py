"""Makes an instance of a JSON schema, always the same one for the same schema. Simple types only; no patterns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DEEPEST = 8

_BY_FORMAT = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "somebody@example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.com/",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
}


class InvalidSchema(ValueError):
    """The schema contradicts itself or is not a schema."""


def instance_of(schema: Any) -> Any:
    """A value that matches ``schema``; below ``DEEPEST`` levels optional parts are left out and the rest is null."""
    try:
        return _instance(schema, schema, 0)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise InvalidSchema("Invalid schema: a keyword has a value of the wrong type.") from error


def _instance(schema: Any, root: Any, depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth > DEEPEST:
        return None
    for simple in ("const", "default"):
        if simple in schema:
            return schema[simple]
    if schema.get("enum"):
        return schema["enum"][0]
    for one_of in ("anyOf", "oneOf"):
        if schema.get(one_of):
            return _instance(schema[one_of][0], root, depth + 1)
    if isinstance(schema.get("$ref"), str):
        return _instance(_resolve(schema["$ref"], root), root, depth + 1)
    if schema.get("allOf"):
        return _instance(_merged(schema), root, depth + 1)
    return _typed(schema, root, depth)


def _typed(schema: Mapping[str, Any], root: Any, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, Sequence) and not isinstance(kind, str):
        kind = next((each for each in kind if each != "null"), "null")
    match kind:
        case "object":
            return _object(schema, root, depth)
        case "array":
            return [_instance(schema.get("items", {}), root, depth + 1) for _ in range(min(max(schema.get("minItems", 1), 0), 100))]
        case "integer":
            return int(_number(schema, 1))
        case "number":
            return _number(schema, 0.5)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _string(schema)


def _object(schema: Mapping[str, Any], root: Any, depth: int) -> dict[str, Any]:
    properties = schema.get("properties") or {}
    wanted = properties if depth < DEEPEST - 1 else schema.get("required", ())
    return {name: _instance(properties.get(name, {}), root, depth + 1) for name in wanted}


def _number(schema: Mapping[str, Any], step: float) -> float:
    lowest = schema.get("minimum", schema["exclusiveMinimum"] + step if "exclusiveMinimum" in schema else 1)
    highest = schema.get("maximum", schema["exclusiveMaximum"] - step if "exclusiveMaximum" in schema else None)
    return float(lowest) if highest is None or lowest <= highest else float(highest)


def _string(schema: Mapping[str, Any]) -> str:
    text = _BY_FORMAT.get(schema.get("format", ""), "simulated")
    text = text.ljust(min(schema.get("minLength", 0), 10_000), ".")
    return text[: schema["maxLength"]] if "maxLength" in schema else text


def _resolve(reference: str, root: Any) -> Any:
    found = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        if step:
            found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return found


def _merged(schema: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema["allOf"]:
        if isinstance(part, Mapping):
            merged |= {**part, "properties": {**merged.get("properties", {}), **part.get("properties", {})}}
    return merged
