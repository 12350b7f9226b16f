"""Price cards: typed, imported, proposed and decided."""

from __future__ import annotations

from providers.prices.actions import import_prices
from providers.prices.importing import known_models
from providers.prices.serializers import PriceSerializer

__all__ = ["PriceSerializer", "import_prices", "known_models"]
