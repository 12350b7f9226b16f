"""Puts back what an entry of the audit log changed on a row of the configuration, through the function that owns such writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final

from auditlog.models import LogEntry
from django.contrib.auth.models import User
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import models, transaction
from django.utils.dateparse import parse_datetime
from django_celery_beat.models import PeriodicTask

from preferences.actions import announce
from preferences.models import Preference
from providers import actions, presets
from providers.audit import Actor, audited
from providers.models import Deployment, ManagedPreset, Provider, Route, RouteTarget, RoutingConfiguration
from usage.budgets import limits_of, set_account, set_budget, set_tier_limit
from usage.errors import ActionRefused
from usage.keys import update_api_key
from usage.limits import set_rate_limit
from usage.models import ApiKey, Budget, Entitlement, RateLimit, TierLimit, UserAccount
from usage.subscriptions import save_entitlement

CAPS: Final = ("cap_nano", "cap_tokens", "cap_requests", "enforcement", "charge_failed_attempts")
NOTHING: Final = "None"
"""How the audit log writes that there was no value."""


class CannotPutBack(Exception):
    """The message says why, for people."""


@dataclass(frozen=True, slots=True)
class Restorable:
    """``fields`` may be put back by ``write``; ``derived`` follow from them. ``page`` gives the row on whose page people edit it."""

    fields: tuple[str, ...]
    write: Callable[[Any, Actor], object]
    derived: tuple[str, ...] = ()
    page: Callable[[Any], models.Model] = lambda row: row


def _write_budget(row: Budget, _: Actor) -> None:
    if row.tier_id is not None:
        raise CannotPutBack("A tier sets this budget. Put back the tier's limit.")
    user = row.user if isinstance(row.user, User) else None
    subject = user or row.api_key or row.team or row.provider or row.context or None
    set_budget(row.scope, subject, row.period, limits_of(row), fallback_route=row.fallback_route)


def _write_rate_limit(row: RateLimit, _: Actor) -> None:
    user = row.user if isinstance(row.user, User) else None
    set_rate_limit(row.scope, row.tier or user or row.api_key or row.provider, row.measure, row.window, row.limit, row.burst)


def _write_key(row: ApiKey, actor: Actor) -> None:
    update_api_key(
        row,
        name=row.name,
        allowed_models=row.allowed_models,
        allowed_contexts=row.allowed_contexts,
        expires_at=row.expires_at,
        scopes=row.scopes,
        actor=actor,
    )


def _write_preference(row: Preference, _: Actor) -> None:
    row.save()
    announce(row.user_id)


RESTORABLE: Final[Mapping[type[models.Model], Restorable]] = {
    Provider: Restorable(actions.PROVIDER_FIELDS, actions.update_provider),
    ManagedPreset: Restorable(
        ("upstream_kind", "required_tier", "system_prompt", "temperature"), presets.save_preset, page=lambda row: row.provider
    ),
    Deployment: Restorable(
        ("name", "upstream_model", "display_name", "description", "enabled", "recommended", "capabilities", "max_output_tokens",
         "context_window_tokens", "unpriced_ceiling_nano"),
        actions.save_deployment,
        derived=("refuted_capabilities",),
    ),
    Route: Restorable(("name", "policy", "enabled"), actions.save_route),
    RouteTarget: Restorable(
        ("deployment", "priority", "weight"), lambda row, actor: actions.save_route_choices([row], [], actor), page=lambda row: row.route
    ),
    RoutingConfiguration: Restorable(
        ("default_policy", "max_attempts", "retries_per_target", "retry_base_s", "deadline_s", "breaker_failures", "breaker_open_s"),
        actions.update_routing_configuration,
    ),
    Budget: Restorable((*CAPS, "fallback_route"), _write_budget),
    RateLimit: Restorable(("limit", "burst"), _write_rate_limit),
    TierLimit: Restorable(CAPS, lambda row, _: set_tier_limit(row.tier, row.period, limits_of(row)), page=lambda row: row.tier),
    UserAccount: Restorable(("tier", "team"), lambda row, _: set_account(row.user, row.tier, row.team_id)),
    Entitlement: Restorable(("tier", "status", "expires_at", "subscription_id"), lambda row, _: save_entitlement(row)),
    ApiKey: Restorable(("name", "scopes", "allowed_models", "allowed_contexts", "expires_at"), _write_key),
    Preference: Restorable(("deployment",), _write_preference),
    PeriodicTask: Restorable(
        ("name", "enabled", "interval", "crontab", "solar", "clocked", "description", "one_off", "start_time", "expire_seconds"),
        lambda row, _: row.save(),
    ),
}  # fmt: skip
"""Not here: secrets, prices (they are dated), the ledger and its records, and accounts, whose rights are given anew by hand."""


def page_row(entry: LogEntry) -> models.Model:
    """The row on whose page the entry's row is edited. Raises ``CannotPutBack`` when the entry cannot be put back at all."""
    rule, row = _rule_of(entry), _row_of(entry)
    try:
        found: models.Model = rule.page(row)
    except ObjectDoesNotExist:
        raise CannotPutBack("What this belonged to is gone.") from None
    return found


