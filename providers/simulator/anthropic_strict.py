"""Anthropic as strict as it is, and its token counting: https://docs.anthropic.com/en/api/messages , .../messages-count-tokens ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from providers.simulator.answers import Answer
from providers.simulator.anthropic_wire import AnthropicWire
from providers.simulator.questions import Question, Refusal, decode_object
from providers.simulator.wires import UsageReport

FIELDS = frozenset(
    (
        *("model", "messages", "max_tokens", "system", "stream", "temperature", "top_p", "top_k", "stop_sequences", "metadata"),
        *("tools", "tool_choice", "thinking", "service_tier", "output_config", "output_format", "container", "context_management"),
        *("mcp_servers", "cache_control", "inference_geo", "speed"),
    )
)
COUNTED_FIELDS = FIELDS - {"max_tokens", "stream", "temperature", "top_p", "top_k", "stop_sequences", "metadata", "service_tier"}
THINKING_TOKENS_MIN = 1024


class StrictAnthropicWire(AnthropicWire):
    fields = FIELDS

    def parse(self, body: bytes, headers: Mapping[str, str]) -> Question:
        asked = decode_object(body)
        unknown = sorted(asked.keys() - self.fields)
        if unknown:
            raise Refusal(f"{unknown[0]}: Extra inputs are not permitted")
        _check_sampling(asked)
        messages = asked.get("messages")
        if isinstance(messages, list):
            _check_turns([message for message in messages if isinstance(message, dict)])
        return super().parse(body, headers)


class AnthropicCount(StrictAnthropicWire):
    fields = COUNTED_FIELDS

    def parse(self, body: bytes, headers: Mapping[str, str]) -> Question:
        asked = decode_object(body)
        unknown = sorted(asked.keys() - self.fields)
        if unknown:
            raise Refusal(f"{unknown[0]}: Extra inputs are not permitted")
        question = AnthropicWire.parse(self, msgspec.json.encode({**asked, "max_tokens": 1}), headers)
        return replace(question, stream=False, speaks=False, is_billed=False)

    def whole(self, answer: Answer, question: Question, usage: UsageReport) -> bytes:  # noqa: ARG002 - a count is all there is
        return msgspec.json.encode({"input_tokens": answer.usage.input_tokens})


def _check_sampling(asked: Mapping[str, Any]) -> None:
    temperature = asked.get("temperature", 1)
    if not isinstance(temperature, int | float) or not 0 <= temperature <= 1:
        raise Refusal("temperature: range: 0..1")
    if not isinstance(asked.get("system", ""), str | list):
        raise Refusal("system: Input should be a valid list")
    thinking = asked.get("thinking")
    if isinstance(thinking, dict) and thinking.get("type") == "enabled":
        budget = thinking.get("budget_tokens")
        if not isinstance(budget, int) or budget < THINKING_TOKENS_MIN:
            raise Refusal("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        if budget >= asked.get("max_tokens", 0):
            raise Refusal("`max_tokens` must be greater than `thinking.budget_tokens`.")


def _check_turns(messages: list[dict[str, Any]]) -> None:
    if messages and messages[0].get("role") == "assistant":
        raise Refusal('messages: first message must use the "user" role')
    waiting: set[str] = set()
    for number, message in enumerate(messages):
        blocks = [part for part in message.get("content") or () if isinstance(part, dict)]
        if any(block.get("type") == "text" and not block.get("text") for block in blocks):
            raise Refusal("messages: text content blocks must be non-empty")
        answered = {str(block.get("tool_use_id")) for block in blocks if block.get("type") == "tool_result"}
        if waiting - answered:
            missing = ", ".join(sorted(waiting))
            raise Refusal(f"messages.{number - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: {missing}")
        if answered - waiting:
            raise Refusal(f"messages.{number}.content.0: unexpected `tool_use_id` found in `tool_result` blocks")
        waiting = {str(block.get("id")) for block in blocks if block.get("type") == "tool_use"}
