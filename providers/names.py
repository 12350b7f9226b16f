"""The names clients ask for: what may be one, what means something already, and which are taken."""

from __future__ import annotations

from dataclasses import dataclass

from django.core.exceptions import ValidationError

from providers.models import Deployment, Provider, Route
from providers.text import is_plain, spelt
from providers.upstream.routing import AUTO, AUTO_ROUTE

RESERVED = (AUTO, AUTO_ROUTE)
NAME_CHARACTERS_MAX = 150
UPSTREAM_CHARACTERS_MAX = 200


def _refuse(field: str, message: str) -> ValidationError:
    return ValidationError({field: [message]})


def is_usable(name: str, longest: int = NAME_CHARACTERS_MAX) -> bool:
    return 0 < len(name) <= longest and is_plain(name)


def meaning(name: str, own_slug: str, slugs: frozenset[str]) -> str:
    """What the name means already, so that a model of the provider ``own_slug`` cannot have it; empty: nothing."""
    if name in RESERVED:
        return f"'{name}' is reserved."
    slug, slash, _ = name.partition("/")
    if slash and slug in slugs and slug != own_slug:
        return f"'{spelt(name)}' is an address of the provider '{slug}'."
    return ""


def known_slugs() -> frozenset[str]:
    return frozenset(Provider.objects.filter(deleted_at=None).values_list("slug", flat=True))


def served_elsewhere(provider: Provider) -> frozenset[str]:
    """Names that clients ask for and other providers answer now."""
    others = Deployment.objects.filter(enabled=True, address_only=False, provider__enabled=True, provider__deleted_at=None)
    return frozenset(others.exclude(provider_id=provider.pk).values_list("name", flat=True))


@dataclass(frozen=True, slots=True)
class Given:
    """The names of one provider's models while more are given out."""

    slug: str
    own: set[str]
    elsewhere: frozenset[str]
    slugs: frozenset[str]

    @classmethod
    def to(cls, provider: Provider) -> Given:
        own = set(provider.deployments.values_list("name", flat=True))
        return cls(provider.slug, own, served_elsewhere(provider), known_slugs())

    def new(self, wish: str, otherwise: str) -> str:
        """``wish``, or the longer ``otherwise`` where the provider has a model of that name."""
        name = wish if wish not in self.own else otherwise[:NAME_CHARACTERS_MAX]
        self.own.add(name)
        return name

    def means_something(self, name: str) -> bool:
        return bool(meaning(name, self.slug, self.slugs))

    def is_taken(self, name: str) -> bool:
        """Whether the bare name is another provider's, or means something else."""
        return name in self.elsewhere or self.means_something(name)


def check_model_names(deployment: Deployment) -> None:
    """Raises ``ValidationError`` on the field that is to blame."""
    for field, longest in (("name", NAME_CHARACTERS_MAX), ("upstream_model", UPSTREAM_CHARACTERS_MAX)):
        if not is_usable(getattr(deployment, field), longest):
            raise _refuse(field, f"Write 1 to {longest} characters that can be seen, without blanks at the ends.")
    if not is_plain(deployment.display_name):
        raise _refuse("display_name", "Write characters that can be seen, without blanks at the ends.")
    stays = Deployment.objects.filter(pk=deployment.pk, name=deployment.name, address_only=deployment.address_only).exists()
    taken = "" if stays else meaning(deployment.name, deployment.provider.slug, known_slugs())
    if taken and not deployment.address_only:
        raise _refuse("name", f"{taken} Choose another name, or tick 'by address only'.")


def check_route_name(route: Route) -> None:
    """Raises ``ValidationError`` on ``name``."""
    if not is_usable(route.name):
        raise _refuse("name", f"Write 1 to {NAME_CHARACTERS_MAX} characters that can be seen, without blanks at the ends.")
    taken = "" if route.name == AUTO_ROUTE else meaning(route.name, "", known_slugs())
    if taken:
        raise _refuse("name", f"{taken} Choose another name.")
