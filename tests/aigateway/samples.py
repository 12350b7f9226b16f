"""Small, valid values for tests of the composition root."""

from __future__ import annotations

from typing import Any

from aigateway.dialects.base import Explanation
from providers.upstream.types import (
    AuthStyle,
    Capability,
    HealthStatus,
    Plan,
    Policy,
    PriceCard,
    ProviderSpec,
    Target,
    Timeouts,
    TokenUsage,
    Wire,
)


def provider(**changes: Any) -> ProviderSpec:
    fields: dict[str, Any] = {
        "id": 1,
        "slug": "acme",
        "label": "Acme",
        "kind": "openai_compatible",
        "adapter": Wire.OPENAI_CHAT,
        "base_url": "http://127.0.0.1:9/v1",
        "auth_style": AuthStyle.BEARER,
        "credentials": (),
        "needs_credential": False,
        "timeouts": Timeouts(),
        "allow_private": True,
        "max_connections": 10,
        "priority": 100,
        "weight": 1,
        "health": HealthStatus.GREEN,
    }
    return ProviderSpec(**{**fields, **changes})


def target(*, adapter: Wire = Wire.OPENAI_CHAT, **changes: Any) -> Target:
    fields: dict[str, Any] = {
        "id": 1,
        "name": "m",
        "upstream_model": "m-2026",
        "provider": provider(adapter=adapter),
        "capabilities": frozenset(Capability),
        "max_output_tokens": 100,
        "price": PriceCard(id=1, input_nano_per_mtok=1_000_000_000, output_nano_per_mtok=2_000_000_000),
    }
    return Target(**{**fields, **changes})


def explanation(**changes: Any) -> Explanation:
    fields: dict[str, Any] = {
        "request_id": "req_1",
        "target": target(),
        "plan": Plan((target(),), (), Policy.PRIORITY, "by priority"),
        "attempts": (),
        "cost_nano": 1_500,
        "cost_measured": True,
        "usage": TokenUsage(input_tokens=3, output_tokens=4),
        "context": "default",
    }
    return Explanation(**{**fields, **changes})
