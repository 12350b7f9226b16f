"""Tools the provider runs and bills by the call: refused while no fee is known, else bounded, reserved and booked."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx2 as httpx
import pytest
from django.contrib.auth.models import User

from providers import actions
from providers.audit import SYSTEM
from providers.models import ConfigVersion, Deployment, Price, Provider
from providers.prices import actions as price_actions
from providers.upstream.types import Secret
from tests.aigateway.conftest import LiveGateway
from tests.providers.fake_provider import FakeProvider, fake_provider
from usage.budgets import actions as usage_actions
from usage.exports import csv_file, focus
from usage.exports.lines import fixed
from usage.exports.months import BillingMonths
from usage.ledger.verification import verify_ledger
from usage.models import Attempt, Budget, LedgerEntry, Period
from usage.reports.questions import DateRange
from usage.whatif.replay import Question, replay

FEE = 10_000_000
"""A cent for each call."""
WINDOW = 1000
HELLO = [{"role": "user", "content": "Hi"}]
RESPONSES = ("openai", "/v1/responses", {"input": "Hi", "tools": [{"type": "web_search"}]}, "tools[0].type")
CHAT = ("openai_compatible", "/v1/chat/completions", {"messages": HELLO, "web_search_options": {}}, "web_search_options")
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
MESSAGES = ("anthropic", "/v1/messages", {"messages": HELLO, "max_tokens": 10, "tools": [SEARCH]}, "tools[0].type")
GEMINI = (
    "gemini",
    "/v1beta/models/m:generateContent",
    {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}], "tools": [{"google_search": {}}]},
    "tools[0].googleSearch",
)
every_format = pytest.mark.parametrize(("kind", "path", "body", "field"), [RESPONSES, CHAT, MESSAGES, GEMINI])


@pytest.fixture
def upstream(transactional_db: None) -> Iterator[FakeProvider]:
    with fake_provider() as upstream:
        yield upstream


@pytest.fixture
def start(upstream: FakeProvider, start_gateway: Callable[[], LiveGateway]) -> Callable[..., LiveGateway]:
    """A gateway whose only model ``m`` has this fee: a dollar per million tokens, ten tokens at most, a small window."""

    def make(kind: str, fee: int | None) -> LiveGateway:
        provider = Provider(slug="p", label="P", kind=kind, base_url=upstream.base_url, allow_private=True)
        actions.create_provider(provider, SYSTEM, Secret("sk-test-0123456789"))
        model = Deployment(provider=provider, name="m", upstream_model="m", capabilities=["chat", "stream", "tools"])
        model.max_output_tokens, model.context_window_tokens = 10, WINDOW
        actions.save_deployment(model, SYSTEM)
        price = Price(deployment=model, source="test", input_nano_per_mtok=10**9, output_nano_per_mtok=10**9, tool_call_nano=fee)
        price_actions.set_price(price, SYSTEM)
        return start_gateway()

    return make


def ask(gateway: LiveGateway, path: str, body: dict[str, Any], **more: Any) -> httpx.Response:
    named = {} if path.startswith("/v1beta") else {"model": "m"}
    return gateway.client.post(
        path, json={**named, **body, **more}, headers={"anthropic-version": "2023-06-01"} if "messages" in path else {}
    )


def says(upstream: FakeProvider, answer: dict[str, Any]) -> None:
    upstream.script.body = json.dumps(answer).encode()


def response(*items: dict[str, Any]) -> dict[str, Any]:
    message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]}
    return {"id": "r", "object": "response", "status": "completed", "model": "m", "output": [*items, message], "usage": USED}


def message(**usage: Any) -> dict[str, Any]:
    said = {"content": [{"type": "text", "text": "Hello"}], "usage": {"input_tokens": 100, "output_tokens": 5, **usage}}
    return {"id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn", **said}


USED = {"input_tokens": 100, "output_tokens": 5, "total_tokens": 105}
SEARCHED = {"type": "web_search_call", "id": "w", "status": "completed", "action": {"type": "search", "query": "x"}}
OPENED = {"type": "web_search_call", "id": "o", "status": "completed", "action": {"type": "open_page", "url": "https://example.org"}}
TOKENS_NANO = 105 * 1000


@every_format
def test_M07_without_a_fee_a_tool_the_provider_bills_is_refused_unsent_and_named(
    start: Callable[..., LiveGateway], upstream: FakeProvider, kind: str, path: str, body: dict[str, Any], field: str
) -> None:
    gateway = start(kind, None)
    refused = ask(gateway, path, body)
    assert refused.status_code == 400
    assert field in refused.text
    assert "names no fee" in refused.text
    error = refused.json()["error"]
    ours = error["details"][0]["metadata"] if kind == "gemini" else error
    assert (ours["code"], ours["param"]) == ("unpriced_tool", field)
    assert upstream.asked == []
    assert not Attempt.objects.exists()


@every_format
def test_R203_what_another_format_cannot_carry_is_refused_by_its_field_in_the_words_of_the_client(
    start: Callable[..., LiveGateway], upstream: FakeProvider, kind: str, path: str, body: dict[str, Any], field: str
) -> None:
    gateway = start("cohere", 0)
    error = ask(gateway, path, body).json()["error"]
    ours = error["details"][0]["metadata"] if kind == "gemini" else error
    assert (ours["code"], ours["param"]) == ("unsupported_feature", field)
    assert upstream.asked == []


def test_what_nothing_bounds_is_refused_unless_it_is_free(start: Callable[..., LiveGateway], upstream: FakeProvider) -> None:
    _, path, body, field = GEMINI
    gateway = start("gemini", FEE)
    refused = ask(gateway, path, body)
    assert (refused.status_code, field in refused.text, "nothing bounds" in refused.text) == (400, True, True)
    assert upstream.asked == []
    free = Price(deployment=Deployment.objects.get(), source="test", input_nano_per_mtok=0, output_nano_per_mtok=0, tool_call_nano=0)
    price_actions.set_price(free, SYSTEM)
    used = {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}
    says(
        upstream,
        {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hello"}]}, "finishReason": "STOP"}], "usageMetadata": used},
    )
    assert ask(gateway, path, body).status_code == 200
    line = LedgerEntry.objects.get()
    assert (line.basis, line.cost_nano, line.provider_tool_calls) == ("measured", 0, None)


@pytest.mark.parametrize(
    ("sent", "bound", "items", "calls"),
    [({}, 5, [SEARCHED, OPENED, SEARCHED], 2), ({"max_tool_calls": 3}, 3, [SEARCHED] * 3, 3), ({}, 5, [], 0), ({}, 5, [OPENED], 0)],
)
def test_R505_calls_are_bounded_held_at_most_and_booked_as_counted(
    start: Callable[..., LiveGateway], upstream: FakeProvider, sent: dict[str, int], bound: int, items: list[dict[str, Any]], calls: int
) -> None:
    gateway = start("openai", FEE)
    says(upstream, response(*items))
    _, path, body, _ = RESPONSES
    assert ask(gateway, path, body, **sent).status_code == 200
    assert json.loads(upstream.bodies[-1])["max_tool_calls"] == bound
    line, attempt = LedgerEntry.objects.get(), Attempt.objects.get()
    assert (line.cost_nano, line.basis, line.provider_tool_calls) == (TOKENS_NANO + calls * FEE, "measured", calls)
    assert attempt.hold_nano >= bound * FEE + (bound + 1) * WINDOW * 1000, "each call has the model read its window again"
    assert list(verify_ledger()) == []


def test_B15_a_budget_that_does_not_hold_the_fees_refuses_the_request(
    start: Callable[..., LiveGateway], upstream: FakeProvider, user: User
) -> None:
    gateway = start("openai", FEE)
    usage_actions.set_budget(Budget.Scope.USER, user, Period.TOTAL, usage_actions.Limits(5 * FEE))
    ConfigVersion.bump(f"user:{user.pk}")
    _, path, body, _ = RESPONSES
    assert ask(gateway, path, body).status_code == 402
    assert upstream.asked == []


def test_R507_a_measured_fee_stands_in_files_and_replays(start: Callable[..., LiveGateway], upstream: FakeProvider) -> None:
    gateway = start("openai", FEE)
    says(upstream, response(SEARCHED, SEARCHED))
    _, path, body, _ = RESPONSES
    assert ask(gateway, path, body).headers["X-Gateway-Cost-USD"] == "0.020105000"
    line = LedgerEntry.objects.get()
    source = fixed(LedgerEntry.objects.all(), BillingMonths.current())
    told, _ = csv.DictReader(io.StringIO(b"".join(csv_file.csv_chunks(source)).decode(), newline=""))
    assert (told["provider_tool_calls"], told["cost_usd"], told["basis"]) == ("2", "0.020105000", "measured")
    rows = [*csv.DictReader(io.StringIO(b"".join(focus.focus_chunks(source, focus.NEWEST)).decode(), newline=""))]
    assert [row["x_RowType"] for row in rows] == ["tokens", "tokens", "tool_calls"]
    assert sum(Decimal(row["BilledCost"]) for row in rows) == Decimal(line.cost_nano).scaleb(-9)
    today = line.dispatched_at.date()
    replayed = replay(Question(period=DateRange(today - timedelta(days=1), today + timedelta(days=2))))
    assert (replayed.before_nano, replayed.after_nano, replayed.left_out) == (line.cost_nano, line.cost_nano, {})


@pytest.mark.parametrize(
    ("said", "calls", "basis"), [({"server_tool_use": {"web_search_requests": 2}}, 2, "measured"), ({}, 5, "estimated")]
)
def test_anthropics_searches_are_bounded_and_counted_and_unsaid_ones_count_as_all(
    start: Callable[..., LiveGateway], upstream: FakeProvider, said: dict[str, Any], calls: int, basis: str
) -> None:
    gateway = start("anthropic", FEE)
    says(upstream, message(**said))
    _, path, body, _ = MESSAGES
    assert ask(gateway, path, body).status_code == 200
    assert json.loads(upstream.bodies[-1])["tools"] == [{**SEARCH, "max_uses": 5}]
    line = LedgerEntry.objects.get()
    assert (line.cost_nano, line.basis, line.provider_tool_calls) == (TOKENS_NANO + calls * FEE, basis, calls)


def test_B06_C28_calls_no_provider_can_mean_count_as_often_as_they_were_allowed(
    start: Callable[..., LiveGateway], upstream: FakeProvider
) -> None:
    gateway = start("anthropic", FEE)
    says(upstream, message(server_tool_use={"web_search_requests": 10**30}))
    _, path, body, _ = MESSAGES
    assert ask(gateway, path, body).status_code == 200
    line = LedgerEntry.objects.get()
    assert (line.cost_nano, line.basis, line.provider_tool_calls) == (TOKENS_NANO + 5 * FEE, "estimated", 5)
    assert "not believed" in line.note


def test_B06_counts_no_provider_can_mean_are_unknown_and_the_whole_hold_is_booked(
    start: Callable[..., LiveGateway], upstream: FakeProvider
) -> None:
    gateway = start("anthropic", FEE)
    says(upstream, message(input_tokens=10**30))
    _, path, body, _ = MESSAGES
    assert ask(gateway, path, body).status_code == 200
    line, attempt = LedgerEntry.objects.get(), Attempt.objects.get()
    assert (line.cost_nano, line.basis, attempt.status) == (attempt.hold_nano, "estimated", "estimated")
    assert (line.input_tokens, line.provider_tool_calls, line.output_tokens) == (None, None, 5)


def test_a_stream_counts_calls_even_where_its_last_event_lists_none(start: Callable[..., LiveGateway], upstream: FakeProvider) -> None:
    gateway = start("openai", FEE)
    told = [
        ("response.output_item.done", {"output_index": 0, "item": SEARCHED}),
        ("response.output_text.delta", {"delta": "Hello", "item_id": "m", "output_index": 1, "content_index": 0}),
        ("response.completed", {"response": {**response(), "output": []}}),
    ]
    frames = [f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n" for kind, fields in told]
    upstream.script.headers, upstream.script.body = {"Content-Type": "text/event-stream"}, "".join(frames).encode()
    _, path, body, _ = RESPONSES
    assert ask(gateway, path, body, stream=True).status_code == 200
    line = LedgerEntry.objects.get()
    assert (line.cost_nano, line.basis, line.provider_tool_calls) == (TOKENS_NANO + FEE, "measured", 1)


def test_a_stream_that_breaks_off_is_booked_at_all_its_fees(start: Callable[..., LiveGateway], upstream: FakeProvider) -> None:
    gateway = start("openai", FEE)
    frame = {"type": "response.output_text.delta", "delta": "Hello", "item_id": "m", "output_index": 1, "content_index": 0}
    upstream.script.headers = {"Content-Type": "text/event-stream"}
    upstream.script.body = f"event: response.output_text.delta\ndata: {json.dumps(frame)}\n\n".encode()
    _, path, body, _ = RESPONSES
    assert b"upstream_truncated" in ask(gateway, path, body, stream=True).content
    line = LedgerEntry.objects.get()
    assert (line.cost_nano, line.basis) == (Attempt.objects.get().hold_nano, "estimated")
