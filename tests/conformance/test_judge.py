"""The judge of answers passes what is right and names what is wrong: a planted defect of every kind, in every wire format."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from providers.upstream.adapters import ADAPTERS
from providers.upstream.errors import CallerFault, Overloaded, RateLimited
from providers.upstream.types import Wire
from tests.conformance import judge, planted
from tests.conformance.explained import EXPLAINED
from tests.conformance.planted import Defective
from tests.conformance.tool import main

ROOT = Path(__file__).parents[2]
FIXTURES = Path(__file__).parent / "fixtures"
WIRES = {
    "anthropic": Wire.ANTHROPIC_MESSAGES,
    "cohere": Wire.COHERE,
    "gemini": Wire.GEMINI,
    "ollama": Wire.OLLAMA,
    "openai_chat": Wire.OPENAI_CHAT,
    "openai_responses": Wire.OPENAI_RESPONSES,
    "text_generation": Wire.TEXT_GENERATION,
}
NAMELESS = ("cohere", "text_generation")  # their answers name no model

every_wire = pytest.mark.parametrize("name", WIRES)
Judged = Callable[..., tuple[int, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "recorded"


@pytest.fixture
def judged(folder: Path, capsys: pytest.CaptureFixture[str]) -> Judged:
    """Judges one fixture alone, with its fields edited: the exit code and what was printed."""

    def run(fixture: str, edit: Callable[[dict[str, Any]], None] = lambda recorded: None) -> tuple[int, str]:
        recorded = json.loads((FIXTURES / f"{fixture}.json").read_text())
        edit(recorded)
        folder.mkdir(exist_ok=True)
        (folder / f"{fixture}.json").write_text(json.dumps(recorded))
        code = main([str(folder)])
        return code, capsys.readouterr().out

    return run


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def put(name: str, **defect: Any) -> None:
        wire = WIRES[name]
        monkeypatch.setattr(judge, "ADAPTERS", {**ADAPTERS, wire: Defective(ADAPTERS[wire], **defect)})

    return put


def edited_body(change: Callable[[str], str]) -> Callable[[dict[str, Any]], None]:
    def edit(recorded: dict[str, Any]) -> None:
        before = recorded["response"]["body"]
        recorded["response"]["body"] = change(before)
        assert recorded["response"]["body"] != before, "the edit found nothing to change"

    return edit


# --------------------------------------------------------------------------- what is right passes


def test_every_wire_has_a_whole_answer_a_stream_and_an_error() -> None:
    assert {path.stem for path in FIXTURES.glob("*.json")} >= {f"{name}-{case}" for name in WIRES for case in ("whole", "stream", "error")}


def test_what_is_right_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(FIXTURES)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert "openai chat.completions 3/3" in printed
    assert printed[-1].startswith("total 22/22")
    assert printed[-1].endswith(", 0 failed")


@every_wire
def test_an_adapter_without_a_defect_passes_behind_the_stand_in(name: str, judged: Judged, plant: Callable[..., None]) -> None:
    plant(name)
    for case in ("whole", "stream", "error"):
        code, printed = judged(f"{name}-{case}")
        assert (code, "failed:" in printed) == (0, False)


@pytest.mark.parametrize("end", ["\r\n", "\r"])
@pytest.mark.parametrize("name", ["anthropic", "cohere", "openai_chat", "openai_responses", "text_generation"])
def test_streams_with_other_line_ends_pass(name: str, end: str, judged: Judged) -> None:
    code, _ = judged(f"{name}-stream", edited_body(lambda body: body.replace("\n", end)))
    assert code == 0


# --------------------------------------------------------------------------- defects of an adapter


WHOLE_DEFECTS = [
    *((name, "turns.0.text", {"answer": planted.other_text}) for name in WIRES),
    *((name, "turns.0.finish", {"answer": planted.other_finish}) for name in WIRES),
    *((name, "usage.input_tokens", {"usage": planted.one_more_input_token}) for name in WIRES),
    *((name, "usage.output_tokens", {"usage": planted.one_less_output_token}) for name in WIRES),
    *((name, "model", {"answer": planted.other_model}) for name in WIRES),
    *((name, "calls.length", {"answer": planted.lost_call}) for name in ("anthropic", "cohere", "gemini", "ollama", "openai_chat")),
    *((name, "turns.0.reasoning", {"answer": planted.lost_reasoning}) for name in ("anthropic", "cohere", "gemini", "ollama")),
]
STREAM_DEFECTS = [
    *((name, "turns.0.text", {"delta": planted.other_delta_text}) for name in WIRES),
    *((name, "turns.0.finish", {"delta": planted.other_delta_finish}) for name in WIRES),
    *((name, "usage.input_tokens", {"usage": planted.one_more_input_token}) for name in WIRES),
    *((name, "usage.output_tokens", {"usage": planted.one_less_output_token}) for name in WIRES),
    *((name, "model", {"delta": planted.other_delta_model}) for name in WIRES if name not in NAMELESS),
    *((name, "calls.length", {"delta": planted.lost_delta_calls}) for name in ("anthropic", "openai_chat", "openai_responses")),
]


@pytest.mark.parametrize(("name", "place", "defect"), WHOLE_DEFECTS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_defect_in_whole_answers_is_named(name: str, place: str, defect: Any, judged: Judged, plant: Callable[..., None]) -> None:
    plant(name, **defect)
    code, printed = judged(f"{name}-whole")
    assert code == 1
    assert f"failed: {name}-whole.json\n    answer." in printed
    assert f"{place}: expected " in printed


@pytest.mark.parametrize(("name", "place", "defect"), STREAM_DEFECTS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_defect_in_streams_is_named(name: str, place: str, defect: Any, judged: Judged, plant: Callable[..., None]) -> None:
    plant(name, **defect)
    code, printed = judged(f"{name}-stream")
    assert code == 1
    assert f"failed: {name}-stream.json\n    stream." in printed
    assert f"{place}: expected " in printed


@every_wire
def test_a_stream_without_its_end_must_not_count_as_complete(name: str, judged: Judged, plant: Callable[..., None]) -> None:
    plant(name, never_incomplete=True)
    code, printed = judged(f"{name}-stream")
    assert code == 1
    assert "stream cut at byte" in printed
    assert "expected 'incomplete', got \"complete: " in printed


@every_wire
def test_a_recorded_truncation_must_not_count_as_complete(name: str, judged: Judged, plant: Callable[..., None]) -> None:
    cut = edited_body(lambda body: body[: len(body) // 2])
    assert judged(f"{name}-stream", cut)[0] == 0
    plant(name, never_incomplete=True)
    code, printed = judged(f"{name}-stream", cut)
    assert code == 1
    assert "stream.complete: expected False, got True" in printed


@every_wire
def test_framing_that_needs_whole_events_in_a_chunk_is_found(name: str, judged: Judged, plant: Callable[..., None]) -> None:
    plant(name, events=planted.TornBuffer)
    code, printed = judged(f"{name}-stream")
    assert code == 1
    assert "stream split with seed" in printed


@every_wire
def test_a_byte_lost_on_the_way_is_found(name: str, judged: Judged, plant: Callable[..., None]) -> None:
    plant(name, events=planted.LostBytes)
    code, printed = judged(f"{name}-stream")
    assert code == 1
    assert "stream.bytes: expected " in printed


@every_wire
def test_a_wrong_error_class_is_named(name: str, judged: Judged, plant: Callable[..., None]) -> None:
    plant(name, error=lambda error: CallerFault("it is the caller's fault", status=error.status))
    code, printed = judged(f"{name}-error")
    assert code == 1
    assert f"failed: {name}-error.json\n    error: expected " in printed
    assert "CallerFault (it is the caller's fault)" in printed


@pytest.mark.parametrize(
    ("name", "kind", "wait"), [("openai_chat", RateLimited, 20.0), ("gemini", RateLimited, 3.0), ("text_generation", Overloaded, 22.5)]
)
def test_a_wrong_wait_is_named(name: str, kind: Any, wait: float, judged: Judged, plant: Callable[..., None]) -> None:
    plant(name, error=lambda error: kind("wait", status=error.status, retry_after_s=wait + 1))
    code, printed = judged(f"{name}-error")
    assert code == 1
    assert f"error.retry_after_s: expected {wait}, got {wait + 1}" in printed


@every_wire
def test_a_crash_of_an_adapter_fails_that_file(name: str, judged: Judged, plant: Callable[..., None]) -> None:
    plant(name, answer=lambda said: said.choices[99])
    code, printed = judged(f"{name}-whole")
    assert code == 1
    assert "crash: IndexError: tuple index out of range (" in printed


def test_an_answer_must_not_be_invented_from_a_foreign_api(judged: Judged) -> None:
    def transcribe(recorded: dict[str, Any]) -> None:
        recorded["api"] = "audio.transcriptions"

    code, printed = judged("cohere-whole", transcribe)
    assert code == 1
    assert "answer of an API that is not offered: expected 'nothing', got " in printed


def test_a_stream_of_coheres_first_version_is_a_foreign_api(judged: Judged) -> None:
    def first_version(recorded: dict[str, Any]) -> None:
        recorded["request"]["path"] = "/v1/chat"
        events = ({"is_finished": False, "event_type": "text-generation", "text": "Hi"}, {"is_finished": True, "event_type": "stream-end"})
        recorded["response"]["body"] = "".join(f"{json.dumps(event)}\n" for event in events)

    code, printed = judged("cohere-stream", first_version)
    assert code == 0
    assert "cohere cohere.chat 0/0 (API not offered" in printed


def test_tokens_that_come_on_top_are_counted(judged: Judged, plant: Callable[..., None]) -> None:
    """One token of the total moved: the adapter and the oracle both see it, and an adapter that does not is found."""
    assert judged("openai_chat-reasoning_on_top", edited_body(lambda body: body.replace('"total_tokens":48', '"total_tokens":49')))[0] == 0
    plant("openai_chat", usage=planted.one_less_output_token)
    code, printed = judged("openai_chat-reasoning_on_top")
    assert code == 1
    assert "answer.usage.output_tokens: expected 1, got 0" in printed


# --------------------------------------------------------------------------- defects of a recording


MALFORMED = {
    "not JSON": "{",
    "a list": "[]",
    "no response": '{"provider": "openai"}',
    "a status in words": '{"response": {"status": "ok", "body": ""}}',
    "a body that is no text": '{"response": {"status": 200, "body": {}}}',
    "half a character": '{"response": {"status": 200, "body": "\\ud800"}}',
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_file_fails_and_is_named(text: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(FIXTURES, folder)
    (folder / "broken.json").write_text(text)
    assert main([str(folder)]) == 1
    printed = capsys.readouterr().out
    assert "malformed: broken.json\n    " in printed
    assert printed.rstrip().endswith(", 1 failed")


def test_a_wrong_label_fails(judged: Judged) -> None:
    code, printed = judged("openai_chat-error", lambda recorded: recorded.update(features=["error", "error:auth"]))
    assert code == 1
    assert "error label of the recording (against wire.md's rules): expected 'rate_limit', got 'auth'" in printed


def test_a_folder_without_exchanges_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"no exchange in {tmp_path}\n"
    assert main([str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err == f"{tmp_path / 'none'} is no folder\n"


# --------------------------------------------------------------------------- what is explained


def _without_model(recorded: dict[str, Any]) -> None:
    del recorded["request"]["body"]["model"]


def test_a_request_without_a_model_is_explained_and_counted_apart(judged: Judged) -> None:
    code, printed = judged("openai_responses-whole", _without_model)
    assert code == 0
    assert f"explained: openai_responses-whole.json {EXPLAINED[0].reason}" in printed
    assert "openai responses 0/0 (explained: 1)" in printed


def test_the_answer_to_an_explained_request_is_judged_all_the_same(judged: Judged, plant: Callable[..., None]) -> None:
    plant("openai_responses", answer=planted.other_text)
    code, printed = judged("openai_responses-whole", _without_model)
    assert code == 1
    assert "answer.turns.0.text: expected 'It rains.', got 'It rains.!'" in printed


# --------------------------------------------------------------------------- the command


def test_the_command_needs_no_environment_and_heeds_none(tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "AIGATEWAY_VAR": str(tmp_path / "var"),
        "DATABASE_URL": "nonsense",
        "AIGATEWAY_DEBUG": "nonsense",
    }
    command = [sys.executable, "-m", "tests.conformance", str(FIXTURES), "--markdown"]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "| **all** | | **22 / 22** |" in ran.stdout
    assert not (tmp_path / "var").exists()
