"""When two requests are the same: field by field on the same wire, by their meaning after a translation."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import Any

from tests.conformance.asked import Asked, says_something
from tests.conformance.asked_openai import in_plain_words
from tests.conformance.verdict import Difference, expect

_MISSING = "nothing"
_MASKED = "REDACTED"
_SET_BY_US = ("model", "stream", "stream_options")
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
# Two spellings of one field or value; the second one is what both are compared as.
_FIELD_NAMES = {"max_completion_tokens": "max_tokens", "random_seed": "seed", "output_dimension": "dimensions"}
_SAYS_NOTHING = (("store", False), ("logprobs", False), ("metadata", {}))
_FILLED_IN = (("type", "function"), ("parameters", {"type": "object", "properties": {}}))
_ADDED = {"stream_options.include_usage"}
"""What a translation says beyond the question: that the gateway wants to know what a stream cost."""


def expect_passed_on(recorded: dict[str, Any], rendered: dict[str, Any], degraded: tuple[str, ...]) -> None:
    """Raises ``Difference`` unless the recorded fields are there with their values and no others. Only the model, the output limit
    and how a stream is asked for are set by the gateway; null may be left out, and what ``degraded`` tells the client."""
    one, other = _spelt(_without(recorded, degraded)), _spelt(_without(rendered, degraded))
    _offer_the_named_tool(one, other)
    if _MASKED in str(one.get("messages")):
        one, other = _with_counted_ids(one), _with_counted_ids(other)
    for name in dict.fromkeys((*one, *other)):
        if name not in _SET_BY_US and not (name in _LIMITS and one.get(name) is None):
            _same(f"request.{name}", one.get(name), other.get(name))


def _without(body: dict[str, Any], degraded: tuple[str, ...]) -> dict[str, Any]:
    labels = {name.removeprefix("messages.") for name in degraded if name.startswith("messages.")}
    kept = {name: value for name, value in body.items() if name not in degraded}
    if labels and isinstance(kept.get("messages"), list):
        kept["messages"] = [{name: value for name, value in turn.items() if name not in labels} for turn in kept["messages"]]
    return kept


def _offer_the_named_tool(recorded: dict[str, Any], rendered: dict[str, Any]) -> None:
    """Where a service cannot be told which tool to call, the one alone with the demand to call some means the same."""
    choice = recorded.get("tool_choice")
    if isinstance(choice, dict) and rendered.get("tool_choice") == "required":
        name = (choice.get("function") or {}).get("name")
        recorded["tools"] = [tool for tool in recorded.get("tools") or () if (tool.get("function") or {}).get("name") == name]
        recorded["tool_choice"] = "required"


def _spelt(body: dict[str, Any]) -> dict[str, Any]:
    said = {name: value for name, value in in_plain_words(body).items() if value is not None and (name, value) not in _SAYS_NOTHING}
    found = {_FIELD_NAMES.get(name, name): value for name, value in said.items()}
    if found.get("tool_choice") == "any":
        found["tool_choice"] = "required"
    return found


def _with_counted_ids(body: dict[str, Any]) -> dict[str, Any]:
    """Ids of calls by their order: those that the recording masked may not be ids the service takes (Mistral's have nine letters)."""
    seen: dict[str, str] = {}
    text = json.dumps(body)
    for found in re.findall(r'"(?:tool_call_id|answers|id)": "([^"]+)"', text):
        seen.setdefault(found, f"call {len(seen)}")
    for known, counted in seen.items():
        text = text.replace(f'"{known}"', f'"{counted}"')
    return json.loads(text)


def _same(path: str, wanted: Any, got: Any) -> None:
    """Null and nothing are one. A limit, the role that is another word for ``system`` and the only type there is may be filled in."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        for name in dict.fromkeys((*wanted, *got)):
            one, other = wanted.get(name), got.get(name)
            is_filled_in = (name, other) in _FILLED_IN or name in ("maxOutputTokens", "max_output_tokens")
            if not (one is None and is_filled_in) and (name, one, other) != ("role", "developer", "system"):
                _same(f"{path}.{name}", one, other)
    elif isinstance(wanted, list) and isinstance(got, list):
        expect(f"{path}.length", len(wanted), len(got))
        for index, (one, other) in enumerate(zip(wanted, got, strict=True)):
            _same(f"{path}[{index}]", one, other)
    elif wanted is None and isinstance(got, dict):
        _same(path, {}, got)
    else:
        expect(path, _MISSING if wanted is None else wanted, _MISSING if got is None else got)


def expect_same_meaning(path: str, recorded: Asked, rendered: Asked, degraded: tuple[str, ...]) -> None:
    """Raises ``Difference`` at the first thing that was asked and is not, or the other way round. What ``degraded`` names was
    left out in the open."""
    _expect_others(path, recorded, rendered, degraded)
    if recorded.choice.startswith("=") and rendered.choice == "required":
        recorded.tools = [tool for tool in recorded.tools if f"={tool.name}" == recorded.choice]
        recorded.choice = "required"
    _forgive_unsaid(recorded, rendered)
    _forgive_degraded(recorded, rendered, degraded)
    counts_ids = any(_MASKED in call.id for turn in recorded.turns for call in turn.calls)
    expect(path, _plain(recorded, counts_ids=counts_ids), _plain(rendered, counts_ids=counts_ids))


def _expect_others(path: str, recorded: Asked, rendered: Asked, degraded: tuple[str, ...]) -> None:
    for name, value in recorded.others.items():
        if not any(said == name or said.startswith(f"{name}.") or name.endswith(f".{said}") for said in degraded):
            _same(f"{path}.{name}", value, rendered.others.get(name))
    for name, value in rendered.others.items():
        if name not in recorded.others and name not in _ADDED and says_something(value):
            raise Difference(f"{path}.{name}", _MISSING, value)


def _forgive_unsaid(recorded: Asked, rendered: Asked) -> None:
    """What the recording leaves to the provider, the gateway may say: a limit, an id, strictness."""
    if recorded.limit is None:
        rendered.limit = None
    for one, other in zip(recorded.tools, rendered.tools, strict=False):
        if one.strict is None:
            other.strict = None
    if recorded.format is not None and rendered.format is not None:
        rendered.format.strict = None if recorded.format.strict is None else rendered.format.strict
        rendered.format.name = rendered.format.name if recorded.format.name else ""
    for turn, again in zip(recorded.turns, rendered.turns, strict=False):
        again.answers = again.answers if turn.answers else ""
        if turn.role == "tool":
            again.name = again.name if turn.name else ""
        for call, second in zip(turn.calls, again.calls, strict=False):
            second.id = second.id if call.id else ""
            second.signature = second.signature if call.signature else ""


def _forgive_degraded(recorded: Asked, rendered: Asked, degraded: tuple[str, ...]) -> None:
    said = " ".join(degraded).lower()
    if recorded.effort == "on" and rendered.effort not in (None, "off", "none"):
        rendered.effort = "on"
    if recorded.effort in ("off", "none") and rendered.effort in ("off", "none"):
        rendered.effort = recorded.effort
    if "thinking" in said or "reasoning_effort" in said:
        recorded.effort = rendered.effort = None
        recorded.budget = rendered.budget = None
    if any(name.rpartition(".")[2] == "reasoning" for name in degraded):
        for turn in (*recorded.turns, *rendered.turns):
            turn.reasoning, turn.signatures = "", []
        for asked in (recorded, rendered):
            asked.tidy()
    if "user" in degraded:
        recorded.user = ""
    if "messages.name" in degraded:
        for turn in recorded.turns:
            turn.name = ""
    if "seed" in degraded:
        recorded.seed = None
    if "tools.strict" in degraded:
        for tool in (*recorded.tools, *rendered.tools):
            tool.strict = None


def _plain(asked: Asked, *, counts_ids: bool) -> dict[str, Any]:
    plain = asdict(asked)
    del plain["others"]
    return _with_counted_ids(plain) if counts_ids else plain
