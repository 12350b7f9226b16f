"""One running gateway with every upstream format behind it, and how a call through it is checked to the nano-dollar."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from django.db.models import Max

from providers import actions
from providers.audit import SYSTEM
from providers.catalog import KINDS
from providers.models import ConfigVersion, Deployment, Price, Provider
from providers.simulator.catalogue import MODELS_BY_NAME, SimulatedModel
from providers.simulator.routes import base_url_for
from providers.upstream.types import Capability, Secret
from tests.aigateway.clients.base import OfficialClient
from tests.providers.simulator.fixtures import SimulatorHandle
from usage.models import LedgerEntry

T = TypeVar("T")
C = TypeVar("C", bound=OfficialClient)
PATIENCE_S = 10.0
UPSTREAMS = (
    *("openai", "azure", "anthropic", "gemini", "gemini_openai", "mistral", "deepseek", "groq", "openrouter", "xai", "vllm", "llamacpp"),
    *("ollama", "cohere", "huggingface", "huggingface_endpoint", "perplexity"),
)
"""Kinds of providers: each is a wire format or a flavour of one."""
TOOLED = tuple(kind for kind in UPSTREAMS if kind not in ("huggingface_endpoint", "perplexity"))
"""Text generation and Perplexity know no tools."""
SCHEMED = tuple(kind for kind in UPSTREAMS if kind != "deepseek")
"""DeepSeek has JSON mode, but takes no schema."""
RUNNING_TOTALS = ("xai", "perplexity")
"""Each chunk of their streams tells the usage so far, and reaches OpenAI's clients byte for byte."""
SEEING = tuple(kind for kind in UPSTREAMS if kind not in ("deepseek", "huggingface_endpoint"))


def named(kind: str, model: str = "sim-small") -> str:
    """The public name of a simulated model behind a kind of provider."""
    return f"{kind}-{model}"


@dataclass(frozen=True, slots=True)
class Spent:
    """What one call cost: the simulator's bill line and our ledger line."""

    bill: dict[str, Any]
    entry: LedgerEntry


@dataclass(frozen=True, slots=True)
class World:
    """``base_url`` has no path."""

    base_url: str
    key: str
    simulator: SimulatorHandle
    clients: dict[tuple[type[OfficialClient], str], Any] = field(default_factory=dict)

    def client(self, make: type[C], key: str | None = None) -> C:
        """The one client of its kind with this key: each makes a connection pool, litellm a process."""
        key = key or self.key
        if (make, key) not in self.clients:
            self.clients[make, key] = make(self.base_url, key)
        return self.clients[make, key]

    def metered(self, call: Callable[[], T]) -> tuple[T, Spent]:
        """Makes one call; exactly one line on the bill and one on the ledger must follow, over the same amount."""
        answer, spent = self.recorded(call)
        assert spent.entry.cost_nano == spent.bill["cost_nano"], f"ledger {spent.entry.usage}, bill {spent.bill}"
        assert spent.entry.basis == LedgerEntry.Basis.MEASURED
        return answer, spent

    def recorded(self, call: Callable[[], T]) -> tuple[T, Spent]:
        """Makes one call; exactly one line on the bill and one on the ledger must follow."""
        before, posted = len(self.simulator.bill()), last_entry()
        answer = call()
        [billed] = self.simulator.bill(before + 1)[before:]
        return answer, Spent(billed, entry_after(posted))

    def said(self, prompt: str, **fields: Any) -> str:
        """What the simulator answers to this prompt, whatever the wire format."""
        address = urlsplit(self.simulator.origin)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE_S)
        body = {"model": "sim-small", "messages": [{"role": "user", "content": prompt}], **fields}
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body))
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return answer["choices"][0]["message"]["content"]


def last_entry() -> int:
    return LedgerEntry.objects.aggregate(last=Max("id"))["last"] or 0


def entry_after(number: int) -> LedgerEntry:
    """The one ledger line after this id. A client may hear the last event of a stream before the line is written."""
    until, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while time.monotonic() < until:
        found = list(LedgerEntry.objects.filter(id__gt=number))
        if found:
            assert len(found) == 1, found
            return found[0]
        pause.wait(0.005)
    raise AssertionError("no line on the ledger")


def register_every_kind(simulator: SimulatorHandle) -> None:
    port = urlsplit(simulator.origin).port or 0
    for kind in UPSTREAMS:
        provider = Provider(slug=kind, label=kind, kind=kind, base_url=base_url_for(kind, port), allow_private=True)
        actions.create_provider(provider, SYSTEM, Secret(f"upstream-key-of-{kind}"))
        for name in ("sim-small", "sim-cached", "sim-reasoner"):
            _add_model(provider, MODELS_BY_NAME[name])
    ConfigVersion.bump()


def _add_model(provider: Provider, model: SimulatedModel) -> None:
    capabilities = set(KINDS[provider.kind].default_capabilities) | {Capability.COUNT_TOKENS, Capability.EMBEDDINGS, Capability.REASONING}
    if provider.kind in TOOLED:
        capabilities |= {Capability.TOOLS, Capability.JSON_MODE}
    if provider.kind in SCHEMED:
        capabilities.add(Capability.JSON_SCHEMA)
    if provider.kind in SEEING:
        capabilities.add(Capability.VISION)
    deployment = Deployment.objects.create(
        provider=provider,
        name=named(provider.kind, model.name),
        upstream_model=model.name,
        capabilities=sorted(capabilities),
        max_output_tokens=model.max_output_tokens,
        context_window_tokens=model.context_window_tokens,
    )
    Price.objects.create(
        deployment=deployment,
        input_nano_per_mtok=model.input_nano_per_mtok,
        output_nano_per_mtok=model.output_nano_per_mtok,
        cache_read_nano_per_mtok=model.cache_read_nano_per_mtok,
        reasoning_nano_per_mtok=model.reasoning_nano_per_mtok,
        source="test",
    )
