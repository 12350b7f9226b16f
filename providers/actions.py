"""Every write to the configuration that has a rule. Admin, API, commands and tasks call these and nothing else.

Each action owns its transaction, bumps the configuration version and leaves an audit entry naming the actor. Refusals are
``django.core.exceptions.ValidationError`` with the field's name. Nothing here touches the network: listings are fetched
first and handed in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.text import slugify

from providers import presets, prices, secrets
from providers.addresses import check_base_url
from providers.audit import SUPERUSERS_ONLY, Actor, changing
from providers.catalog import KINDS, ProviderKind, lists_chat, lists_embeddings
from providers.models import Credential, Deployment, Provider, Route, RouteTarget, RoutingConfiguration
from providers.registry import current_prices, kind_of
from providers.upstream.tls import CaBundleInvalid, trust_context
from providers.upstream.types import Capability, ModelListing, Secret, Timeouts

DEFAULT_MAX_OUTPUT_TOKENS = 4096
SECRET_CHARS_MAX = 4096
RESERVED_NAMES = ("auto",)
_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")


def _refuse(field: str, message: str) -> ValidationError:
    return ValidationError({field: [message]})


# --------------------------------------------------------------------------- providers


def create_provider(provider: Provider, actor: Actor, secret: Secret | None = None) -> Provider:
    """Saves a new provider, with its key if there is one. An empty slug, base URL or label is filled from the kind."""
    prepare_new(provider, actor, secret)
    with changing(actor):
        provider.save(force_insert=True)
        kind = kind_of(provider)
        if kind.preset is not None:
            presets.make_preset(provider, kind, kind.preset)
            prices.import_prices(provider, kind)
        if secret is not None:
            _store_secret(provider, secret, actor)
    return provider


def prepare_new(provider: Provider, actor: Actor, secret: Secret | None = None) -> None:
    """Fills and checks a provider that is to be created, without saving it. A form calls it to show errors in place."""
    kind = KINDS.get(provider.kind)
    if kind is None:
        raise _refuse("kind", f"There is no kind '{provider.kind[:40]}'. Kinds: {', '.join(KINDS)}.")
    _fill_from_kind(provider, kind)
    if not provider.base_url:
        provider.base_url, provider.allow_private = kind.base_url, kind.allow_private or provider.allow_private
    elif not actor.is_superuser and kind.root_of(provider.base_url.rstrip("/")) != kind.base_url:
        raise _refuse("base_url", SUPERUSERS_ONLY)
    _check_address(provider, actor)
    _check_slug(provider)
    provider.full_clean()
    if secret is not None:
        check_secret(secret, actor)


def update_provider(provider: Provider, actor: Actor) -> Provider:
    """Saves changed fields of an existing provider. Kind, address and private access are a superuser's."""
    prepare_update(provider, actor)
    with changing(actor):
        provider.save(update_fields=[*PROVIDER_FIELDS, "updated_at"])
    return provider


def prepare_update(provider: Provider, actor: Actor) -> None:
    """Checks a changed provider without saving it."""
    before = Provider.objects.get(pk=provider.pk, deleted_at=None)
    for field in ("kind", "base_url", "allow_private", "ca_bundle"):
        if getattr(before, field) != getattr(provider, field) and not actor.is_superuser:
            raise _refuse(field, SUPERUSERS_ONLY)
    if provider.kind not in KINDS:
        raise _refuse("kind", f"There is no kind '{provider.kind[:40]}'.")
    if any(getattr(before, field) != getattr(provider, field) for field in ("base_url", "allow_private", "ca_bundle")):
        _check_address(provider, actor)
    _check_slug(provider)
    provider.full_clean()


def _fill_from_kind(provider: Provider, kind: ProviderKind) -> None:
    """Name and time limits that nobody chose."""
    provider.label = provider.label.strip() or kind.label
    provider.slug = provider.slug or _free_slug(provider.label)
    ordinary = Timeouts()
    for name in ("connect", "first_byte", "idle", "total"):
        if getattr(provider, f"{name}_timeout_s") == getattr(ordinary, f"{name}_s"):
            setattr(provider, f"{name}_timeout_s", getattr(kind.timeouts, f"{name}_s"))


PROVIDER_FIELDS = (
    "slug", "label", "kind", "base_url", "enabled", "priority", "weight", "allow_private", "ca_bundle", "disconnect_policy",
    "connect_timeout_s", "first_byte_timeout_s", "idle_timeout_s", "total_timeout_s", "max_connections", "discount_ppm",
)  # fmt: skip
"""What an administrator decides about a provider; the rest of the row is observed."""


def toggle_provider(provider_id: int, enabled: bool, actor: Actor) -> Provider:
    """Takes a provider into or out of service at once."""
    with changing(actor):
        provider = Provider.objects.select_for_update().get(pk=provider_id, deleted_at=None)
        provider.enabled = enabled
        provider.save(update_fields=["enabled", "updated_at"])
    return provider


