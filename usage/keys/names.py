"""The lists of names on a key: what people typed, as the names that exist. What matches nothing is refused, not stored."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from providers.models import Deployment, Route
from providers.upstream.types import NamesInvalid, split_names, understood
from usage.errors import ActionRefused

NAMES_MAX = 500
NAME_CHARS_MAX = 300
_CONTEXT = re.compile(r"[A-Za-z0-9_*-]{1,50}", re.ASCII)


def known_models() -> set[str]:
    """Every name of a model or route, and every address ``provider/model``, switched off or not."""
    rows = Deployment.objects.filter(provider__deleted_at=None).values_list("provider__slug", "name")
    names = {name for slug, model in rows for name in (model, f"{slug}/{model}")}
    return names.union(Route.objects.values_list("name", flat=True))


def checked_models(typed: str | Iterable[str], kept: Collection[str] = ()) -> list[str]:
    """Names of models and routes, addresses, and patterns such as ``openai/*``. Raises ``ActionRefused`` with the nearest names.

    ``kept`` are on the key already: they stay, whatever became of the models.
    """
    names = _split(typed)
    if not names or set(names) <= set(kept):
        return names
    try:
        return understood(names, known_models(), kept)
    except NamesInvalid as error:
        raise ActionRefused(f"Allowed models: {error}") from None


def checked_contexts(typed: str | Iterable[str], kept: Collection[str] = ()) -> list[str]:
    """Contexts and patterns of them. Any slug is a context, so only its form can be wrong. Raises ``ActionRefused``."""
    names = _split(typed)
    for name in names:
        if name not in kept and not _CONTEXT.fullmatch(name):
            raise ActionRefused(f"Allowed contexts: '{name[:100]}' is no context; use letters, digits, '-', '_', and '*' for any.")
    return names


def _split(typed: str | Iterable[str]) -> list[str]:
    try:
        names = split_names(typed)
    except NamesInvalid as error:
        raise ActionRefused(str(error)) from None
    if len(names) > NAMES_MAX or any(len(name) > NAME_CHARS_MAX for name in names):
        raise ActionRefused(f"At most {NAMES_MAX} names of {NAME_CHARS_MAX} characters; a pattern such as 'openai/*' says more.")
    return names
