"""litellm as a client, in a process of its own environment (``make .venv/litellm/.installed``): it pins an older ``openai``."""

from __future__ import annotations

import json
import os
import select
import subprocess
from dataclasses import dataclass
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
    Talk,
    tool_turn,
)

SCRIPT = Path(__file__).with_name("litellm_script.py")
PYTHON = Path(__file__).resolve().parents[3] / ".venv" / "litellm" / "bin" / "python"
START_AND_ANSWER_S = 60.0


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


class LiteLLMProcess:
    """Starts at the first question, which takes seconds, and ends with its standard input."""

    def __init__(self) -> None:
        self._running: subprocess.Popen[str] | None = None

    def exchange(self, question: dict[str, Any]) -> dict[str, Any]:
        self._running = running = self._running or self._start()
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(json.dumps(question) + "\n")
        running.stdin.flush()
        if not select.select([running.stdout], [], [], START_AND_ANSWER_S)[0]:
            running.kill()
            self.close()
            raise AssertionError(f"litellm said nothing for {START_AND_ANSWER_S} s to {question}")
        told: dict[str, Any] = json.loads(running.stdout.readline())
        return told

    def close(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            assert running.stdin is not None
            assert running.stdout is not None
            running.stdin.close()
            running.wait(TIMEOUT_S)
            running.stdout.close()

    def _start(self) -> subprocess.Popen[str]:
        assert PYTHON.exists(), "litellm's environment is missing: make .venv/litellm/.installed"
        quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
        return subprocess.Popen(
            [str(PYTHON), str(SCRIPT)], env=quiet, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )


PROCESS = LiteLLMProcess()
"""One for all clients: each question brings its key and its address."""


@dataclass
class LiteLLMClient(OfficialClient):
    """Through OpenAI's format."""

    name: ClassVar = "litellm"
    refusals: ClassVar = {401: Authentication, 404: NotFound, 503: Unavailable}
    breaks: ClassVar = LiteLLMError
    service: ClassVar[str] = "openai"
    base_path: ClassVar[str] = "/v1"

    def close(self) -> None:
        PROCESS.close()

    def ask(self, model: str, prompt: str, *, stream: bool = False) -> Heard:
        return self._send(model, [{"role": "user", "content": prompt}], stream=stream)[0]

    def talk(self, model: str, talk: Talk, *, stream: bool = False) -> Heard:
        return self._send(model, talk.as_openai(), stream=stream, **({"stop": list(talk.stop)} if talk.stop else {}))[0]

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
        told = PROCESS.exchange(
            {
                "model": f"{self.service}/{model}",
                "messages": messages,
                "api_base": f"{self.base_url}{self.base_path}",
                "api_key": self.key,
                "max_tokens": OUTPUT_TOKENS,
                "num_retries": 0,
                "max_retries": 0,
                "timeout": TIMEOUT_S,
                # Else it wants the package "mcp" for any tool, only to find that these are none of its proxy's.
                "_skip_mcp_handler": True,
                **fields,
            }
        )
        if "error" in told:
            raise KINDS.get(told["error"], LiteLLMError)(told["error"], told["status"], told["text"])
        message, usage = told["message"], told["usage"]
        calls = tuple((call["function"]["name"], json.loads(call["function"]["arguments"])) for call in message.get("tool_calls", ()))
        return Heard(message.get("content") or "", told["finish"], usage["input"], usage["output"], calls), message


@dataclass
class LiteLLMAsAnthropicClient(LiteLLMClient):
    """Through Anthropic's format."""

    name: ClassVar = "litellm-anthropic"
    service: ClassVar = "anthropic"
    base_path: ClassVar = ""

    @staticmethod
    def status_of(error: Exception) -> int:
        """litellm takes every 5xx of this format for a 500."""
        status = LiteLLMClient.status_of(error)
        return 503 if status == 500 and "overloaded_error" in str(error) else status
