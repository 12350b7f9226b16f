"""Rows that load runs need beside the seeded ones. Import after ``django.setup()``."""

from __future__ import annotations

from providers import actions
from providers.audit import SYSTEM
from providers.models import Deployment, Price, Provider
from providers.prices import actions as price_actions
from providers.simulator.catalogue import MODELS_BY_NAME
from providers.upstream.types import Secret
from tests.load.client import TRANSLATED_MODEL


def add_model(provider: Provider, name: str, input_nano_per_mtok: int, output_nano_per_mtok: int) -> None:
    row = Deployment(provider=provider, name=name, upstream_model=name, capabilities=["chat", "stream", "tools", "vision"])
    deployment = actions.save_deployment(row, SYSTEM)
    price = Price(
        deployment=deployment, input_nano_per_mtok=input_nano_per_mtok, output_nano_per_mtok=output_nano_per_mtok, source="the simulator"
    )
    price_actions.set_price(price, SYSTEM)


def speak_anthropic(simulator_url: str) -> None:
    """``TRANSLATED_MODEL`` is answered in Anthropic's wire format instead of OpenAI's."""
    model = MODELS_BY_NAME[TRANSLATED_MODEL]
    seeded = Deployment.objects.filter(name=model.name).values_list("pk", flat=True)
    actions.toggle_deployments(list(seeded), False, SYSTEM)
    claude = Provider(slug="claude", label="Claude", kind="anthropic", base_url=f"{simulator_url}/v1", allow_private=True)
    actions.create_provider(claude, SYSTEM, Secret("sk-simulated"))
    add_model(claude, model.name, model.input_nano_per_mtok, model.output_nano_per_mtok)
