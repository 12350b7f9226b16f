"""One row per wire format: how its answers are read plainly. A new wire format is a new row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from providers.upstream.types import Wire
from tests.conformance import oracle_anthropic, oracle_gemini, oracle_openai, oracle_others, oracle_responses
from tests.conformance.frames import Frame
from tests.conformance.heard import Heard


@dataclass(frozen=True, slots=True)
class Oracle:
    """``whole`` gives ``None`` for what is no answer. ``finishes`` tells the event from which on a stream may count as whole."""

    whole: Callable[[dict[str, Any]], Heard | None]
    stream: Callable[[list[Frame]], Heard]
    finishes: Callable[[Frame], bool]


ORACLES: Mapping[Wire, Oracle] = {
    Wire.OPENAI_CHAT: Oracle(oracle_openai.read_answer, oracle_openai.read_stream, oracle_openai.finishes),
    Wire.OPENAI_RESPONSES: Oracle(oracle_responses.read_answer, oracle_responses.read_stream, oracle_responses.finishes),
    Wire.ANTHROPIC_MESSAGES: Oracle(oracle_anthropic.read_answer, oracle_anthropic.read_stream, oracle_anthropic.finishes),
    Wire.GEMINI: Oracle(oracle_gemini.read_answer, oracle_gemini.read_stream, oracle_gemini.finishes),
    Wire.OLLAMA: Oracle(oracle_others.read_ollama, oracle_others.read_ollama_stream, oracle_others.ollama_finishes),
    Wire.COHERE: Oracle(oracle_others.read_cohere, oracle_others.read_cohere_stream, oracle_others.cohere_finishes),
    Wire.TEXT_GENERATION: Oracle(oracle_others.read_generated, oracle_others.read_generated_stream, oracle_others.generated_finishes),
}
