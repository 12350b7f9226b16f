"""Registers providers from environment variables at first start, so that a key in the environment is all one needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.core.exceptions import ValidationError

from providers import actions, prices
from providers.audit import SYSTEM
from providers.catalog import KINDS, ProviderKind
from providers.models import Provider
from providers.upstream.types import Secret

SIMULATOR = "simulator"


@dataclass(frozen=True, slots=True)
class Registration:
    """What became of one kind named in the environment: registered, or why not. Never contains the key."""

    kind: str
    registered: bool
    message: str


def register_from_environment(environ: Mapping[str, str]) -> tuple[Registration, ...]:
    """Creates a provider for every kind whose key (or, without a key, base URL) is set.

    ``OPENAI_API_KEY`` and so on give the key, ``OPENAI_BASE_URL`` and so on another address. A kind that has, or ever had,
    a provider is left alone: what an administrator changed or deleted stays so. No network is used; models come from the
    price package, or from a later import. Providers of a first start stand in for each other where they have models of one name.
    """
    taken = set(Provider.objects.values_list("kind", flat=True))
    is_first = not taken - {SIMULATOR}  # nobody is served yet, so no name can be taken from anybody
    named = [kind for kind in KINDS.values() if kind.slug not in taken and _is_named(kind, environ)]
    return tuple(_register(kind, environ, shares_names=is_first) for kind in named)


def key_variables() -> frozenset[str]:
    """The names that may hold a provider key."""
    return frozenset(name for kind in KINDS.values() for name in kind.key_env_vars)


def _value(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, "").strip()


def _key(kind: ProviderKind, environ: Mapping[str, str]) -> str:
    return next((value for name in kind.key_env_vars if (value := _value(environ, name))), "")


def _is_named(kind: ProviderKind, environ: Mapping[str, str]) -> bool:
    if _key(kind, environ):
        return True
    return kind.env_var is None and bool(_value(environ, kind.base_url_env_var))


def _register(kind: ProviderKind, environ: Mapping[str, str], *, shares_names: bool) -> Registration:
    key = _key(kind, environ)
    base_url = _value(environ, kind.base_url_env_var)
    if not (base_url or kind.base_url):
        return Registration(kind.slug, False, f"Set {kind.base_url_env_var} to the address of your own resource as well.")
    provider = Provider(kind=kind.slug, base_url=base_url)
    try:
        actions.create_provider(provider, SYSTEM, Secret(key) if key else None)
        report = actions.import_models(provider.pk, prices.known_models(kind), SYSTEM, shares_names=shares_names)
    except ValidationError as error:
        return Registration(kind.slug, False, " ".join(error.messages))
    return Registration(kind.slug, True, f"{provider.label}: {report.summary}")
