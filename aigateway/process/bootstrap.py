"""What a first start needs and every later start finds: administrator, groups, first API key, providers, schedule.

Idempotent: what exists is left as people set it, except the simulator's address, which follows its port.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from datetime import timedelta

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission, User
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from aigateway.schedules import SCHEDULES
from providers import actions, environment
from providers.audit import SYSTEM
from providers.models import Provider, RoutingConfiguration
from providers.simulator.catalogue import MODELS, SimulatedModel
from providers.upstream.types import ModelListing
from usage import keys
from usage.errors import ActionRefused
from usage.keys import create_api_key
from usage.models import FINANCE_GROUP, ApiKey

SIMULATOR_SLUG = "simulator"
FIRST_KEY_NAME = "first key"
FINANCE_PERMISSIONS = ("view_ledgerentry", "view_usagetotal", "view_budget", "view_budgetperiod")


class SeedRefused(Exception):
    """A value from the environment cannot be used. The message names the variable and never the value."""


@dataclass(frozen=True, slots=True, repr=False)
class Seeded:
    """What a person has to be told. ``password`` and ``api_key`` are set only by the start that generated them.

    ``notices`` say what became of the providers named by the environment.
    """

    username: str
    model: str
    password: str | None = None
    password_from_environment: bool = False
    api_key: str | None = None
    key_from_environment: bool = False
    notices: tuple[str, ...] = ()


def seed(simulator_url: str | None) -> Seeded:
    """Creates what is missing. ``simulator_url`` is the simulator's root address; ``None``: there is none. Raises ``SeedRefused``.

    Secrets are made last, so that nothing can fail between making and showing them.
    """
    _seed_groups()
    _seed_schedule()
    RoutingConfiguration.objects.get_or_create(pk=1)
    if simulator_url is not None:
        _seed_simulator(f"{simulator_url}/v1")
    registered = environment.register_from_environment(os.environ)
    with transaction.atomic():
        user, password = _administrator()
        api_key = _first_key(user)
    return Seeded(
        username=user.get_username(),
        model=MODELS[0].name,
        password=password,
        password_from_environment=bool(os.environ.get("AIGATEWAY_ADMIN_PASSWORD")),
        api_key=api_key,
        key_from_environment=bool(os.environ.get("AIGATEWAY_BOOTSTRAP_KEY")),
        notices=tuple(row.message if row.registered else f"{row.kind} not registered: {row.message}" for row in registered),
    )


def _seed_groups() -> None:
    finance, _ = Group.objects.get_or_create(name=FINANCE_GROUP)
    finance.permissions.add(*Permission.objects.filter(content_type__app_label="usage", codename__in=FINANCE_PERMISSIONS))


def _seed_schedule() -> None:
    for row in SCHEDULES:
        interval, _ = IntervalSchedule.objects.get_or_create(every=row.every_s, period=IntervalSchedule.SECONDS)
        due = timezone.now() - timedelta(seconds=row.every_s)  # the first round comes at once: a new gateway knows its providers' health
        given = {"task": row.task, "interval": interval, "expire_seconds": row.every_s, "last_run_at": due}
        PeriodicTask.objects.get_or_create(name=row.name, defaults=given)


def _seed_simulator(base_url: str) -> None:
    provider = Provider.objects.filter(slug=SIMULATOR_SLUG).order_by(F("deleted_at").asc(nulls_first=True)).first()
    if provider is None:
        provider = Provider(slug=SIMULATOR_SLUG, label="Simulator", kind="simulator", base_url=base_url, allow_private=True, priority=1000)
        actions.create_provider(provider, SYSTEM)
    elif provider.deleted_at is not None:
        return
    elif provider.base_url != base_url:
        provider.base_url = base_url
        actions.update_provider(provider, SYSTEM)
    if not provider.deployments.exists():
        actions.import_models(provider.pk, [_listing_of(model) for model in MODELS], SYSTEM)
        first = provider.deployments.get(name=MODELS[0].name)
        first.recommended = True
        actions.save_deployment(first, SYSTEM)


def _listing_of(model: SimulatedModel) -> ModelListing:
    return ModelListing(
        name=model.name,
        display_name=model.display_name,
        context_window_tokens=model.context_window_tokens,
        max_output_tokens=model.max_output_tokens,
        capabilities=model.capabilities,
    )


def _administrator() -> tuple[User, str | None]:
    """The first superuser, and the password when one was generated."""
    existing = get_user_model().objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
    if existing is not None:
        return existing, None
    given = os.environ.get("AIGATEWAY_ADMIN_PASSWORD")
    password = given or secrets.token_urlsafe(15)
    user = get_user_model().objects.create_superuser(os.environ.get("AIGATEWAY_ADMIN_USERNAME") or "admin", email="", password=password)
    return user, None if given else password


def _first_key(user: User) -> str | None:
    """The key when one was generated here. A given key is created when it is not known, whatever other keys there are."""
    given = os.environ.get("AIGATEWAY_BOOTSTRAP_KEY")
    known = ApiKey.objects.filter(pk=keys.lookup_id(given)).exists() if given else ApiKey.objects.exists()
    if known:
        return None
    try:
        _, plaintext = create_api_key(user, FIRST_KEY_NAME, secret=given or None, actor=SYSTEM)
    except ActionRefused as error:
        raise SeedRefused(f"AIGATEWAY_BOOTSTRAP_KEY: {error}") from error
    return None if given else plaintext
