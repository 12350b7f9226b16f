"""Model names: what is unknown gives nothing away, and what looks like an allowed name is none."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import httpx2 as httpx
import pytest
from django.contrib.auth.models import User

from tests.aigateway.conftest import LiveGateway, register_simulator
from tests.faults.doors import CONTENT, DOORS
from tests.providers.simulator.fixtures import SimulatorHandle
from usage.keys.actions import create_api_key
from usage.models import Attempt

LOOKALIKES = (
    "sim-largе", "ѕim-large", "SIM-LARGE", "Sim-large", "sim-large\u200b", "\u200bsim-large", "sim\u2010large", "sim-large.", "sim-large ",
    " sim-large", "sim-large/", "/sim-large", "sim//sim-large", "sim/sim/sim-large", "SIM/sim-large", "ｓｉｍ-large", "sim-\uff4carge",
    "sim-large\t",
    "sim-large\n", "models/models/sim-large", "sim-small,sim-large", "sim-small/../sim-large", "sim%2Fsim-large", "*", "sim/*",
)  # fmt: skip


@pytest.fixture
def bound(start_gateway: Callable[[], LiveGateway], simulator: SimulatorHandle, user: User) -> LiveGateway:
    """A caller whose key may use one small model only."""
    register_simulator(simulator)
    gateway = start_gateway()
    _, gateway.key = create_api_key(user, "bound", allowed_models=["sim-small"])
    gateway.client.headers["Authorization"] = f"Bearer {gateway.key}"
    return gateway


def ask(gateway: LiveGateway, door: str, model: str) -> httpx.Response:
    if door == "gemini":
        path = f"/v1beta/models/{httpx.QueryParams({'m': model})!s}:generateContent".replace("m=", "", 1).replace("+", "%20")
        return gateway.client.post(path, json={"contents": [CONTENT]})
    return DOORS[door].post(gateway, DOORS[door].raw(model=model))


@pytest.mark.parametrize("door", ["chat", "generate", "messages", "gemini"])
def test_B12_nothing_that_looks_like_a_forbidden_model_reaches_it(bound: LiveGateway, simulator: SimulatorHandle, door: str) -> None:
    for name in ("sim-large", "sim/sim-large"):
        assert ask(bound, door, name).status_code == 403, name
    for name in LOOKALIKES:
        assert ask(bound, door, name).status_code in (400, 404), name
    assert not simulator.journal()
    assert not Attempt.objects.exists()
    assert ask(bound, door, "sim-small").status_code == 200


@pytest.mark.parametrize("door", ["chat", "generate", "messages", "gemini"])
def test_B09_an_unknown_model_is_404_and_names_none_the_caller_may_not_use(
    bound: LiveGateway, simulator: SimulatorHandle, door: str
) -> None:
    for name in ("sim-larg", "sim-reasone", "nothing-like-it", "x" * 200):
        answer = ask(bound, door, name)
        assert (answer.status_code, DOORS[door].own_words(answer.json())) == (404, True), answer.text
        assert not [other for other in ("sim-large", "sim-reasoner", "sim-cached", "sim-claude") if other in answer.text], answer.text
        assert len(answer.content) < 1500
    assert not simulator.journal()


def test_B09_an_unknown_name_costs_the_same_whatever_it_is(bound: LiveGateway) -> None:
    """In process time of the whole gateway, so that a busy machine changes nothing; no row is read for it."""
    took: dict[str, float] = {}
    for name in ("sim-larg", "q" * 8, "zz/zz-zzz"):
        spent = []
        for _ in range(30):
            started = time.process_time()
            assert ask(bound, "chat", name).status_code == 404
            spent.append(time.process_time() - started)
        took[name] = median(spent)
    assert max(took.values()) < 2 * min(took.values()), took


def test_B12_the_address_of_a_model_is_held_to_the_same_list(bound: LiveGateway) -> None:
    answer = bound.client.post("/v1/chat/completions", json={"model": "sim/sim-small", "messages": [{"role": "user", "content": "x"}]})
    assert (answer.status_code, answer.headers["X-Gateway-Model"]) == (200, "sim-small")
    native = bound.client.post("/api/v1/ai/generate", json={"model": "sim-large", "provider": "sim", "prompt": "x"})
    assert native.status_code == 403
    auto = bound.generate()
    assert (auto.status_code, auto.json()["model"]) == (200, "sim-small")
