"""One running gateway with every upstream format behind it, and how a call through it is checked to the nano-dollar."""

from __future__ import annotations

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
WIRES = ("openai", "anthropic", "gemini", "ollama", "cohere", "huggingface_endpoint")
"""One kind of provider for each wire format."""
FLAVOURS = (
    *("azure", "gemini_openai", "mistral", "deepseek", "groq", "openrouter", "xai", "vllm", "llamacpp", "huggingface", "perplexity"),
    "transformers",
)
"""What speaks OpenAI's chat completions in its own way: kinds of providers, and a server that has no kind of its own."""
UPSTREAMS = WIRES + FLAVOURS
BREAKING_DOWN = ("openai", "anthropic", "gemini")
"""The wire formats that tell cached and reasoning tokens apart from the others."""
TOOLED = tuple(kind for kind in UPSTREAMS if kind not in ("huggingface_endpoint", "perplexity"))
"""Text generation and Perplexity know no tools."""
SCHEMED = tuple(kind for kind in UPSTREAMS if kind != "deepseek")
"""DeepSeek has JSON mode, but takes no schema."""
RUNNING_TOTALS = ("xai", "perplexity")
"""Each chunk of their streams tells the usage so far and reaches OpenAI's clients byte for byte, so a client that adds up
what the chunks tell (LangChain) counts too much; it does the same without a gateway in between."""
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
    known_answers: dict[str, str] = field(default_factory=dict)

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
        self.simulator.ask("DELETE", "/_sim/bill")
        posted = last_entry()
        answer = call()
        [billed] = self.simulator.bill(1)
        return answer, Spent(billed, entry_after(posted))

    def said(self, prompt: str) -> str:
        """What the simulator answers to this prompt, whatever the wire format."""
        if prompt not in self.known_answers:
            body = {"model": "sim-small", "messages": [{"role": "user", "content": prompt}]}
            answer = self.simulator.ask("POST", "/v1/chat/completions", body)
            self.known_answers[prompt] = answer["choices"][0]["message"]["content"]
        return self.known_answers[prompt]


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
        row = kind if kind in KINDS else "openai_compatible"
        provider = Provider(slug=kind, label=kind, kind=row, base_url=base_url_for(kind, port), allow_private=True)
        actions.create_provider(provider, SYSTEM, Secret(f"upstream-key-of-{kind}"))
        for name in ("sim-small", "sim-cached", "sim-reasoner"):
            _add_model(provider, MODELS_BY_NAME[name])
    ConfigVersion.bump()


def _add_model(provider: Provider, model: SimulatedModel) -> None:
    capabilities = set(KINDS[provider.kind].default_capabilities) | {Capability.COUNT_TOKENS, Capability.EMBEDDINGS, Capability.REASONING}
    if provider.slug in TOOLED:
        capabilities |= {Capability.TOOLS, Capability.JSON_MODE}
    if provider.slug in SCHEMED:
        capabilities.add(Capability.JSON_SCHEMA)
    if provider.slug in SEEING:
        capabilities.add(Capability.VISION)
    deployment = Deployment.objects.create(
        provider=provider,
        name=named(provider.slug, model.name),
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
