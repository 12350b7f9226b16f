"""Canonical request -> a prompt with parameters for text-generation-inference or the task endpoint
(https://huggingface.co/docs/text-generation-inference/reference/api_reference)."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from providers.upstream.adapters.text_generation.templates import prompt_of
from providers.upstream.adapters.translation import left_out, refusal, refuse_untranslatable
from providers.upstream.types import ChatRequest, ImagePart, JsonObject, ReasoningPart, Role, Target

_TASKS_END = "/models"


def is_task_endpoint(target: Target) -> bool:
    """A base URL that ends in ``/models`` has the task endpoints of many models below it; any other is one model's own server."""
    return target.provider.base_url.partition("?")[0].rstrip("/").endswith(_TASKS_END)


def path_of(request: ChatRequest, target: Target) -> str:
    if is_task_endpoint(target):
        return f"/{quote(target.upstream_model, safe='/')}"
    return "/generate_stream" if request.stream else "/generate"


def render_body(request: ChatRequest, target: Target) -> JsonObject:
    refuse_untranslatable(request)
    _refuse_unknown(request, target)
    prompt = prompt_of(request.messages, target.upstream_model)
    body: JsonObject = {"inputs": prompt.text, "parameters": _parameters(request, target, prompt.stop)}
    if is_task_endpoint(target):
        body["stream"] = request.stream
    return body


def degraded(request: ChatRequest) -> tuple[str, ...]:
    return left_out(request, *_dropped(request))


def _dropped(request: ChatRequest) -> Iterator[str]:
    """A stream shows a stop sequence where the model writes it: the server sends it, and what was sent cannot be taken back."""
    if request.end_user is not None:
        yield "user"
    if request.stop and request.stream:
        yield "stop"
    if any(isinstance(part, ReasoningPart) for message in request.messages for part in message.parts):
        yield "reasoning"


def _refuse_unknown(request: ChatRequest, target: Target) -> None:
    """A model behind a prompt reads text and writes text."""
    if request.tools or any(message.tool_calls or message.role is Role.TOOL for message in request.messages):
        raise refusal("tools", "this model takes a prompt only")
    if request.choices != 1:
        raise refusal("n", "one answer per request")
    if request.logprobs is not None:
        raise refusal("logprobs")
    if request.reasoning_effort not in (None, "none"):
        raise refusal("reasoning_effort")
    if request.temperature is not None and request.temperature < 0:
        raise refusal("temperature", "at least 0")
    wanted = request.response_format
    if wanted is not None and wanted.schema is None:
        raise refusal("response_format", "JSON without a schema; ask for json_schema")
    if wanted is not None and is_task_endpoint(target):
        raise refusal("response_format", "the task endpoint has no grammar")
    for position, message in enumerate(request.messages):
        if any(isinstance(part, ImagePart) for part in message.parts):
            raise refusal(f"messages[{position}].content", "images")
        if message.name is not None:
            raise refusal(f"messages[{position}].name")


def _parameters(request: ChatRequest, target: Target, stop: tuple[str, ...]) -> JsonObject:
    """Zero is no temperature the server takes: it means to take the likeliest token. A ``top_p`` of one takes all of them."""
    samples = request.temperature != 0 and (request.temperature is not None or request.top_p is not None)
    wanted = request.response_format
    optional: JsonObject = {
        "do_sample": True if samples else False if request.temperature == 0 else None,
        "temperature": request.temperature or None,
        "top_p": request.top_p if samples and request.top_p is not None and 0 < request.top_p < 1 else None,
        "seed": request.seed,
        "stop": list(dict.fromkeys((*request.stop, *stop))) or None,
        "grammar": {"type": "json", "value": wanted.schema} if wanted is not None else None,
    }
    return {
        "max_new_tokens": target.output_cap_tokens(request.max_output_tokens),
        "return_full_text": False,
        "details": True,
        **{name: value for name, value in optional.items() if value is not None},
    }
