"""Issuers of tokens and sign-ins, as the environment names them: whom to believe, what of, and what it gives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from aigateway.signin.jose import ASYMMETRIC
from providers.upstream.egress import AddressClass, classify, is_literal

DEFAULT_ALGORITHMS = ("RS256", "ES256")
DEFAULT_SCOPES = frozenset({"inference", "own_usage", "own_preferences"})
"""What a token may do unless more is asked for and allowed: the words of key scopes."""
OPENID_PREFIX = "AIGATEWAY_OIDC_"
JWT_ISSUERS = "AIGATEWAY_JWT_ISSUERS"


@dataclass(frozen=True, slots=True)
class Issuer:
    """``groups`` maps values of the claim to Django groups: within these, membership follows the claim at every sign-in.

    ``staff`` and ``superusers`` are values of the same claim; where one is named, it alone decides about users of this issuer. With
    ``admit_groups`` or ``admit_domains`` only people with one of them get in; a domain needs a verified address.
    """

    issuer: str
    audience: str
    algorithms: tuple[str, ...] = DEFAULT_ALGORITHMS
    jwks_url: str = ""
    kids: tuple[str, ...] = ()
    username_claim: str = "preferred_username"
    groups_claim: str = "groups"
    groups: Mapping[str, str] = field(default_factory=dict)
    staff: tuple[str, ...] = ()
    superusers: tuple[str, ...] = ()
    admit_groups: tuple[str, ...] = ()
    admit_domains: tuple[str, ...] = ()
    create_users: bool = False
    require_nbf: bool = True
    scopes: tuple[str, ...] = tuple(sorted(DEFAULT_SCOPES))
    allow_http: bool = False
    ca_bundle: str = ""


def token_issuers() -> dict[str, Issuer]:
    """By name. Raises ``ImproperlyConfigured`` that names the variable and what is wrong."""
    return _parsed_issuers(settings.JWT_ISSUERS)


def openid_issuer() -> Issuer | None:
    """``None`` without OpenID Connect. Raises ``ImproperlyConfigured``."""
    given = settings.OPENID
    if not given["issuer"]:
        return None
    for name in ("client_id", "client_secret"):
        if not given[name]:
            raise ImproperlyConfigured(f"{OPENID_PREFIX}{name.upper()} is not set, but {OPENID_PREFIX}ISSUER is")
    return _parsed_openid(json.dumps(given))


@lru_cache(maxsize=16)
def _parsed_issuers(text: str) -> dict[str, Issuer]:
    rows = _json(JWT_ISSUERS, text or "[]", list)
    found: dict[str, Issuer] = {}
    for position, row in enumerate(rows):
        issuer = _issuer(f"{JWT_ISSUERS}[{position}]", row)
        if issuer.issuer in found:
            raise ImproperlyConfigured(f"{JWT_ISSUERS} names {issuer.issuer} twice")
        found[issuer.issuer] = issuer
    return found


@lru_cache(maxsize=16)
def _parsed_openid(text: str) -> Issuer:
    given: dict[str, Any] = json.loads(text)
    row = {
        "issuer": given["issuer"],
        "audience": given["client_id"],
        "groups": _json(f"{OPENID_PREFIX}GROUPS", given["groups"] or "{}", dict),
        "require_nbf": False,  # OpenID Connect Core, section 2, has no such claim
        **{name: given[name] for name in ("staff", "superusers", "admit_groups", "admit_domains", "create_users", "allow_http")},
        **{name: given[name] for name in ("username_claim", "groups_claim", "algorithms") if given[name]},
    }
    return _issuer(OPENID_PREFIX.rstrip("_"), row)


def _json(variable: str, text: str, kind: type) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, kind):
        raise ImproperlyConfigured(f"{variable} is not a JSON {'array' if kind is list else 'object'}")
    return value


def _issuer(where: str, row: Any) -> Issuer:
    if not isinstance(row, dict) or not {"issuer", "audience"} <= set(row):
        raise ImproperlyConfigured(f"{where} needs an issuer and an audience")
    known = {each.name: each for each in fields(Issuer)}
    for name, value in row.items():
        if name not in known:
            raise ImproperlyConfigured(f"{where} has a member {name!r} that means nothing here")
        _check_member(where, name, value)
    members: Any = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    issuer = Issuer(**members)
    _check_issuer(where, issuer)
    return issuer


def _check_member(where: str, name: str, value: Any) -> None:
    annotation = str(Issuer.__annotations__[name])
    texts = isinstance(value, list) and all(isinstance(each, str) and each for each in value)
    fits = {
        "str": isinstance(value, str),
        "bool": isinstance(value, bool),
        "tuple[str, ...]": texts,
        "Mapping[str, str]": isinstance(value, dict) and all(isinstance(each, str) and each for each in value.values()),
    }[annotation]
    if not fits:
        wanted = {"str": "a text", "bool": "true or false", "tuple[str, ...]": "a list of texts"}.get(annotation, "an object of texts")
        raise ImproperlyConfigured(f"{where}: {name} must be {wanted}")


def _check_issuer(where: str, issuer: Issuer) -> None:
    foreign = [name for name in issuer.algorithms if name not in ASYMMETRIC]
    if foreign or not issuer.algorithms:
        raise ImproperlyConfigured(f"{where}: algorithms must be of {', '.join(ASYMMETRIC)}; a shared secret is no proof of an issuer")
    if not issuer.audience:
        raise ImproperlyConfigured(f"{where}: the audience is empty, so a token for anybody would do")
    for name, url in (("issuer", issuer.issuer), ("jwks_url", issuer.jwks_url)):
        if url:
            check_url(f"{where}: {name}", url, allow_http=issuer.allow_http)


def check_url(where: str, url: str, *, allow_http: bool) -> None:
    """Keys and codes travel over TLS, except inside this machine. Raises ``ImproperlyConfigured``."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise ImproperlyConfigured(f"{where} is not a URL") from None
    if parts.scheme not in ("http", "https") or not host or parts.username is not None or parts.fragment:
        raise ImproperlyConfigured(f"{where} must be an https URL without credentials")
    on_this_machine = host == "localhost" or (is_literal(host) and classify(host) is AddressClass.LOOPBACK)
    if parts.scheme == "http" and not on_this_machine and not allow_http:
        raise ImproperlyConfigured(f"{where} must be https; allow_http permits plain HTTP inside a network of your own")
