"""The HTTP that adapters ask for and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from providers.upstream.types.chat import Capability
from providers.upstream.types.snapshot import ContextTier


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What an adapter wants sent. ``path`` is appended to the provider's base URL; headers carry no credential.

    ``degraded`` names the fields of the client's request that were left out because this target has no use for them; the
    client is told in a header.
    """

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete upstream answer. Header names are lower case; ``received_at_s`` is Unix time, for headers that carry dates."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class ListedPrice:
    """What a provider's own list says a model costs; units as in ``PriceCard``. Zero is free, ``None`` is not said."""

    input_nano_per_mtok: int
    output_nano_per_mtok: int
    cache_read_nano_per_mtok: int | None = None
    cache_write_nano_per_mtok: int | None = None
    cache_write_1h_nano_per_mtok: int | None = None
    reasoning_nano_per_mtok: int | None = None
    request_nano: int = 0
    context_tiers: tuple[ContextTier, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelListing:
    """One model a provider says it has.

    ``capabilities`` is what the list says the model can, ``None`` when it says nothing. ``said`` is what the list speaks about at
    all: everything else stays as the catalogue assumes it; ``None`` means that ``capabilities`` is the whole truth.
    """

    name: str
    display_name: str | None = None
    context_window_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[Capability] | None = None
    said: frozenset[Capability] | None = None
    price: ListedPrice | None = None
