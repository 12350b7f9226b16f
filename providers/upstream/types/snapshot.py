"""The configuration snapshot routing reads, and what routing is asked and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from providers.upstream.types.chat import Capability, Wire
from providers.upstream.types.names import NameList
from providers.upstream.types.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Prices in nano-dollars per million tokens (``2.50 USD/Mtok == 2_500_000_000``).

    A bucket whose price is ``None`` falls back: cache buckets, audio and image input to ``input``, reasoning and audio output to
    ``output``.
    """

    input_nano_per_mtok: int
    output_nano_per_mtok: int
    cache_read_nano_per_mtok: int | None = None
    cache_write_nano_per_mtok: int | None = None
    cache_write_1h_nano_per_mtok: int | None = None
    reasoning_nano_per_mtok: int | None = None
    audio_input_nano_per_mtok: int | None = None
    audio_output_nano_per_mtok: int | None = None
    image_input_nano_per_mtok: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextTier(Rates):
    """Rates of a whole call whose input is longer than ``above_input_tokens``, all input buckets together."""

    above_input_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceWindow(Rates):
    """Rates from ``start`` to ``end`` (``HH:MM``, end not included, past midnight where end is not after start) in ``zone``."""

    start: str
    end: str
    zone: str = "UTC"
    context_tiers: tuple[ContextTier, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceCard(Rates):
    """The prices of one deployment. ``id`` is the ``providers.Price`` row; ``request_nano`` is added once per call.

    ``windows`` are resolved, and empty, in the card that is fixed at dispatch. ``discount_ppm`` millionths are taken off
    everything. ``tool_call_nano`` is added for each call of a tool the provider runs itself; ``None``: unknown, so requests for such
    tools are refused. ``is_ceiling``: the true price is unknown and ``request_nano`` is what an administrator lets a call be booked at.
    """

    id: int
    request_nano: int = 0
    tool_call_nano: int | None = None
    context_tiers: tuple[ContextTier, ...] = ()
    windows: tuple[PriceWindow, ...] = ()
    discount_ppm: int = 0
    is_ceiling: bool = False


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Deadlines of one provider in seconds (faults.md, "Deadlines"); ``total_s`` covers one attempt."""

    connect_s: float = 2.0
    first_byte_s: float = 30.0
    idle_s: float = 60.0
    total_s: float = 600.0


@dataclass(frozen=True, slots=True)
class CredentialRef:
    """A decrypted provider key on its way to a header. ``id`` is the ``providers.Credential`` row."""

    id: str
    secret: Secret


class HealthStatus(StrEnum):
    """Green answers, yellow answers badly, red does not answer, unknown was never checked."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"
    UNKNOWN = "unknown"


class AuthStyle(StrEnum):
    """How a provider wants its key: in which header."""

    BEARER = "bearer"
    X_API_KEY = "x_api_key"
    API_KEY = "api_key"
    X_GOOG_API_KEY = "x_goog_api_key"
    NONE = "none"


class DisconnectPolicy(StrEnum):
    """What happens upstream when the client leaves: ``close`` stops generation, ``drain`` reads to the usage."""

    CLOSE = "close"
    DRAIN = "drain"


@dataclass(frozen=True, slots=True)
class Preset:
    """A managed preset: what its operator fixed for every call, and the tier a caller must have subscribed to.

    ``system_prompt`` goes before the caller's own messages; ``temperature`` is that of a caller who names none.
    """

    system_prompt: str = ""
    temperature: float | None = None
    required_tier: str = ""


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """One account at one service, as the data plane needs it. ``slug`` is its stable public name."""

    id: int
    slug: str
    label: str
    kind: str
    adapter: Wire
    base_url: str
    auth_style: AuthStyle
    credentials: tuple[CredentialRef, ...]
    needs_credential: bool
    timeouts: Timeouts
    allow_private: bool
    max_connections: int
    priority: int
    weight: int
    health: HealthStatus
    disconnect_policy: DisconnectPolicy = DisconnectPolicy.CLOSE
    extra_headers: Mapping[str, str] = field(default_factory=dict)
    also_speaks: Mapping[Wire, str] = field(default_factory=dict)
    """Further wire formats the service answers, each with the path prefix below ``base_url``: a client of one of them is
    served without translation."""
    preset: Preset | None = None
    ca_bundle: str = ""
    """PEM text of the authorities this service's certificate must come from; empty: the public ones."""
    hop: str = ""
    """How this gateway signs requests to it, so that it knows them when they come back; empty for services that cannot be a gateway."""
    credential_locked: bool = False
    """A stored key could not be decrypted and is missing from ``credentials``: the key ring lacks its key."""


@dataclass(frozen=True, slots=True)
class Target:
    """A deployment (one upstream model on one provider) as a choice.

    ``name`` is what clients ask for, ``upstream_model`` what the provider is asked for. ``price`` is ``None`` when nobody
    priced it: such a target is refused for paid use.
    """

    id: int
    name: str
    upstream_model: str
    provider: ProviderSpec
    capabilities: frozenset[Capability]
    max_output_tokens: int
    price: PriceCard | None
    display_name: str = ""
    context_window_tokens: int | None = None
    recommended: bool = False
    address_only: bool = False
    """It does not answer for its bare name, which others have, nor for ``auto``."""

    @property
    def address(self) -> str:
        """The unambiguous public name, ``provider/model``."""
        return f"{self.provider.slug}/{self.name}"

    @property
    def public_name(self) -> str:
        """What clients ask for."""
        return self.address if self.address_only else self.name

    @property
    def names(self) -> tuple[str, ...]:
        """Everything a key may be allowed it by."""
        return (self.address,) if self.address_only else (self.name, self.address)

    def output_cap_tokens(self, requested: int | None) -> int:
        """The output limit sent upstream, and so the most one choice can cost: never above the target's own maximum."""
        return self.max_output_tokens if requested is None else min(requested, self.max_output_tokens)


class Policy(StrEnum):
    """How candidates are ordered. ``preference`` puts the caller's wish first and falls back to ``priority``."""

    PRIORITY = "priority"
    COST = "cost"
    PREFERENCE = "preference"


@dataclass(frozen=True, slots=True)
class RouteChoice:
    """One target of a route; lower ``priority`` is tried first."""

    target_id: int
    priority: int
    weight: int


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """A name clients ask for and the targets behind it. ``policy is None`` uses the global one."""

    name: str
    policy: Policy | None
    choices: tuple[RouteChoice, ...]


@dataclass(frozen=True, slots=True)
class RoutingSettings:
    """Global routing configuration; an admin edits it, ``Snapshot`` carries it."""

    default_policy: Policy = Policy.PREFERENCE
    max_attempts: int = 3
    retries_per_target: int = 2
    retry_base_s: float = 1.0
    deadline_s: float = 600.0
    breaker_failures: int = 5
    breaker_open_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything routing needs, immutable; replaced as a whole when ``version`` moves."""

    version: int
    targets: Mapping[int, Target]
    targets_by_name: Mapping[str, tuple[int, ...]]
    """By public name: bare, or the address of those that have no other."""
    routes: Mapping[str, RouteSpec]
    routing: RoutingSettings = RoutingSettings()


# --------------------------------------------------------------------------- routing


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a caller likes and may have.

    ``model`` is the name asked for; ``auto`` means "by preference". ``provider`` narrows it. ``preferred`` lists
    (provider slug or None, model name) pairs, most wanted first. ``allowed_models is None`` means every model.
    With ``allow_fallback`` false, only the named provider may answer.
    """

    model: str = "auto"
    provider: str | None = None
    preferred: tuple[tuple[str | None, str], ...] = ()
    policy: Policy | None = None
    allowed_models: NameList | None = None
    allow_fallback: bool = True


@dataclass(frozen=True, slots=True)
class Skipped:
    """A target left out of a plan and why: ``reason`` is a stable code, ``detail`` is for people."""

    address: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Ordered targets with the reason for the order, and a reason for every one left out.

    ``wished`` is the address the caller prefers, where a preference counts; ``unmet`` says why it is not the first target.
    """

    targets: tuple[Target, ...]
    skipped: tuple[Skipped, ...]
    policy: Policy
    why: str
    wished: str = ""
    unmet: str = ""
