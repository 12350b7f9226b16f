"""What real providers counted, priced by the real parsers and ``cost_of``, against arithmetic written by hand."""

from __future__ import annotations

import ast
import json
from fractions import Fraction
from pathlib import Path

import pytest

from providers.upstream.adapters import ADAPTERS
from providers.upstream.types import HttpResponse, JsonObject, Wire
from tests.usage.payloads import Case, cases, read_stream, usage_of
from usage.money import BUCKETS, card_at, cost_of

RECORDED = Path(__file__).parents[3] / "shared" / "recorded"
BEYOND_TOKENS = {
    "de16d682": "two searches at half a cent",
    "8de994aa": "OpenRouter bills tokens as read and as written that it tells once in the total",
    "b0ebda5d": "reading a file costs a fifth of a cent",
    "503f30d4": "a search costs a cent",
    "9e54a35f": "the call is billed to an own key elsewhere",
    "4db77231": "rounded to a hundredth of a cent's tenth by the provider",
    "4f57579f": "rounded to a hundredth of a cent's tenth by the provider",
}
"""Where a provider's own figure and ours differ, and why: both stand on the ledger line."""
ON_TOP_OF_THE_TOTAL = {"vercel-gateway"}
"""Their ``total_tokens`` leaves reasoning out, their bill does not."""


@pytest.mark.parametrize("case", cases(), ids=str)
def test_M10_M11_the_cost_is_what_the_arithmetic_says(case: Case) -> None:
    assert cost_of(usage_of(case), card_at(case.card, case.at)) == case.nano


@pytest.mark.parametrize("case", cases(), ids=str)
def test_the_arithmetic_in_the_fixture_is_right(case: Case) -> None:
    assert value_of(ast.parse(case.arithmetic, mode="eval").body) * 1000 == case.nano


@pytest.mark.parametrize("case", [case for case in cases() if case.reported is not None and not case.disconnected], ids=str)
def test_what_the_provider_says_it_cost_is_read_exactly_and_equals_ours(case: Case) -> None:
    assert case.reported is not None
    reported = usage_of(case).reported_cost_nano
    assert reported == round(Fraction(case.reported) * 10**9)
    assert (reported != case.nano) is (case.id in BEYOND_TOKENS)


@pytest.mark.parametrize("case", cases(), ids=str)
def test_M10_M11_the_buckets_add_up_to_the_providers_own_total(case: Case) -> None:
    total = total_of(case.usages[-1])
    if total is None or case.vendor in ON_TOP_OF_THE_TOTAL:
        return
    usage = usage_of(case)
    assert sum(getattr(usage, bucket) or 0 for bucket in BUCKETS) == total


def test_the_cases_cover_what_providers_count() -> None:
    assert len({(case.id, case.card.id, case.arithmetic) for case in cases()}) == len(cases()) >= 100
    assert len({case.vendor for case in cases()}) >= 20
    for kind, least in (("cached", 40), ("reason", 20), ("thought", 8), ("audio", 4), ("image", 10), ("tool", 30), ("disconnected", 4)):
        assert sum(kind in case.shows for case in cases()) >= least, kind
    assert sum(case.stream for case in cases()) >= 40


@pytest.mark.skipif(not RECORDED.is_dir(), reason="there are no recordings beside the project")
@pytest.mark.parametrize("case", [case for case in cases() if not case.disconnected], ids=str)
def test_the_whole_recorded_answer_costs_the_same(case: Case) -> None:
    (file,) = RECORDED.glob(f"*/*/*-{case.id}.json")
    exchange: JsonObject = json.loads(file.read_bytes())["response"]
    body = exchange["body"].encode()
    adapter = ADAPTERS[case.wire]
    usage = read_stream(adapter, body).usage if case.stream else adapter.parse_chat(HttpResponse(200, {}, body)).usage
    assert cost_of(usage, card_at(case.card, case.at)) == case.nano
    assert usage == usage_of(case)


def value_of(node: ast.expr) -> Fraction:
    """Sums, products and decimal numbers, exactly; independent of ``usage.money``."""
    match node:
        case ast.BinOp(left, ast.Add(), right):
            return value_of(left) + value_of(right)
        case ast.BinOp(left, ast.Mult(), right):
            return value_of(left) * value_of(right)
        case ast.Constant(value):
            return Fraction(str(value))
    raise AssertionError(f"not arithmetic: {ast.dump(node)}")


def total_of(usage: JsonObject) -> int | None:
    """The total a provider names itself; Anthropic and Cohere name none."""
    inner = usage.get("usage") or usage.get("x_groq", {}).get("usage") or usage
    total: int | None = inner.get("total_tokens", inner.get("totalTokenCount"))
    return total


def test_wires_are_all_there() -> None:
    spoken = {Wire.OPENAI_CHAT, Wire.OPENAI_RESPONSES, Wire.ANTHROPIC_MESSAGES, Wire.GEMINI, Wire.COHERE, Wire.OLLAMA}
    assert {case.wire for case in cases()} == spoken
