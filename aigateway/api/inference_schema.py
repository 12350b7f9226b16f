"""The inference paths in the OpenAPI document: the edge answers them, so REST framework cannot describe them by itself."""

from __future__ import annotations

from typing import Any

ALIASES = ("/api/ai/", "/api/providers", "/api/health")
_ERROR = {"$ref": "#/components/schemas/ErrorAnswer"}
_TEXT: dict[str, Any] = {"type": "string"}
_ANTHROPIC = "/v1/messages"
_ANTHROPIC_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["type", "error"],
    "properties": {
        "type": {"type": "string", "enum": ["error"]},
        "error": {"type": "object", "required": ["type", "message"], "properties": {"type": _TEXT, "message": _TEXT}},
        "request_id": _TEXT,
    },
}
"""Anthropic's clients read their own envelope."""
_OBJECT: dict[str, Any] = {"type": "object", "additionalProperties": True}

_MESSAGE = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"type": "string", "enum": ["system", "developer", "user", "assistant", "tool"]},
        "content": {"oneOf": [_TEXT, {"type": "array", "items": _OBJECT}], "nullable": True},
        "tool_calls": {"type": "array", "items": _OBJECT},
        "tool_call_id": _TEXT,
    },
}
_OPTIONS: dict[str, Any] = {
    "max_tokens": {"type": "integer", "minimum": 1},
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
    "stop": {"oneOf": [_TEXT, {"type": "array", "items": _TEXT}]},
    "seed": {"type": "integer"},
    "tools": {"type": "array", "items": _OBJECT},
    "response_format": _OBJECT,
    "stream": {"type": "boolean", "default": False},
}
_CHAT = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {"model": _TEXT, "messages": {"type": "array", "items": _MESSAGE, "minItems": 1}, **_OPTIONS},
    "example": {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]},
}
_GENERATE = {
    "type": "object",
    "properties": {
        "prompt": _TEXT,
        "messages": {"type": "array", "items": _MESSAGE},
        "model": {"type": "string", "default": "auto"},
        "provider": _TEXT,
        "context": {"type": "string", "default": "default"},
        "system": _TEXT,
        "policy": {"type": "string", "enum": ["preference", "priority", "cost"]},
        "allow_fallback": {"type": "boolean", "default": True},
        "use_cache": {"type": "boolean", "default": True},
        "max_output_tokens": {"type": "integer", "minimum": 1},
        **_OPTIONS,
    },
    "additionalProperties": False,
    "example": {"prompt": "Hello", "context": "writing", "model": "auto"},
}
_GENERATED = {
    "type": "object",
    "properties": {
        "text": _TEXT,
        "finish_reason": {"type": "string", "enum": ["stop", "length", "tool_calls", "content_filter"], "nullable": True},
        "tool_calls": {"type": "array", "items": _OBJECT},
        "reasoning": {"type": "string", "nullable": True},
        "request_id": _TEXT,
        "model": _TEXT,
        "provider": _TEXT,
        "provider_name": _TEXT,
        "context": _TEXT,
        "usage": _OBJECT,
        "cost": {
            "type": "object",
            "properties": {
                "amount": {"type": "string", "example": "0.000012345"},
                "currency": _TEXT,
                "basis": {"type": "string", "enum": ["measured", "estimated"]},
            },
        },
        "cached": {"type": "boolean"},
        "degraded": {"type": "array", "items": _TEXT, "description": "Fields left out because the model has no use for them."},
        "attempts": {"type": "array", "items": _OBJECT},
        "why": _OBJECT,
    },
}
_MESSAGES: dict[str, Any] = {
    "type": "object",
    "required": ["model", "messages", "max_tokens"],
    "properties": {
        "model": _TEXT,
        "max_tokens": {"type": "integer", "minimum": 0},
        "messages": {"type": "array", "items": _OBJECT, "minItems": 1},
        "system": {"oneOf": [_TEXT, {"type": "array", "items": _OBJECT}]},
        "temperature": {"type": "number", "minimum": 0, "maximum": 1},
        "top_p": {"type": "number", "minimum": 0, "maximum": 1},
        "stop_sequences": {"type": "array", "items": _TEXT},
        "tools": {"type": "array", "items": _OBJECT},
        "tool_choice": _OBJECT,
        "thinking": _OBJECT,
        "output_config": _OBJECT,
        "stream": {"type": "boolean", "default": False},
    },
    "example": {"model": "auto", "max_tokens": 200, "messages": [{"role": "user", "content": "Hello"}]},
}
_COUNTED: dict[str, Any] = {
    **_MESSAGES,
    "required": ["model", "messages"],
    "properties": {name: shape for name, shape in _MESSAGES["properties"].items() if name in ("model", "messages", "system", "tools")},
    "example": {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]},
}
_COUNT = {"type": "object", "properties": {"input_tokens": {"type": "integer"}}}
_RESPONSES: dict[str, Any] = {
    "type": "object",
    "required": ["model", "input"],
    "properties": {
        "model": _TEXT,
        "input": {"oneOf": [_TEXT, {"type": "array", "items": _OBJECT, "minItems": 1}]},
        "instructions": _TEXT,
        "max_output_tokens": {"type": "integer", "minimum": 1},
        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
        "top_p": {"type": "number", "minimum": 0, "maximum": 1},
        "tools": {"type": "array", "items": _OBJECT},
        "tool_choice": {"oneOf": [_TEXT, _OBJECT]},
        "parallel_tool_calls": {"type": "boolean"},
        "text": _OBJECT,
        "reasoning": _OBJECT,
        "include": {"type": "array", "items": _TEXT},
        "top_logprobs": {"type": "integer", "minimum": 0, "maximum": 20},
        "previous_response_id": _TEXT,
        "store": {"type": "boolean"},
        "stream": {"type": "boolean", "default": False},
    },
    "example": {"model": "auto", "input": "Hello"},
}
_TOKENS: dict[str, Any] = {"type": "array", "items": {"type": "integer", "minimum": 0}}
_EMBED: dict[str, Any] = {
    "type": "object",
    "required": ["model", "input"],
    "properties": {
        "model": _TEXT,
        "input": {"oneOf": [_TEXT, {"type": "array", "items": _TEXT}, _TOKENS, {"type": "array", "items": _TOKENS}]},
        "dimensions": {"type": "integer", "minimum": 1},
        "encoding_format": {"type": "string", "enum": ["float", "base64"], "default": "float"},
        "user": _TEXT,
    },
    "additionalProperties": False,
    "example": {"model": "text-embedding-3-small", "input": ["Hello", "Goodbye"]},
}
_MODEL_NAME = {"name": "model", "in": "path", "required": True, "schema": _TEXT, "description": "May contain slashes."}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "Printable ASCII, best a new UUID. The same request again within 24 hours gets the first answer, at no cost.",
}