def delete_provider(provider_id: int, actor: Actor) -> None:
    """Retires a provider: the row stays for the ledger, its keys are destroyed."""
    with changing(actor):
        provider = Provider.objects.select_for_update().get(pk=provider_id, deleted_at=None)
        for credential in provider.credentials.all():
            credential.delete()
        provider.enabled = False
        provider.deleted_at = timezone.now()
        provider.save(update_fields=["enabled", "deleted_at", "updated_at"])


def _check_address(provider: Provider, actor: Actor) -> None:
    if provider.ca_bundle:
        _check_ca_bundle(provider.ca_bundle, actor)
    address = check_base_url(provider.base_url, allow_private=provider.allow_private, is_superuser=actor.is_superuser)
    provider.base_url, provider.allow_private = address.url, address.allow_private


def _check_ca_bundle(ca_bundle: str, actor: Actor) -> None:
    if not actor.is_superuser:
        raise _refuse("ca_bundle", SUPERUSERS_ONLY)
    try:
        trust_context(ca_bundle)
    except CaBundleInvalid as error:
        raise _refuse("ca_bundle", f"Paste certificates of an authority as PEM text: {error}.") from error


def _check_slug(provider: Provider) -> None:
    """Among providers that are in use: the name of a deleted one is free, for the ledger keeps its own copy (C05)."""
    if Provider.objects.filter(slug=provider.slug, deleted_at=None).exclude(pk=provider.pk).exists():
        raise _refuse("slug", "A provider with this slug exists already.")


def _free_slug(wish: str) -> str:
    base = slugify(wish)[:45] or "provider"
    taken = set(Provider.objects.filter(slug__startswith=base, deleted_at=None).values_list("slug", flat=True))
    return next(slug for slug in (base, *(f"{base}-{number}" for number in range(2, len(taken) + 3))) if slug not in taken)


# --------------------------------------------------------------------------- credentials


def set_credential(provider_id: int, secret: Secret, actor: Actor) -> Credential:
    """Replaces the provider's keys by this one. Calls already on their way finish with the old key."""
    with changing(actor):
        provider = Provider.objects.select_for_update().get(pk=provider_id, deleted_at=None)
        return _store_secret(provider, secret, actor)


def delete_credential(provider_id: int, actor: Actor) -> None:
    """Destroys every key of the provider."""
    if not actor.is_superuser:
        raise _refuse("api_key", SUPERUSERS_ONLY)
    with changing(actor):
        for credential in Credential.objects.select_for_update().filter(provider_id=provider_id):
            credential.delete()


def _store_secret(provider: Provider, secret: Secret, actor: Actor) -> Credential:
    clean = check_secret(secret, actor)
    for old in provider.credentials.all():
        old.delete()
    credential = Credential(provider=provider, fingerprint=secrets.fingerprint(clean), last4=secrets.last4(clean))
    credential.sealed_secret = secrets.seal(clean, secrets.context_of(Credential, credential.pk, "sealed_secret"))
    credential.save(force_insert=True)
    return credential


def check_secret(secret: Secret, actor: Actor) -> Secret:
    """The key without surrounding blanks; refused when it cannot stand in a header. The message never repeats it."""
    if not actor.is_superuser:
        raise _refuse("api_key", SUPERUSERS_ONLY)
    value = secret.reveal().strip()
    if not value or len(value) > SECRET_CHARS_MAX:
        raise _refuse("api_key", f"A key has 1 to {SECRET_CHARS_MAX} characters.")
    if not _HEADER_SAFE.fullmatch(value):
        raise _refuse("api_key", "A key has no blanks, line breaks or characters outside ASCII. Paste it again.")
    return Secret(value)


