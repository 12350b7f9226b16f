"""From stored preferences to the wish routing reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from preferences.models import DEFAULT_CONTEXT, Preference


@dataclass(frozen=True, slots=True)
class PreferenceRecord:
    """One stored preference by public names: ``provider`` is a slug, ``model`` the name clients ask for."""

    context: str
    provider: str
    model: str


def preferred_models(preferences: Iterable[PreferenceRecord], context: str) -> tuple[tuple[str | None, str], ...]:
    """(provider, model) pairs, most wanted first: the context's own, then the default one."""
    by_context = {record.context: (record.provider, record.model) for record in preferences}
    wanted = [by_context.get(context), by_context.get(DEFAULT_CONTEXT)]
    return tuple(dict.fromkeys(pair for pair in wanted if pair is not None))


def load_for_user(user_id: int) -> tuple[PreferenceRecord, ...]:
    """Every preference of a user, read with the ORM: callers on the data plane cache it until ``user:<id>`` moves."""
    rows = Preference.objects.filter(user_id=user_id).order_by("context")
    return tuple(PreferenceRecord(*row) for row in rows.values_list("context", "deployment__provider__slug", "deployment__name"))