def _header(description: str, kind: str = "integer") -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind}}


_RATE_LIMIT_HEADERS = {
    f"X-RateLimit-{name}-{measure}": header
    for measure in ("Requests", "Tokens")
    for name, header in (
        ("Limit", _header("The caller's tightest limit of this measure, per window; absent without one.")),
        ("Remaining", _header("What would fit right now.")),
        ("Reset", _header("Time until nothing counts any more, for example 59.5s.", "string")),
    )
}
_REPLAYED_HEADER = {"Idempotent-Replayed": _header("`true`: the first answer to this Idempotency-Key, again.", "string")}
_RETRY_AFTER = {"Retry-After": _header("Seconds until the same request may succeed; absent where waiting never helps.")}
_REFUSAL_HEADERS = {
    "409": _RETRY_AFTER,
    "426": {"Upgrade": _header("The protocol to use.", "string")},
    "429": _RATE_LIMIT_HEADERS | _RETRY_AFTER | {"Retry-After-Ms": _header("The same in milliseconds.")},
    "503": _RETRY_AFTER,
}
_STREAM = {"text/event-stream": {"schema": _TEXT}}
_STATUSES = {
    "400": "The request is wrong; `param` names the field.",
    "401": "No key, a bad one, or two different ones.",
    "402": "A budget cannot cover the request, or the model has no price.",
    "403": "The key is not for inference, or may not use this model or context.",
    "404": "There is no such model.",
    "409": "A request with this Idempotency-Key is being answered, or its answer was not kept.",
    "413": "The body is too large.",
    "415": "The body does not say that it is JSON.",
    "422": "This Idempotency-Key was used with another request.",
    "426": "HTTP/1.0 is not spoken here.",
    "429": "A rate limit of the caller is reached, or every candidate is rate limited.",
    "502": "The providers failed.",
    "503": "Nothing can take the request now.",
    "504": "The provider did not answer in time.",
}
_ONLY_WITH_KEY = ("409", "415", "422")


