"""Every recorded error of a provider that speaks OpenAI's wire lands in the class its recording names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from providers.upstream.adapters import ADAPTERS
from providers.upstream.errors import (
    AuthRejected,
    CallerFault,
    ContentRefused,
    ContextTooLong,
    ModelNotFound,
    Overloaded,
    PermissionRefused,
    QuotaExhausted,
    RateLimited,
    ServerFailed,
    UnsupportedRequest,
    UpstreamError,
)
from providers.upstream.types import HttpResponse, Wire

RECORDED = Path(__file__).parents[5] / "shared" / "recorded"
APIS = {"chat.completions", "embeddings", "models.list", "responses", "completions", "rerank", "hf.task", "server.props"}
CLASSES: dict[str, tuple[type[UpstreamError], ...]] = {
    "auth": (AuthRejected,),
    "permission": (AuthRejected, PermissionRefused),
    "not_found": (ModelNotFound,),
    "bad_request": (CallerFault,),
    "validation": (CallerFault,),
    "context_length": (ContextTooLong,),
    "content_filter": (ContentRefused,),
    "rate_limit": (RateLimited, ContextTooLong),  # one request above the whole bucket never fits
    "quota": (QuotaExhausted,),
    "overloaded": (Overloaded,),
    "server": (ServerFailed, UnsupportedRequest, ContextTooLong),  # llama.cpp blames itself for what it cannot do
    "unsupported": (UnsupportedRequest,),
}


def recorded_errors() -> list[Path]:
    files = sorted(RECORDED.glob("*/error/*.json"))
    return [file for file in files if json.loads(file.read_bytes())["api"] in APIS and file.parts[-3] not in ("gemini", "vertex")]


@pytest.mark.skipif(not RECORDED.is_dir(), reason="there are no recordings beside the project")
def test_U20_recorded_errors_land_in_their_class() -> None:
    wrong = []
    for file in recorded_errors():
        recording = json.loads(file.read_bytes())
        answer = recording["response"]
        headers = {name.lower(): value for name, value in (answer["headers"] or {}).items()}
        error = ADAPTERS[Wire.OPENAI_CHAT].parse_error(HttpResponse(answer["status"], headers, answer["body"].encode()))
        for feature in recording["features"]:
            expected = CLASSES.get(feature.removeprefix("error:"), (UpstreamError,)) if feature.startswith("error:") else (UpstreamError,)
            if not isinstance(error, expected):
                wrong.append(f"{file.name}: {type(error).__name__}, not {feature}: {error.detail[:100]}")
    assert wrong == []
    assert len(recorded_errors()) > 50
