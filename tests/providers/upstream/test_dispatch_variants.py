"""Services that want OpenAI's wire their own way, over real sockets."""

from __future__ import annotations

import json

import pytest

from providers.upstream import dispatch
from providers.upstream.adapters import ADAPTERS, adapter_for
from providers.upstream.dispatch import AllTargetsFailed
from providers.upstream.transport import Deadline
from providers.upstream.types import AuthStyle, Wire
from tests.providers.upstream import rig

HELLO = [{"role": "user", "content": "Hi"}]


async def ask(up, ledger, request, *targets):
    return await dispatch.answer(rig.plan(*targets), request, up, ledger, Deadline(10.0))


async def test_an_azure_deployment_is_asked_below_its_path_with_its_version_and_its_header(alpha, transport, ledger) -> None:
    alpha.will(rig.ok)
    base_url = f"http://127.0.0.1:{alpha.port}/openai/deployments/gpt?api-version=2024-10-21"
    target = rig.target(rig.provider(base_url, kind="azure", auth_style=AuthStyle.API_KEY))
    await ask(rig.upstreams(transport), ledger, rig.chat_request(), target)
    (seen,) = alpha.seen
    assert seen.path == "/openai/deployments/gpt/chat/completions?api-version=2024-10-21"
    assert seen.headers["api-key"] == "sk-canary-one"
    assert "authorization" not in seen.headers


async def test_what_mistral_has_no_use_for_is_reported(alpha, transport, ledger) -> None:
    alpha.will(rig.ok)
    request = rig.from_client(Wire.OPENAI_CHAT, {"messages": HELLO, "user": "u1", "seed": 5})
    answer = await ask(rig.upstreams(transport), ledger, request, rig.target(rig.provider(alpha.base_url, kind="mistral")))
    assert answer.degraded == ("user",)
    assert alpha.seen[0].json["random_seed"] == 5


async def test_a_target_that_cannot_be_asked_is_passed_over_and_nothing_reaches_it(alpha, beta, transport, ledger) -> None:
    beta.will(rig.ok)
    request = rig.from_client(Wire.OPENAI_CHAT, {"messages": HELLO, "n": 2}, choices=2)
    groq = rig.target(rig.provider(alpha.base_url, kind="groq"))
    other = rig.target(rig.provider(beta.base_url, id=2, slug="beta"), id=2)
    answer = await ask(rig.upstreams(transport), ledger, request, groq, other)
    assert (answer.target.provider.slug, alpha.seen, json.loads(beta.seen[0].body)["n"]) == ("beta", [], 2)


async def test_a_request_nobody_can_take_names_the_field(alpha, transport, ledger) -> None:
    request = rig.from_client(Wire.OPENAI_CHAT, {"messages": HELLO, "n": 2}, choices=2)
    with pytest.raises(AllTargetsFailed) as failed:
        await ask(rig.upstreams(transport), ledger, request, rig.target(rig.provider(alpha.base_url, kind="groq")))
    assert "n cannot" in (failed.value.last.provider_message or "")
    assert alpha.seen == []


def test_a_wire_format_without_an_adapter_is_translated() -> None:
    spec = rig.provider(also_speaks={Wire.NATIVE: "/native", Wire.ANTHROPIC_MESSAGES: "/anthropic"})
    assert adapter_for(spec, rig.from_client(Wire.NATIVE, {})) == (ADAPTERS[Wire.OPENAI_CHAT], "")
    assert adapter_for(spec, rig.from_client(Wire.ANTHROPIC_MESSAGES, {})) == (ADAPTERS[Wire.ANTHROPIC_MESSAGES], "/anthropic")
