"""Chat turns as one prompt: how each family of open models was taught to read a conversation, as data.

Sources: the ``chat_template`` of each family's model card on huggingface.co. The server adds the token that begins a text itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from providers.upstream.adapters.translation import refusal
from providers.upstream.types import Message, Role


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """What stands before and after the text of each role's turn. ``system`` is ``None`` for families that know no such turn: the
    system prompt then opens the first user turn, between ``folded_system``.

    ``controls`` are the family's own marks: a text that holds one could forge a turn, so it is refused.
    """

    models: re.Pattern[str]
    user: tuple[str, str]
    assistant: tuple[str, str]
    system: tuple[str, str] | None = None
    folded_system: tuple[str, str] = ("", "\n\n")
    stop: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()


def _template(models: str, user: tuple[str, str], assistant: tuple[str, str], system: tuple[str, str] | None, *marks: str) -> ChatTemplate:
    return ChatTemplate(re.compile(models), user, assistant, system, stop=marks[:1], controls=marks)


_LLAMA_3_END = "<|eot_id|>"


def _llama_3(role: str) -> tuple[str, str]:
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n", _LLAMA_3_END


def _chatml(role: str) -> tuple[str, str]:
    return f"<|im_start|>{role}\n", "<|im_end|>\n"


def _angled(role: str, end: str) -> tuple[str, str]:
    return f"<|{role}|>\n", f"{end}\n"


TEMPLATES: tuple[ChatTemplate, ...] = (
    _template(
        r"llama-?3.*(?:instruct|chat)|llama-guard-3",
        _llama_3("user"),
        _llama_3("assistant"),
        _llama_3("system"),
        _LLAMA_3_END,
        "<|start_header_id|>",
        "<|end_header_id|>",
    ),
    ChatTemplate(
        re.compile(r"llama-?2.*chat|codellama.*instruct"),
        user=("[INST] ", " [/INST]"),
        assistant=(" ", " </s><s>"),
        folded_system=("<<SYS>>\n", "\n<</SYS>>\n\n"),
        stop=("</s>",),
        controls=("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "</s>", "<s>"),
    ),
    _template(r"zephyr|tinyllama.*chat", _angled("user", "</s>"), _angled("assistant", "</s>"), _angled("system", "</s>"), "</s>",
              "<|user|>", "<|assistant|>", "<|system|>"),
    _template(r"qwen.*(?:instruct|chat)|qwen3|hermes|dolphin|chatml|smollm.*instruct|yi-.*chat", _chatml("user"), _chatml("assistant"),
              _chatml("system"), "<|im_end|>", "<|im_start|>"),
    ChatTemplate(
        re.compile(r"(?:mistral|mixtral).*instruct"),
        user=("[INST] ", " [/INST]"),
        assistant=("", "</s>"),
        stop=("</s>",),
        controls=("[INST]", "[/INST]", "</s>"),
    ),
    _template(r"gemma.*(?:it|instruct|chat)", ("<start_of_turn>user\n", "<end_of_turn>\n"), ("<start_of_turn>model\n", "<end_of_turn>\n"),
              None, "<end_of_turn>", "<start_of_turn>"),
    _template(r"phi-?3|phi-?4-mini", _angled("user", "<|end|>"), _angled("assistant", "<|end|>"), _angled("system", "<|end|>"), "<|end|>",
              "<|user|>", "<|assistant|>", "<|system|>"),
    ChatTemplate(
        re.compile(r"falcon.*(?:instruct|chat)"),
        user=("User: ", "\n\n"),
        assistant=("Assistant:", "\n\n"),
        system=("", "\n\n"),
        stop=("\nUser:",),
    ),
)  # fmt: skip
"""First match on the lower-case model name wins."""

PLAIN = ChatTemplate(re.compile(""), user=("User: ", "\n\n"), assistant=("Assistant:", "\n\n"), system=("", "\n\n"), stop=("\nUser:",))
"""For models nobody taught turns: a dialogue as people write it."""


def template_for(model: str) -> ChatTemplate | None:
    """``None`` for a model of no known family: a single user turn then is the prompt itself."""
    name = model.lower()
    return next((template for template in TEMPLATES if template.models.search(name)), None)


@dataclass(frozen=True, slots=True)
class Prompt:
    """``stop`` is what ends the model's turn."""

    text: str
    stop: tuple[str, ...]


def prompt_of(messages: tuple[Message, ...], model: str) -> Prompt:
    """Raises ``UnsupportedRequest`` for a text that holds the family's own control marks."""
    template = template_for(model)
    if template is None and len(messages) == 1 and messages[0].role is Role.USER:
        return Prompt(messages[0].text, ())
    template = template or PLAIN
    _refuse_controls(messages, template)
    system, turns = _system_and_turns(messages)
    pieces = [] if template.system is None or not system else [template.system[0], system, template.system[1]]
    folded = "".join((template.folded_system[0], system, template.folded_system[1])) if template.system is None and system else ""
    for position, message in enumerate(turns):
        before, after = template.assistant if message.role is Role.ASSISTANT else template.user
        if message.role is Role.ASSISTANT:
            # A conversation that ends with the model's own words is to be continued.
            pieces += [before, _spaced(template, message.text), after if position + 1 < len(turns) else ""]
        else:
            pieces += [before, folded, message.text, after]
            folded = ""
    if not turns or turns[-1].role is not Role.ASSISTANT:
        pieces += [template.user[0] + folded.rstrip() + template.user[1] if folded else "", template.assistant[0].rstrip(" ")]
    return Prompt("".join(pieces), template.stop)


def _spaced(template: ChatTemplate, text: str) -> str:
    return f" {text}" if template.assistant[0].endswith(":") else text


def _system_and_turns(messages: tuple[Message, ...]) -> tuple[str, list[Message]]:
    system = "\n\n".join(message.text for message in messages if message.role is Role.SYSTEM and message.text)
    return system, [message for message in messages if message.role is not Role.SYSTEM]


def _refuse_controls(messages: tuple[Message, ...], template: ChatTemplate) -> None:
    for position, message in enumerate(messages):
        mark = next((mark for mark in template.controls if mark in message.text), None)
        if mark is not None:
            raise refusal(f"messages[{position}].content", f"the text {mark!r} is a control mark of this model")