def drop_aliases(endpoints: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """``PREPROCESSING_HOOKS``: an alias is described where its view's canonical path is."""
    return [endpoint for endpoint in endpoints if not endpoint[0].startswith(ALIASES)]


def add_inference(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """``POSTPROCESSING_HOOKS``: adds the paths of ``aigateway.door.views``."""
    result["paths"] |= {
        "/api/v1/ai/generate": {"post": _operation("generate", "Generate", _GENERATE, _GENERATED)},
        "/v1/chat/completions": {"post": _operation("chat_completions", "OpenAI chat completions", _CHAT, _OBJECT)},
        "/v1/responses": {"post": _operation("responses", "OpenAI responses", _RESPONSES, _OBJECT)},
        "/v1/embeddings": {"post": _operation("embeddings", "OpenAI embeddings", _EMBED, _OBJECT)},
        "/v1/messages": {"post": _operation("messages", "Anthropic messages", _MESSAGES, _OBJECT)},
        "/v1/messages/count_tokens": {"post": _operation("count_tokens", "Count the input tokens of a message", _COUNTED, _COUNT)},
        "/v1/models": {"get": _operation("models_openai", "Models you may use, in OpenAI's or Anthropic's listing", None, _OBJECT)},
        "/v1/models/{model}": {
            "get": {**_operation("model_openai", "One model you may use", None, _OBJECT), "parameters": [_MODEL_NAME]},
        },
    }
    result["components"]["schemas"]["AnthropicError"] = _ANTHROPIC_ERROR
    for path, item in result["paths"].items():
        if path.startswith(_ANTHROPIC):
            _speak_anthropic(item["post"])
    return result


def _speak_anthropic(operation: dict[str, Any]) -> None:
    for status, answer in operation["responses"].items():
        answer["headers"] = {**answer["headers"], "request-id": _header("The same as `X-Request-ID`, under Anthropic's name.", "string")}
        if status.startswith(("4", "5")):
            answer["content"] = {"application/json": {"schema": {"$ref": "#/components/schemas/AnthropicError"}}}


def _operation(operation_id: str, summary: str, body: dict[str, Any] | None, answer: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": answer}}
    streams = body is not None and "stream" in body["properties"]
    told = _RATE_LIMIT_HEADERS | ({} if body is None else _REPLAYED_HEADER)
    responses: dict[str, Any] = {"200": {"description": summary, "headers": told, "content": content | (_STREAM if streams else {})}}
    responses |= {status: _refusal(status, text) for status, text in _STATUSES.items() if body is not None or status not in _ONLY_WITH_KEY}
    operation: dict[str, Any] = {
        "operationId": operation_id,
        "summary": summary,
        "tags": ["inference"],
        "security": [{"bearerKey": []}, {"headerKey": []}],
        "responses": responses,
    }
    if body is not None:
        operation["parameters"] = [_IDEMPOTENCY_KEY]
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _refusal(status: str, text: str) -> dict[str, Any]:
    return {"description": text, "headers": _REFUSAL_HEADERS.get(status, {}), "content": {"application/json": {"schema": _ERROR}}}
