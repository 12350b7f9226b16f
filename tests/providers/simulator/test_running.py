"""Settings, repeatability and the program itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from providers.simulator.controls import Settings
from providers.simulator.running import running_simulator
from providers.simulator.tokens import count_text, cut_text, split_text
from tests.providers.simulator.calls import chat, chat_body, messages, messages_body
from tests.providers.simulator.fixtures import ROOT, SimulatorHandle

VARYING = re.compile(rb'"(id|created)": ?("[^"]*"|\d+)')


async def test_same_question_and_seed_give_the_same_answer(simulator: SimulatorHandle, simulator_process: SimulatorHandle) -> None:
    bodies = [chat_body(seed=3), chat_body(seed=3, stream=True), chat_body("other", seed=3), chat_body(seed=4)]
    first = [VARYING.sub(b"", (await chat(simulator, body)).body) for body in bodies]
    again = [VARYING.sub(b"", (await chat(simulator_process, body)).body) for body in bodies]
    assert first == again
    assert len(set(first)) == len(bodies)


async def test_random_faults_come_at_their_rate_in_a_fixed_order(simulator: SimulatorHandle) -> None:
    runs = []
    for _ in range(2):
        simulator.settings(fault_rate=0.5, faults={"http_500": 3, "http_529": 1}, seed=7)
        runs.append([(await chat(simulator, chat_body())).status for _ in range(60)])
    assert runs[0] == runs[1]
    seen = Counter(runs[0])
    assert 15 <= seen[200] <= 45
    assert seen[500] > seen[529] > 0


async def test_settings_hold_for_everybody_and_directives_go_before_them(simulator: SimulatorHandle) -> None:
    simulator.settings(tokens=10)
    assert (await messages(simulator, messages_body())).json()["usage"]["output_tokens"] == 10
    assert (await chat(simulator, chat_body("x [sim tokens=4]"))).json()["usage"]["completion_tokens"] == 4
    assert simulator.ask("GET", "/_sim/settings")["tokens"] == 10


@pytest.mark.parametrize("bad", [{"tokens": 0}, {"fault_rate": 2}, {"faults": {"nonsense": 1}}, {"latency_ms": 10**9}, {"unknown": 1}])
async def test_impossible_settings_are_refused_and_change_nothing(simulator: SimulatorHandle, bad: dict[str, object]) -> None:
    async with aiohttp.ClientSession() as session, session.put(simulator.origin + "/_sim/settings", json=bad) as got:
        assert got.status == 400
    assert simulator.ask("GET", "/_sim/settings") == {**simulator.ask("GET", "/_sim/settings"), "tokens": 32, "fault_rate": 0.0}


async def test_journal_tells_connections_and_times(simulator: SimulatorHandle) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(2):
            async with session.post(
                simulator.base_url + "/chat/completions", json=chat_body(), headers={"authorization": "Bearer k"}
            ) as got:
                await got.read()
    first, second = simulator.journal(finished=2)
    assert first["connection"] == second["connection"]
    assert first["started_s"] <= first["first_byte_s"] <= first["finished_s"] <= second["started_s"]
    assert (first["status"], first["ended"]) == (200, "answered")


async def test_runs_inside_an_event_loop() -> None:
    async with running_simulator(Settings(tokens=6)) as sim:
        assert sim.base_url == sim.origin + "/v1"
        async with aiohttp.ClientSession() as session:
            headers = {"authorization": "Bearer k"}
            async with session.post(sim.base_url + "/chat/completions", json=chat_body(), headers=headers) as got:
                assert (await got.json())["usage"]["completion_tokens"] == 6
            async with session.get(sim.origin + "/healthz") as got:
                assert got.status == 200
        assert [line.output_tokens for line in sim.bill()] == [6]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("program", [["-m", "providers.simulator"], ["manage.py", "simulator"]])
def test_program_announces_itself_and_ends_cleanly(program: list[str], number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, *program, "--port", "0", "--bill", str(tmp_path / "bill.jsonl")]
    environment = os.environ | {"PYTHONWARNINGS": "error::ResourceWarning"}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert re.fullmatch(r"Simulator listening on http://127\.0\.0\.1:\d+/v1\n", process.stdout.readline())
        process.send_signal(number)
        _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize("text", ["", "a", "abcd", "abcde", "Grüße", "你好世界", "🎈🎈x"])
def test_a_token_is_four_bytes(text: str) -> None:
    size = len(text.encode())
    assert count_text(text) == -(-size // 4)
    pieces = split_text(text) if text else []
    assert "".join(piece for piece, _ in pieces) == text
    assert [tokens for _, tokens in pieces] == sorted(tokens for _, tokens in pieces)
    assert ([0, *(tokens for _, tokens in pieces)])[-1] == count_text(text)
    assert count_text(cut_text(text, 1)) <= 1
