"""Builds the immutable snapshot of everything routing needs and tells what changed since a version."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

from django.db.models import Min, OuterRef, Prefetch, QuerySet, Subquery

from providers import clock, secrets
from providers.catalog import KINDS, ProviderKind
from providers.models import (
    ConfigChange,
    ConfigVersion,
    Credential,
    Deployment,
    ManagedPreset,
    Price,
    Provider,
    Route,
    RouteTarget,
    RoutingConfiguration,
)
from providers.own_services import own_hop
from providers.upstream.egress import origin_of
from providers.upstream.errors import CredentialLocked, EgressDenied
from providers.upstream.types import (
    Capability,
    CredentialRef,
    DisconnectPolicy,
    HealthStatus,
    Policy,
    Preset,
    PriceCard,
    ProviderSpec,
    RouteChoice,
    RouteSpec,
    RoutingSettings,
    Secret,
    Snapshot,
    Target,
    Timeouts,
)

EVERYTHING = "all"
"""The subject of a change whose own subject is no longer known: drop every cache."""

USABLE_STATES = (Credential.State.ACTIVE, Credential.State.DRAINING)
_CAPABILITIES = frozenset(Capability)


# --------------------------------------------------------------------------- one row each


def kind_of(provider: Provider) -> ProviderKind:
    """The catalogue row; a kind that left the catalogue is treated as an OpenAI-compatible server."""
    return KINDS.get(provider.kind) or KINDS["openai_compatible"]


def provider_spec(provider: Provider) -> ProviderSpec:
    """The data plane's view of a provider, keys decrypted for the very address that is in it. Keys that cannot be opened, or not for
    this address, are left out and marked.

    Reads ``provider.credentials``; prefetch it when there are many providers.
    """
    preset = _preset(provider)
    kind = KINDS.get(preset.upstream_kind, kind_of(provider)) if preset else kind_of(provider)
    base_url = kind.root_of(provider.base_url)
    credentials, locked = _opened(provider.credentials.all(), base_url)
    return ProviderSpec(
        id=provider.pk,
        slug=provider.slug,
        label=provider.label,
        kind=kind.slug,
        adapter=kind.adapter,
        also_speaks=kind.also_speaks_at(provider.base_url),
        base_url=base_url,
        auth_style=kind.auth_style,
        credentials=credentials,
        needs_credential=kind.needs_credential,
        timeouts=Timeouts(
            connect_s=provider.connect_timeout_s,
            first_byte_s=provider.first_byte_timeout_s,
            idle_s=provider.idle_timeout_s,
            total_s=provider.total_timeout_s,
        ),
        allow_private=provider.allow_private,
        max_connections=provider.max_connections,
        priority=provider.priority,
        weight=provider.weight,
        health=HealthStatus(provider.health),
        disconnect_policy=DisconnectPolicy(provider.disconnect_policy),
        ca_bundle=provider.ca_bundle,
        hop="" if _is_well_known(kind, base_url) else own_hop(),
        preset=Preset(preset.system_prompt, preset.temperature, preset.required_tier) if preset else None,
        credential_locked=locked,
    )


def _is_well_known(kind: ProviderKind, base_url: str) -> bool:
    """At the public address of its kind there is that service, and no gateway."""
    try:
        return bool(kind.base_url) and not kind.allow_private and origin_of(base_url) == origin_of(kind.base_url)
    except EgressDenied:
        return False


def _preset(provider: Provider) -> ManagedPreset | None:
    try:
        return provider.preset
    except ManagedPreset.DoesNotExist:
        return None


def _opened(credentials: Iterable[Credential], base_url: str) -> tuple[tuple[CredentialRef, ...], bool]:
    opened: list[CredentialRef] = []
    locked = False
    for credential in sorted(credentials, key=lambda row: (row.state != Credential.State.ACTIVE, row.position, row.created_at)):
        if credential.state not in USABLE_STATES:
            continue
        try:
            opened.append(CredentialRef(str(credential.pk), _open_for(credential, base_url)))
        except CredentialLocked:
            locked = True
    return tuple(opened), locked


def locked_credentials() -> tuple[str, ...]:
    """Slugs of the live providers with a usable key that cannot be opened for their address (I19)."""
    locked: set[str] = set()
    for credential in Credential.objects.filter(state__in=USABLE_STATES, provider__deleted_at=None).select_related("provider"):
        try:
            open_credential(credential)
        except CredentialLocked:
            locked.add(credential.provider.slug)
    return tuple(sorted(locked))


def open_credential(credential: Credential) -> Secret:
    """The key in clear, on its way to a header. Raises ``CredentialLocked``, also when its provider is no longer where it was."""
    return _open_for(credential, kind_of(credential.provider).root_of(credential.provider.base_url))


def _open_for(credential: Credential, base_url: str) -> Secret:
    """The key for the address that is dialled. What the row says of its own origin does not count."""
    try:
        origin = origin_of(base_url)
    except EgressDenied as error:
        raise CredentialLocked("the provider has no address a key could be sent to") from error
    return secrets.open_sealed(credential.sealed_secret, secrets.context_of(Credential, credential.pk, "sealed_secret", origin))


def _card_of(deployment: Deployment, price: Price | None) -> PriceCard | None:
    """Its price; without one, the ceiling an administrator set; else ``None``: paid use is refused."""
    if price is not None:
        return price.card(deployment.provider.discount_ppm)
    if deployment.unpriced_ceiling_nano is None:
        return None
    return PriceCard(id=0, input_nano_per_mtok=0, output_nano_per_mtok=0, request_nano=deployment.unpriced_ceiling_nano, is_ceiling=True)


def capabilities_of(deployment: Deployment) -> frozenset[Capability]:
    """What routing may rely on: what is declared or was verified, without what a conformance run refuted."""
    names = ({*deployment.capabilities, *deployment.verified_capabilities} - {*deployment.refuted_capabilities}) & _CAPABILITIES
    return frozenset(Capability(name) for name in names)


def deployment_target(deployment: Deployment, provider: ProviderSpec, price: Price | None) -> Target:
    return Target(
        id=deployment.pk,
        name=deployment.name,
        upstream_model=deployment.upstream_model,
        provider=provider,
        capabilities=capabilities_of(deployment),
        max_output_tokens=deployment.max_output_tokens,
        price=_card_of(deployment, price),
        display_name=deployment.display_name or deployment.name,
        context_window_tokens=deployment.context_window_tokens,
        recommended=deployment.recommended,
        address_only=deployment.address_only,
    )


# --------------------------------------------------------------------------- queries other modules share


def live_providers() -> QuerySet[Provider]:
    """Enabled providers that nobody deleted."""
    return Provider.objects.filter(enabled=True, deleted_at=None)


def live_deployments() -> QuerySet[Deployment]:
    """Enabled models on live providers."""
    return Deployment.objects.filter(enabled=True, provider__enabled=True, provider__deleted_at=None)


def current_prices(deployments: QuerySet[Deployment], now: datetime | None = None) -> dict[int, Price]:
    """The price in force by deployment id: the newest ``valid_from`` that is not in the future. Unpriced ones are absent."""
    newest = Price.objects.filter(deployment=OuterRef("pk"), valid_from__lte=now or clock.database_now()).order_by("-valid_from", "-pk")
    price_ids = deployments.order_by().values_list(Subquery(newest.values("pk")[:1]), flat=True)
    return {price.deployment_id: price for price in Price.objects.filter(pk__in=price_ids)}


def current_price_fields(deployments: QuerySet[Deployment]) -> QuerySet[Deployment]:
    """Annotates ``price_input`` and ``price_output`` (nano-dollars per million tokens, null when unpriced), for lists."""
    newest = Price.objects.filter(deployment=OuterRef("pk"), valid_from__lte=clock.database_now()).order_by("-valid_from", "-pk")
    return deployments.annotate(
        price_input=Subquery(newest.values("input_nano_per_mtok")[:1]),
        price_output=Subquery(newest.values("output_nano_per_mtok")[:1]),
    )


# --------------------------------------------------------------------------- the snapshot


def build_snapshot() -> Snapshot:
    """Reads everything in seven queries. The version is read first, so the content is at least as new as it says."""
    version = ConfigVersion.current()
    specs = {row.pk: provider_spec(row) for row in live_providers().select_related("preset").prefetch_related("credentials")}
    deployments = live_deployments()
    prices = current_prices(deployments)
    targets = {
        row.pk: deployment_target(row, specs[row.provider_id], prices.get(row.pk))
        for row in deployments.select_related("provider")
        if row.provider_id in specs
    }
    return Snapshot(
        version=version,
        targets=targets,
        targets_by_name=_by_name(targets),
        routes=_routes(targets),
        routing=_routing_settings(RoutingConfiguration.objects.filter(pk=1).first()),
    )


def _by_name(targets: Mapping[int, Target]) -> dict[str, tuple[int, ...]]:
    names: dict[str, list[int]] = defaultdict(list)
    for target in sorted(targets.values(), key=lambda target: (target.provider.priority, target.provider.slug, target.id)):
        names[target.public_name].append(target.id)
    return {name: tuple(ids) for name, ids in names.items()}


def _routes(targets: Mapping[int, Target]) -> dict[str, RouteSpec]:
    choices = RouteTarget.objects.order_by("priority", "pk")
    return {
        route.name: RouteSpec(
            name=route.name,
            policy=Policy(route.policy) if route.policy else None,
            choices=tuple(
                RouteChoice(choice.deployment_id, choice.priority, choice.weight)
                for choice in route.choices.all()
                if choice.deployment_id in targets
            ),
        )
        for route in Route.objects.filter(enabled=True).prefetch_related(Prefetch("choices", choices))
    }


def _routing_settings(row: RoutingConfiguration | None) -> RoutingSettings:
    if row is None:
        return RoutingSettings()
    return RoutingSettings(
        default_policy=Policy(row.default_policy),
        max_attempts=row.max_attempts,
        retries_per_target=row.retries_per_target,
        retry_base_s=row.retry_base_s,
        deadline_s=row.deadline_s,
        breaker_failures=row.breaker_failures,
        breaker_open_s=row.breaker_open_s,
    )


def changes_since(version: int) -> tuple[int, tuple[str, ...]]:
    """The current version and the subjects that moved after ``version``, each once.

    Contains ``EVERYTHING`` when changes in between were already swept.
    """
    changes = list(ConfigChange.objects.filter(version__gt=version).order_by("version").values_list("version", "subject"))
    current = changes[-1][0] if changes else ConfigVersion.current()
    subjects = dict.fromkeys(subject for _, subject in changes)
    if len(changes) < current - version:
        subjects[EVERYTHING] = None
    return current, tuple(subjects)


class SnapshotHolder:
    """The snapshot of this process. ``current`` never blocks; ``refresh`` is for a thread that may."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current = Snapshot(version=-1, targets={}, targets_by_name={}, routes={})
        self._due_at: datetime | None = None

    @property
    def current(self) -> Snapshot:
        return self._current

    @property
    def due_at(self) -> datetime | None:
        """When a price already stored comes into force: refresh then, although the version stays."""
        return self._due_at

    def refresh(self) -> Snapshot:
        """Rebuilds when the version moved or a price came into force. Parallel callers share one rebuild."""
        with self._lock:
            now = clock.database_now()
            is_due = self._due_at is not None and self._due_at <= now
            if is_due or self._current.version != ConfigVersion.current():
                due_at: datetime | None = Price.objects.filter(valid_from__gt=now).aggregate(first=Min("valid_from"))["first"]
                self._current = build_snapshot()
                self._due_at = due_at
            return self._current
