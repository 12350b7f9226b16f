"""Every write of preferences with its rule: what may be stored, who hears of it, what the audit log keeps."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet

from preferences.models import DEFAULT_CONTEXT, Preference
from providers.audit import Actor, audited
from providers.models import ConfigVersion, Deployment, Provider
from providers.upstream.types import HealthStatus, NameList, allows

CONTEXT_FORM = re.compile(r"[A-Za-z0-9_-]{1,50}", re.ASCII)
CONTEXTS_PER_USER_MAX = 100
NEAREST_MAX = 5
NAMES_COMPARED_MAX = 2000


class PreferenceRefused(Exception):
    """A preference that may not be stored or deleted. ``field`` is the request field to correct."""

    field: ClassVar[str] = "model"


class ContextInvalid(PreferenceRefused):
    field = "context"


class ContextNotAllowed(PreferenceRefused):
    field = "context"


class ProviderUnknown(PreferenceRefused):
    field = "provider"


class ModelUnknown(PreferenceRefused):
    """The message names the nearest models the caller may use."""


class ModelUnavailable(PreferenceRefused):
    """The model exists, but is disabled, its provider is disabled, or does not answer health checks."""


class ModelNotAllowed(PreferenceRefused):
    pass


class PreferenceAbsent(PreferenceRefused):
    field = "context"


@dataclass(frozen=True, slots=True)
class Scope:
    """What the caller's key may use; ``None`` means everything. ``models`` holds names, ``provider/name`` addresses and patterns."""

    models: NameList | None = None
    contexts: NameList | None = None

    def allows_model(self, deployment: Deployment) -> bool:
        return allows(self.models, deployment.name, str(deployment))

    def allows_context(self, context: str) -> bool:
        return allows(self.contexts, context)


EVERYTHING = Scope()


def set_preference(user: User, context: str, provider: str | None, model: str, scope: Scope = EVERYTHING) -> Preference:
    """Creates or replaces the preference of (user, context) and returns it; raises ``PreferenceRefused``.

    Without ``provider``, ``model`` may be an address (``provider/name``), or a name, which then means the provider tried first.
    """
    _check_context(context, scope)
    deployment = _find_deployment(provider, model, scope)
    if not scope.allows_model(deployment):
        raise ModelNotAllowed(f"This API key may not use the model '{deployment}'.")
    reason = unavailable_reason(deployment)
    if reason:
        raise ModelUnavailable(f"The model '{deployment}' is not available: {reason}.")
    with transaction.atomic(), audited(Actor.of(user)):
        others = Preference.objects.filter(user=user).exclude(context=context).count()
        if others >= CONTEXTS_PER_USER_MAX:
            raise ContextInvalid(f"At most {CONTEXTS_PER_USER_MAX} contexts can have a preference; delete one first.")
        preference, _ = Preference.objects.update_or_create(user=user, context=context, defaults={"deployment": deployment})
        announce(user.pk)
    return preference


def delete_preference(user: User, context: str = DEFAULT_CONTEXT, scope: Scope = EVERYTHING) -> None:
    """Raises ``PreferenceAbsent`` when nothing is stored for the context."""
    _check_context(context, scope)
    with transaction.atomic(), audited(Actor.of(user)):
        deleted, _ = Preference.objects.filter(user=user, context=context).delete()
        if not deleted:
            raise PreferenceAbsent(f"No preference is stored for the context '{context}'.")
        announce(user.pk)


def delete_preferences(user: User, scope: Scope = EVERYTHING) -> None:
    """Deletes all of a user's preferences that the caller's key may touch; raises ``PreferenceAbsent`` when there is none."""
    with transaction.atomic(), audited(Actor.of(user)):
        deleted, _ = within(scope, Preference.objects.filter(user=user)).delete()
        if not deleted:
            raise PreferenceAbsent("No preference is stored.")
        announce(user.pk)


def within(scope: Scope, rows: QuerySet[Preference]) -> QuerySet[Preference]:
    """Those in contexts the caller's key may use; a user has few."""
    if scope.contexts is None:
        return rows
    stored = rows.values_list("context", flat=True)
    return rows.filter(context__in=[context for context in stored if scope.allows_context(context)])


def announce(user_id: int) -> None:
    """Tells every process to drop what it cached of this user, in the caller's transaction."""
    ConfigVersion.bump(f"user:{user_id}")


def unavailable_reason(deployment: Deployment, scope: Scope = EVERYTHING) -> str:
    """Why the caller cannot be served by this model now; empty when it is available."""
    if not scope.allows_model(deployment):
        return "this API key may not use it"
    if not deployment.enabled:
        return "the model is disabled"
    if not deployment.provider.enabled or deployment.provider.deleted_at is not None:
        return "its provider is disabled"
    if deployment.provider.health == HealthStatus.RED:
        return "its provider does not answer"
    return ""


def _check_context(context: str, scope: Scope) -> None:
    if not CONTEXT_FORM.fullmatch(context):
        raise ContextInvalid("A context is 1 to 50 of the characters A-Z, a-z, 0-9, '-' and '_'.")
    if not scope.allows_context(context):
        raise ContextNotAllowed(f"This API key may not use the context '{context}'.")


def _find_deployment(provider: str | None, model: str, scope: Scope) -> Deployment:
    provider, model = _split(provider, model)
    deployments = Deployment.objects.filter(provider__deleted_at=None).select_related("provider")
    if provider is not None:
        if not Provider.objects.filter(slug=provider, deleted_at=None).exists():
            known = Provider.objects.filter(enabled=True, deleted_at=None).values_list("slug", flat=True)
            raise ProviderUnknown(f"There is no provider '{provider}'.{_nearest(provider, known)}")
        deployments = deployments.filter(provider__slug=provider)
    found = _best(deployments.filter(name=model), scope)
    if found is None:
        at = f" at the provider '{provider}'" if provider else ""
        raise ModelUnknown(f"There is no model '{model}'{at}.{_nearest(model, _usable_names(deployments, scope))}")
    return found


def _split(provider: str | None, model: str) -> tuple[str | None, str]:
    """``provider/name`` addresses, told from model names that contain a slash by the existence of the provider."""
    slug, slash, name = model.partition("/")
    if provider is None and slash and Provider.objects.filter(slug=slug, deleted_at=None).exists():
        return slug, name
    return provider, model


def _best(deployments: QuerySet[Deployment], scope: Scope) -> Deployment | None:
    """Among models of one name: what the caller may use and can be served by, then what is tried first."""
    ordered = deployments.order_by("provider__priority", "provider__slug")
    return min(ordered, key=lambda choice: (not scope.allows_model(choice), bool(unavailable_reason(choice))), default=None)


def _usable_names(deployments: QuerySet[Deployment], scope: Scope) -> list[str]:
    usable = deployments.filter(enabled=True, provider__enabled=True).order_by("name")[:NAMES_COMPARED_MAX]
    return [deployment.name for deployment in usable if scope.allows_model(deployment)]


def _nearest(name: str, known: Iterable[str]) -> str:
    by_folded = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), list(by_folded), n=NEAREST_MAX, cutoff=0.4)
    return f" Nearest: {', '.join(by_folded[match] for match in close)}." if close else ""
