"""Google's own client."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any, ClassVar

from google import genai
from google.genai import errors, types

from tests.aigateway.clients.base import OUTPUT_TOKENS, SUNNY, TIMEOUT_S, WEATHER_QUESTION, WEATHER_SCHEMA, Heard, OfficialClient, Talk

DECLARATION = types.FunctionDeclaration(name="get_weather", description="Weather of a city", parameters_json_schema=WEATHER_SCHEMA)
TOOLS = [types.Tool(function_declarations=[DECLARATION])]
FORCED = types.ToolConfig(function_calling_config=types.FunctionCallingConfig(mode="ANY", allowed_function_names=["get_weather"]))


@dataclass
class GoogleClient(OfficialClient):
    sdk: genai.Client = field(init=False)

    name: ClassVar = "google-genai"
    stopped: ClassVar = "STOP"
    called: ClassVar = "STOP"
    refusals: ClassVar = {401: errors.ClientError, 404: errors.ClientError, 503: errors.ServerError}
    breaks: ClassVar = errors.APIError
    thoughts_are_output: ClassVar = False

    def __post_init__(self) -> None:
        options = types.HttpOptions(base_url=self.base_url, timeout=int(TIMEOUT_S * 1000))
        self.sdk = genai.Client(api_key=self.key, http_options=options)

    def ask(self, model: str, prompt: str, *, stream: bool = False) -> Heard:
        return self._send(model, [user_says(prompt)], stream=stream)[0]

    def talk(self, model: str, talk: Talk, *, stream: bool = False) -> Heard:
        contents = [
            types.Content(role="model" if number % 2 else "user", parts=[types.Part(text=text)]) for number, text in enumerate(talk.turns)
        ]
        if talk.picture:
            contents[-1].parts.append(types.Part.from_bytes(data=base64.b64decode(talk.picture), mime_type="image/png"))
        settings = {"system_instruction": talk.system or None, "stop_sequences": list(talk.stop) or None}
        return self._send(model, contents, stream=stream, **settings)[0]

    def call_tool(self, model: str, *, stream: bool) -> tuple[Heard, Any]:
        return self._send(model, [user_says(WEATHER_QUESTION)], stream=stream, tools=TOOLS, tool_config=FORCED)

    def answer_tool(self, model: str, turn: Any, *, stream: bool) -> Heard:
        results = [
            types.Part(
                function_response=types.FunctionResponse(id=part.function_call.id, name=part.function_call.name, response={"result": SUNNY})
            )
            for part in turn.parts
            if part.function_call
        ]
        contents = [user_says(WEATHER_QUESTION), turn, types.Content(role="user", parts=results)]
        return self._send(model, contents, stream=stream, tools=TOOLS)[0]

    @staticmethod
    def status_of(error: Exception) -> int:
        assert isinstance(error, errors.APIError)
        return error.code

    def _send(self, model: str, contents: list[types.Content], *, stream: bool, **fields: Any) -> tuple[Heard, types.Content]:
        config = types.GenerateContentConfig(max_output_tokens=OUTPUT_TOKENS, **fields)
        if stream:
            answers = list(self.sdk.models.generate_content_stream(model=model, contents=contents, config=config))
        else:
            answers = [self.sdk.models.generate_content(model=model, contents=contents, config=config)]
        return heard_of(answers)


def user_says(text: str) -> types.Content:
    return types.Content(role="user", parts=[types.Part(text=text)])


def heard_of(answers: list[types.GenerateContentResponse]) -> tuple[Heard, types.Content]:
    """One answer, or the chunks of a stream: parts add up, usage and finish are those told last."""
    candidates = [candidate for answer in answers for candidate in answer.candidates or ()]
    parts = [part for candidate in candidates if candidate.content for part in candidate.content.parts or ()]
    text = "".join(part.text or "" for part in parts if not part.thought)
    calls = tuple((part.function_call.name, dict(part.function_call.args or {})) for part in parts if part.function_call)
    usage = [answer.usage_metadata for answer in answers if answer.usage_metadata][-1]
    finish = [candidate.finish_reason for candidate in candidates if candidate.finish_reason][-1]
    heard = Heard(text, finish.value, usage.prompt_token_count, usage.candidates_token_count, calls)
    return heard, types.Content(role="model", parts=parts)
