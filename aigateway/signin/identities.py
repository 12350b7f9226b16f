"""Who a person known to an issuer is here: by issuer and subject only. A name or an e-mail address is nobody's proof."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import structlog
from django.contrib.auth.models import Group, User
from django.db import IntegrityError, transaction

from aigateway.models import ExternalIdentity
from aigateway.signin.issuers import Issuer
from providers import rights
from providers.models import ConfigVersion

SUBJECT_MAX = 255
VALUES_MAX = 1000
_NAME = re.compile(r"[\w.@+-]{1,120}")
_log = structlog.get_logger("aigateway.signin")


class NotAdmitted(Exception):
    """A proven person who may not come in. The message is for people and says what an administrator can do."""


def user_for(issuer: Issuer, claims: Mapping[str, Any]) -> User:
    """The active user, with groups as the claims say. ``claims`` must be proven. Raises ``NotAdmitted``."""
    subject = str(claims["sub"])
    if len(subject) > SUBJECT_MAX:
        raise NotAdmitted("The issuer's name for you is too long.")
    _check_admission(issuer, claims)
    user = _linked(issuer, subject)
    if user is None:
        if not issuer.create_users:
            _log.warning("identity_not_linked", issuer=issuer.issuer, subject=subject)
            raise NotAdmitted("Nobody here is linked to you yet. An administrator adds an external identity for your account.")
        user = _created(issuer, subject, claims)
    if not user.is_active:
        raise NotAdmitted("This account is not active.")
    _follow_claims(issuer, user, claims)
    return user


def verified_email(claims: Mapping[str, Any]) -> str:
    """Empty unless the issuer says it checked the address."""
    email = claims.get("email")
    is_verified = claims.get("email_verified") is True
    return email if is_verified and isinstance(email, str) and email.count("@") == 1 and len(email) <= 254 else ""


def _check_admission(issuer: Issuer, claims: Mapping[str, Any]) -> None:
    if issuer.admit_groups and _values(issuer, claims).isdisjoint(issuer.admit_groups):
        raise NotAdmitted("You are in none of the groups that may sign in here.")
    if issuer.admit_domains:
        domain = verified_email(claims).rpartition("@")[2].lower()
        if domain not in {each.lower() for each in issuer.admit_domains}:
            raise NotAdmitted("Your verified e-mail address is in none of the domains that may sign in here.")


def _linked(issuer: Issuer, subject: str) -> User | None:
    found = ExternalIdentity.objects.select_related("user").filter(issuer=issuer.issuer, subject=subject).first()
    return None if found is None else found.user


def _created(issuer: Issuer, subject: str, claims: Mapping[str, Any]) -> User:
    """A name that is taken here stays its owner's: the newcomer gets one that nobody has."""
    wanted = claims.get(issuer.username_claim)
    tag = hashlib.sha256(f"{issuer.issuer}\x1f{subject}".encode()).hexdigest()[:10]
    name = wanted if isinstance(wanted, str) and _NAME.fullmatch(wanted) else "person"
    if name == "person" or User.objects.filter(username__iexact=name).exists():
        name = f"{name}-{tag}"
    try:
        with transaction.atomic():
            user = User.objects.create_user(name, email=verified_email(claims))
            ExternalIdentity.objects.create(user=user, issuer=issuer.issuer, subject=subject)
    except IntegrityError:  # two first requests at once
        found = _linked(issuer, subject)
        if found is None:
            raise NotAdmitted("The account could not be made. Try again.") from None
        return found
    _log.info("identity_created", issuer=issuer.issuer, user_id=user.pk)
    return user


def _follow_claims(issuer: Issuer, user: User, claims: Mapping[str, Any]) -> None:
    """Adds and removes within the mapped set only; what is not named is the administrators' business."""
    values = _values(issuer, claims)
    mapped = set(Group.objects.filter(name__in=issuer.groups.values()).values_list("name", flat=True)) if issuer.groups else set()
    wanted = {group for value, group in issuer.groups.items() if value in values} & mapped
    has = set(user.groups.filter(name__in=mapped).values_list("name", flat=True)) if mapped else set()
    leaves_nobody = rights.is_last_superuser(user)
    flags = {
        name: not values.isdisjoint(named)
        for name, named in (("is_staff", issuer.staff), ("is_superuser", issuer.superusers))
        if named and getattr(user, name) != (not values.isdisjoint(named)) and not leaves_nobody
    }
    if wanted == has and not flags:
        return
    with transaction.atomic():
        user.groups.add(*Group.objects.filter(name__in=wanted - has))
        user.groups.remove(*Group.objects.filter(name__in=has - wanted))
        for name, value in flags.items():
            setattr(user, name, value)
        if flags:
            user.save(update_fields=[*flags])
        ConfigVersion.bump(f"user:{user.pk}")


def _values(issuer: Issuer, claims: Mapping[str, Any]) -> frozenset[str]:
    """A list of texts or one text; anything else is no value. A dotted claim reaches into objects (``realm_access.roles``)."""
    found: Any = claims.get(issuer.groups_claim)
    if found is None:
        found = claims
        for step in issuer.groups_claim.split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
    listed = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    return frozenset(value for value in listed[:VALUES_MAX] if isinstance(value, str))
