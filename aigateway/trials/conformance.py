"""Tries what a configured model can do, with real calls: R203's capabilities as facts instead of claims.

Connectivity and authentication are told by a free call. Every other check is a small real call, on the ledger and on the
budgets of the person who runs it. Reports carry error classes and our own sentences, never what the host said.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from django.contrib.auth.models import User

from aigateway.trials.metered_calls import NotForThisKey, Payer, call_chat, call_stream, refusal_sentence
from aigateway.trials.provider_tests import cheapest_target, reach
from providers.audit import Actor
from providers.conformance import CheckResult, record_run
from providers.health import advice_for
from providers.models import ConformanceResult, Deployment, Provider
from providers.registry import current_prices, deployment_target, provider_spec
from providers.upstream import errors
from providers.upstream.types import (
    Capability,
    ChatDelta,
    ChatRequest,
    ChatResponse,
    ImagePart,
    Message,
    ResponseFormat,
    Role,
    Target,
    TextPart,
    ToolChoice,
    ToolChoiceMode,
    ToolSpec,
)
from usage.ledger import LedgerError
from usage.models import ApiKey

OK, FAILED, SKIPPED = (each.value for each in ConformanceResult.Result)
MAX_OUTPUT_TOKENS = 512
"""Room for a model that thinks first."""

# A picture of 32 x 32 red pixels.
RED_PNG = "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAIAAAD8GO2jAAAAJ0lEQVR42u3NsQkAAAjAsP7/tF7hIASyp6lTCQQCgUAgEAgEgi/BAjLD/C5w/SM9AAAAAElFTkSuQmCC"
_SCHEMA = {"type": "object", "properties": {"ready": {"type": "boolean"}}, "required": ["ready"], "additionalProperties": False}
_TOOL = ToolSpec(
    "report_weather",
    "Reports the weather of a city.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


class NothingToCheck(Exception):
    """There is no enabled, priced model of that name at this provider."""


@dataclass(frozen=True, slots=True)
class ConformanceReport:
    """``model`` is the address of the model that was called."""

    provider: str
    model: str
    results: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        return all(result.result != FAILED for result in self.results)


@dataclass(frozen=True, slots=True)
class _Wrong(Exception):
    """The provider answered, and not as asked: this disproves the capability."""

    sentence: str


def conform(provider_id: int, actor: User, model: str = "", key: ApiKey | None = None) -> ConformanceReport:
    """Runs every check on one model, the cheapest unless named, and stores the results. ``key``: the one it was asked with.

    Raises ``Provider.DoesNotExist``, ``NothingToCheck`` and ``NotForThisKey``.
    """
    payer = Payer(actor, key)
    payer.require_context()
    provider = Provider.objects.prefetch_related("credentials").get(pk=provider_id, deleted_at=None)
    target = _target(provider, model, payer)
    steps = reach(provider_spec(provider))
    results = [CheckResult(step.name, step.result, step.message, step.latency_ms, step.error_code) for step in steps]
    if any(step.result == FAILED for step in steps):
        results += [CheckResult(check.name, SKIPPED, "Mend the connection or the key first.") for check in CHECKS]
    else:
        results += _run_checks(target, payer)
    record_run(target.id, results, Actor.of(actor))
    return ConformanceReport(provider.slug, target.address, tuple(results))


def _target(provider: Provider, model: str, payer: Payer) -> Target:
    spec = provider_spec(provider)
    if not model:
        target = cheapest_target(provider, spec, payer)
        if target is None:
            raise NothingToCheck("No enabled model that chats and that you may use has a price. Import models, or set a price.")
        return target
    deployments = Deployment.objects.filter(provider=provider, name=model, enabled=True)
    price = current_prices(deployments)
    found = next((deployment_target(row, spec, price[row.pk]) for row in deployments if row.pk in price), None)
    if found is None:
        raise NothingToCheck(f"There is no enabled, priced model '{model[:100]}' at this provider.")
    if not payer.may_use(found):
        raise NotForThisKey(f"This API key may not use '{found.address}'.")
    return found


# --------------------------------------------------------------------------- the checks


def _ask(target: Target, text: str, *parts: ImagePart, stream: bool = False) -> ChatRequest:
    content: tuple[TextPart | ImagePart, ...] = (TextPart(text), *parts)
    size = len(text) + sum(len(part.data or "") for part in parts)
    return ChatRequest(
        model=target.address,
        messages=(Message(Role.USER, content),),
        body_bytes=size,
        stream=stream,
        include_usage=stream,
        max_output_tokens=MAX_OUTPUT_TOKENS,
    )


def _chat(target: Target, payer: Payer) -> tuple[str, float]:
    answer, latency_ms = call_chat(_ask(target, "Reply with the single word: ready"), target, payer)
    if not answer.choices[0].text and not answer.choices[0].reasoning:
        raise _Wrong("The answer is empty.")
    return "Answers." if answer.usage.is_complete else "Answers, without saying what it used: its costs will be estimates.", latency_ms


def _stream(target: Target, payer: Payer) -> tuple[str, float]:
    answer, latency_ms = call_stream(_ask(target, "Count from one to ten.", stream=True), target, payer)
    if not answer.text:
        raise _Wrong("The stream ended without text.")
    return f"Streams: {answer.events} events.", latency_ms


def _usage_in_stream(target: Target, payer: Payer) -> tuple[str, float]:
    answer, latency_ms = call_stream(_ask(target, "Reply with the single word: ready", stream=True), target, payer)
    if not answer.has_final_usage:
        raise _Wrong("The stream does not tell what it used: the costs of streams will be estimates.")
    return "Streams tell what they used.", latency_ms


def _tools(target: Target, payer: Payer) -> tuple[str, float]:
    asked = _ask(target, "Use the tool to report the weather of Paris.")
    request = replace(asked, tools=(_TOOL,), tool_choice=ToolChoice(ToolChoiceMode.REQUIRED))
    answer, latency_ms = call_chat(request, target, payer)
    calls = answer.choices[0].tool_calls
    if not calls or calls[0].name != _TOOL.name or not isinstance(_json_object(calls[0].arguments).get("city"), str):
        raise _Wrong("It did not call the tool with the argument asked for.")
    return "Calls tools.", latency_ms


def _vision(target: Target, payer: Payer) -> tuple[str, float]:
    picture = ImagePart(data=RED_PNG, media_type="image/png")
    answer, latency_ms = call_chat(_ask(target, "Which colour is this picture? Answer with one word.", picture), target, payer)
    if "red" not in answer.choices[0].text.lower():
        raise _Wrong("It took the picture and could not name its colour.")
    return "Sees pictures.", latency_ms


def _json_mode(target: Target, payer: Payer) -> tuple[str, float]:
    request = replace(_ask(target, 'Answer with a JSON object whose key "ready" is true.'), response_format=ResponseFormat())
    answer, latency_ms = call_chat(request, target, payer)
    _json_object(answer.choices[0].text)
    return "Answers in JSON.", latency_ms


def _json_schema(target: Target, payer: Payer) -> tuple[str, float]:
    request = replace(_ask(target, "Are you ready?"), response_format=ResponseFormat("readiness", _SCHEMA, strict=True))
    answer, latency_ms = call_chat(request, target, payer)
    found = _json_object(answer.choices[0].text)
    if set(found) != {"ready"} or not isinstance(found["ready"], bool):
        raise _Wrong("The answer does not follow the schema.")
    return "Keeps to a JSON schema.", latency_ms


def _cancel(target: Target, payer: Payer) -> tuple[str, float]:
    """Leaves a long answer at its first text, then asks again: a provider that minds would be busy or refuse."""

    def at_first_text(delta: ChatDelta) -> bool:
        return delta.has_content

    started = time.monotonic()
    answer, _ = call_stream(_ask(target, "Count from one to five hundred in words.", stream=True), target, payer, at_first_text)
    closed_s = time.monotonic() - started
    if not answer.left_early:
        raise _Wrong("The answer was over before it could be left.")
    again, latency_ms = call_chat(_ask(target, "Reply with the single word: ready"), target, payer)
    if not _says_something(again):
        raise _Wrong("After an answer was left, the next one is empty.")
    return f"An answer can be left after {closed_s * 1000:.0f} ms; what was left is booked as an estimate.", latency_ms


def _says_something(answer: ChatResponse) -> bool:
    return bool(answer.choices[0].text or answer.choices[0].reasoning)


def _json_object(text: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except ValueError:
        raise _Wrong("The answer is not JSON.") from None
    if not isinstance(found, dict):
        raise _Wrong("The answer is not a JSON object.")
    return found


@dataclass(frozen=True, slots=True)
class Check:
    """``capability`` is what the check proves or disproves, ``None`` when routing does not ask for it."""

    name: str
    run: Callable[[Target, Payer], tuple[str, float]]
    capability: Capability | None = None


CHECKS = (
    Check("chat", _chat, Capability.CHAT),
    Check("stream", _stream, Capability.STREAM),
    Check("usage_in_stream", _usage_in_stream),
    Check("tools", _tools, Capability.TOOLS),
    Check("vision", _vision, Capability.VISION),
    Check("json", _json_mode, Capability.JSON_MODE),
    Check("json_schema", _json_schema, Capability.JSON_SCHEMA),
    Check("cancel", _cancel),
)


def _run_checks(target: Target, payer: Payer) -> Iterator[CheckResult]:
    for check in CHECKS:
        yield _checked(check, target, payer)


def _checked(check: Check, target: Target, payer: Payer) -> CheckResult:
    started = time.monotonic()
    try:
        message, latency_ms = check.run(target, payer)
    except LedgerError as refusal:
        return CheckResult(check.name, SKIPPED, refusal_sentence(refusal), None, "ledger_refused")
    except _Wrong as wrong:
        return CheckResult(check.name, FAILED, wrong.sentence, _ms_since(started), "wrong_answer", refutes=check.capability)
    except errors.CallerFault as error:
        return CheckResult(check.name, FAILED, "It refuses such a request.", _ms_since(started), error.code, refutes=check.capability)
    except errors.UpstreamError as error:
        return CheckResult(check.name, FAILED, advice_for(error)[1], _ms_since(started), error.code)
    return CheckResult(check.name, OK, message, latency_ms, verifies=check.capability)


def _ms_since(started: float) -> float:
    return (time.monotonic() - started) * 1000