# --------------------------------------------------------------------------- models


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did. ``unpriced`` names models without any price: paid use of them is refused until one is set.

    ``proposed`` counts models whose price differs from ours and waits for approval.
    """

    created: int = 0
    updated: int = 0
    priced: int = 0
    skipped: int = 0
    unpriced: tuple[str, ...] = ()
    proposed: int = 0

    @property
    def summary(self) -> str:
        text = f"{self.created} models added, {self.updated} already known, {self.priced} prices set"
        if self.skipped:
            text += f", {self.skipped} that neither chat nor embed left out"
        if self.proposed:
            text += f", {self.proposed} changed prices to approve"
        return f"{text}, {len(self.unpriced)} without a price" if self.unpriced else text


def import_models(provider_id: int, listings: Iterable[ModelListing], actor: Actor) -> ImportReport:
    """Adds the listed models and their first prices. What an admin set stays: names, limits, switches and prices."""
    with changing(actor):
        provider = Provider.objects.select_for_update().get(pk=provider_id, deleted_at=None)
        kind = kind_of(provider)
        wanted, skipped = _usable_listings(listings)
        known = {row.upstream_model: row for row in provider.deployments.all()}
        if kind.preset is not None:  # the service behind a preset has more models than the preset sells
            wanted = [listing for listing in wanted if listing.name in known]
        names = {row.name for row in known.values()}
        created: list[Deployment] = []
        for listing in wanted:
            deployment = known.get(listing.name)
            if deployment is not None:
                _refresh(deployment, listing)
            else:
                created.append(_new_deployment(provider, kind, listing, names))
        listed = {listing.name: listing.price for listing in wanted if listing.price is not None}
        found = prices.import_prices(provider, kind, listed)
    unpriced = _unpriced(provider)
    return ImportReport(len(created), len(wanted) - len(created), found.priced, skipped, unpriced, found.proposed)


def _usable_listings(listings: Iterable[ModelListing]) -> tuple[list[ModelListing], int]:
    unique = {listing.name: listing for listing in listings if 0 < len(listing.name) <= 200}
    wanted = [listing for listing in unique.values() if lists_chat(listing) or lists_embeddings(listing)]
    return wanted, len(unique) - len(wanted)


def _refresh(deployment: Deployment, listing: ModelListing) -> None:
    deployment.imported_at = timezone.now()
    deployment.context_window_tokens = deployment.context_window_tokens or listing.context_window_tokens
    deployment.save(update_fields=["imported_at", "context_window_tokens"])


def _new_deployment(provider: Provider, kind: ProviderKind, listing: ModelListing, names: set[str]) -> Deployment:
    name = public_name(listing.name)
    name = name if name not in names else listing.name[:150]
    names.add(name)
    deployment = Deployment(
        provider=provider,
        name=name,
        upstream_model=listing.name,
        display_name=(listing.display_name or name)[:200],
        capabilities=sorted(kind.capabilities_of(listing)),
        max_output_tokens=listing.max_output_tokens or DEFAULT_MAX_OUTPUT_TOKENS,
        context_window_tokens=listing.context_window_tokens,
        imported_at=timezone.now(),
    )
    deployment.save(force_insert=True)
    return deployment


def public_name(upstream_model: str) -> str:
    """The name clients ask for: without Gemini's ``models/``, Fireworks' account path, or the folder of a model file."""
    name = upstream_model.rpartition("models/")[2] or upstream_model
    if name.endswith(".gguf"):
        name = name.rpartition("/")[2].removesuffix(".gguf")
    return name[:150]


def _unpriced(provider: Provider) -> tuple[str, ...]:
    deployments = provider.deployments.filter(enabled=True)
    current = current_prices(deployments)
    return tuple(row.name for row in deployments if row.pk not in current)


def save_deployment(deployment: Deployment, actor: Actor) -> Deployment:
    """Adds a model by hand or changes one. Its provider never changes.

    What an administrator newly declares counts, also against an earlier conformance run.
    """
    check_deployment(deployment)
    with changing(actor):
        before = Deployment.objects.filter(pk=deployment.pk).first()
        declared = {*deployment.capabilities} - {*(before.capabilities if before else [])}
        deployment.refuted_capabilities = [name for name in deployment.refuted_capabilities if name not in declared]
        deployment.save()
    return deployment


def check_deployment(deployment: Deployment) -> None:
    """What a form checks before saving."""
    if deployment.name in RESERVED_NAMES:
        raise _refuse("name", f"'{deployment.name}' is reserved.")
    unknown = [name for name in deployment.capabilities if name not in set(Capability)]
    if unknown:
        raise _refuse("capabilities", f"Unknown: {', '.join(map(str, unknown))[:100]}. Known: {', '.join(Capability)}.")
    deployment.full_clean()


def toggle_deployments(deployment_ids: Sequence[int], enabled: bool, actor: Actor) -> None:
    """Takes models into or out of service at once."""
    with changing(actor):
        for deployment in Deployment.objects.select_for_update().filter(pk__in=deployment_ids):
            deployment.enabled = enabled
            deployment.save(update_fields=["enabled"])


# --------------------------------------------------------------------------- routes and routing


def save_route(route: Route, actor: Actor) -> Route:
    check_route(route)
    with changing(actor):
        route.save()
    return route


def check_route(route: Route) -> None:
    """What a form checks before saving."""
    if route.name in RESERVED_NAMES:
        raise _refuse("name", f"'{route.name}' is reserved.")
    route.full_clean()


def save_route_choices(kept: Sequence[RouteTarget], dropped: Sequence[RouteTarget], actor: Actor) -> None:
    """Adds or changes some targets of a route and removes others, together."""
    with changing(actor):
        for choice in dropped:
            choice.delete()
        for choice in kept:
            choice.full_clean()
            choice.save()


def delete_route(route: Route, actor: Actor) -> None:
    with changing(actor):
        route.delete()


def update_routing_configuration(configuration: RoutingConfiguration, actor: Actor) -> RoutingConfiguration:
    configuration.pk = 1
    configuration.full_clean(validate_unique=False)
    with changing(actor):
        configuration._state.adding = not RoutingConfiguration.objects.filter(pk=1).exists()  # the audit log looks at this
        configuration.save()
    return configuration
