"""The simulator's models and prices, as data.

Prices are integer nano-dollars per million tokens: ``0.15 USD/Mtok == 150_000_000``.
"""

from __future__ import annotations

from dataclasses import dataclass

from providers.upstream.types import Capability

_EVERYTHING = frozenset(
    {Capability.CHAT, Capability.STREAM, Capability.TOOLS, Capability.VISION, Capability.JSON_MODE, Capability.JSON_SCHEMA}
)


@dataclass(frozen=True, slots=True)
class SimulatedModel:
    """One model. A price of ``None`` falls back: cache read to input, reasoning to output.

    ``reasons`` models think before they answer; ``caches`` models report half of the input as read from a cache.
    """

    name: str
    display_name: str
    input_nano_per_mtok: int
    output_nano_per_mtok: int
    cache_read_nano_per_mtok: int | None = None
    reasoning_nano_per_mtok: int | None = None
    context_window_tokens: int = 128_000
    max_output_tokens: int = 16_384
    capabilities: frozenset[Capability] = _EVERYTHING
    reasons: bool = False
    caches: bool = False


MODELS: tuple[SimulatedModel, ...] = (
    SimulatedModel("sim-small", "Simulator Small", 150_000_000, 600_000_000),
    SimulatedModel("sim-large", "Simulator Large", 2_500_000_000, 10_000_000_000, context_window_tokens=400_000, max_output_tokens=32_768),
    SimulatedModel(
        "sim-reasoner",
        "Simulator Reasoner",
        1_100_000_000,
        4_400_000_000,
        reasoning_nano_per_mtok=3_300_000_000,
        context_window_tokens=200_000,
        max_output_tokens=65_536,
        capabilities=_EVERYTHING | {Capability.REASONING},
        reasons=True,
    ),
    # Half a nano-dollar per cached token, so that the single rounding of a line is visible.
    SimulatedModel("sim-cached", "Simulator Cached", 300_000_000, 1_200_000_000, cache_read_nano_per_mtok=37_500_000, caches=True),
    SimulatedModel(
        "sim-claude",
        "Simulator Claude",
        3_000_000_000,
        15_000_000_000,
        cache_read_nano_per_mtok=300_000_000,
        context_window_tokens=200_000,
        max_output_tokens=64_000,
    ),
)

MODELS_BY_NAME: dict[str, SimulatedModel] = {model.name: model for model in MODELS}
"""Every model answers on every endpoint; ``sim-claude`` is meant for the Anthropic one."""
