"""litellm as a client, in a process of its own environment (``make .venv/litellm/.installed``): it pins an older ``openai``."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from tests.aigateway.clients.base import (
    OPENAI_CHOICE,
    OPENAI_TOOL,
    OUTPUT_TOKENS,
    TIMEOUT_S,
    WEATHER_QUESTION,
    Heard,
    OfficialClient,
    tool_turn,
)

SCRIPT = Path(__file__).with_name("litellm_script.py")
PYTHON = Path(__file__).resolve().parents[3] / ".venv" / "litellm" / "bin" / "python"


class LiteLLMError(Exception):
    """What litellm raised in its process."""

    def __init__(self, kind: str, status: int, text: str) -> None:
        super().__init__(f"{kind} {status}: {text}")
        self.status = status


class NotFound(LiteLLMError):
    """``litellm.NotFoundError``."""


class Authentication(LiteLLMError):
    """``litellm.AuthenticationError``."""


class Unavailable(LiteLLMError):
    """``litellm.ServiceUnavailableError``, or ``InternalServerError`` as the Anthropic side calls it."""


KINDS = {
    "NotFoundError": NotFound,
    "AuthenticationError": Authentication,
    "ServiceUnavailableError": Unavailable,
    "InternalServerError": Unavailable,
}


@dataclass
class LiteLLMClient(OfficialClient):
    """Through OpenAI's format. The process is started at the first call and ends with its standard input."""

    process: subprocess.Popen[str] = field(init=False)

    name: ClassVar = "litellm"
    refusals: ClassVar = {401: Authentication, 404: NotFound, 503: Unavailable}
    breaks: ClassVar = LiteLLMError
    service: ClassVar[str] = "openai"
    base_path: ClassVar[str] = "/v1"

    def __post_init__(self) -> None:
        assert PYTHON.exists(), "litellm's environment is missing: make .venv/litellm/.installed"
        quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
        self.process = subprocess.Popen(
            [str(PYTHON), str(SCRIPT)], env=quiet, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(TIMEOUT_S)
        self.process.stdout.close()

    def ask(self, model: str, prompt: str, *, stream: bool = False) -> Heard:
        return self._send(model, [{"role": "user", "content": prompt}], stream=stream)[0]

    def call_tool(self, model: str, *, stream: bool) -> tuple[Heard, Any]:
        question = [{"role": "user", "content": WEATHER_QUESTION}]
        return self._send(model, question, stream=stream, tools=[OPENAI_TOOL], tool_choice=OPENAI_CHOICE)

    def answer_tool(self, model: str, turn: Any, *, stream: bool) -> Heard:
        messages = tool_turn(turn, [call["id"] for call in turn["tool_calls"]])
        return self._send(model, messages, stream=stream, tools=[OPENAI_TOOL])[0]

    @staticmethod
    def status_of(error: Exception) -> int:
        assert isinstance(error, LiteLLMError)
        return error.status

    def _send(self, model: str, messages: list[Any], *, stream: bool, **fields: Any) -> tuple[Heard, dict[str, Any]]:
        if stream:
            fields |= {"stream": True, "stream_options": {"include_usage": True}}
        told = self._exchange(
            {
                "model": f"{self.service}/{model}",
                "messages": messages,
                "api_base": f"{self.base_url}{self.base_path}",
                "api_key": self.key,
                "max_tokens": OUTPUT_TOKENS,
                "num_retries": 0,
                "max_retries": 0,
                "timeout": TIMEOUT_S,
                **fields,
            }
        )
        message, usage = told["message"], told["usage"]
        calls = tuple((call["function"]["name"], json.loads(call["function"]["arguments"])) for call in message.get("tool_calls", ()))
        return Heard(message.get("content") or "", told["finish"], usage["input"], usage["output"], calls), message

    def _exchange(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        told = json.loads(self.process.stdout.readline())
        if "error" in told:
            raise KINDS.get(told["error"], LiteLLMError)(told["error"], told["status"], told["text"])
        return told


@dataclass
class LiteLLMAsAnthropicClient(LiteLLMClient):
    """Through Anthropic's format."""

    name: ClassVar = "litellm-anthropic"
    service: ClassVar = "anthropic"
    base_path: ClassVar = ""