def put_back(entry: LogEntry, actor: Actor) -> models.Model:
    """Writes the fields this entry changed as they were before it. Raises ``CannotPutBack`` with the reason."""
    rule = _rule_of(entry)
    with transaction.atomic(), audited(Actor(actor.user, actor.is_superuser, by=f"put back of entry {entry.pk}")):
        row: models.Model = _row_of(entry, lock=True)
        for name, (before, _) in _changes(entry, rule).items():
            _set(row, name, before)
        try:
            row.full_clean()
            rule.write(row, actor)
        except (ValidationError, ActionRefused) as error:
            raise CannotPutBack(f"No longer valid: {_sentence(error)}") from error
    return row


def _rule_of(entry: LogEntry) -> Restorable:
    rule = RESTORABLE.get(entry.content_type.model_class())
    if rule is None:
        raise CannotPutBack("Entries of this kind cannot be put back.")
    if entry.action != LogEntry.Action.UPDATE:
        raise CannotPutBack("Only changes can be put back. What was added is deleted, and what was deleted is added, on its own page.")
    _changes(entry, rule)
    return rule


def _changes(entry: LogEntry, rule: Restorable) -> dict[str, Any]:
    changes = {name: change for name, change in entry.changes_dict.items() if name not in rule.derived}
    unknown = sorted(name for name, change in changes.items() if name not in rule.fields or not isinstance(change, list | tuple))
    if unknown:
        raise CannotPutBack(f"It changed what cannot be put back: {', '.join(unknown)}.")
    if not changes:
        raise CannotPutBack("It changed nothing that could be put back.")
    return changes


def _row_of(entry: LogEntry, *, lock: bool = False) -> Any:
    model = entry.content_type.model_class()
    rows = model._default_manager.filter(pk=entry.object_pk)
    row = (rows.select_for_update() if lock else rows).first()
    if row is None or getattr(row, "deleted_at", None) is not None:
        raise CannotPutBack("The row is gone.")
    return row


def _set(row: models.Model, name: str, text: str) -> None:
    """Reads a value as the audit log wrote it. Raises ``CannotPutBack`` for text that is none."""
    field: Any = row._meta.get_field(name)
    try:
        setattr(row, field.attname, _value(field, text))
    except (ValidationError, ValueError):
        raise CannotPutBack(f"{name}: “{text[:60]}” is not a value any more.") from None


def _value(field: Any, text: str) -> Any:
    if text == NOTHING and field.null:
        return None
    if isinstance(field, models.JSONField):
        return json.loads(text)
    if isinstance(field, models.DateTimeField):
        moment = parse_datetime(text)
        return None if moment is None else moment.replace(tzinfo=UTC)
    if field.is_relation:
        return field.target_field.to_python(text)
    return field.to_python(text)


def _sentence(error: ValidationError | ActionRefused) -> str:
    return " ".join(error.messages) if isinstance(error, ValidationError) else str(error)
