"""From a bearer token to whose it is: proof first, then the database. No token is looked up before its signature is good."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User

from aigateway.signin import identities, issuers, jose, own_tokens
from aigateway.signin.issuers import Issuer
from aigateway.signin.jose import TokenRefused
from aigateway.signin.key_sets import KEY_SETS


@dataclass(frozen=True, slots=True)
class Proven:
    """A token whose signature, times, issuer and audience are good. ``issuer`` is ``None`` for one of our own."""

    claims: Mapping[str, Any]
    issuer: Issuer | None

    @property
    def expires_in_s(self) -> float:
        return float(self.claims["exp"]) - time.time()


@dataclass(frozen=True, slots=True)
class Bearer:
    """An active user who holds a good token; ``request.auth`` of the REST surface."""

    user: User
    scopes: frozenset[str]


def prove(token: str) -> Proven:
    """May ask the issuer for its keys, never the database. Raises ``TokenRefused`` or ``KeysUnknown``."""
    read = jose.opened(token)
    if read.issuer == own_tokens.ISSUER:
        return Proven(own_tokens.claims_of(read), None)
    issuer = issuers.token_issuers().get(read.issuer)
    if issuer is None:
        raise TokenRefused("issuer is unknown")
    if read.algorithm not in issuer.algorithms:
        raise TokenRefused("algorithm of this issuer")
    key = KEY_SETS.key_for(issuer, read)
    required = ("nbf",) if issuer.require_nbf else ()
    claims = jose.verified(
        read, key, algorithms=issuer.algorithms, issuer=issuer.issuer, audience=issuer.audience, required=required
    )  # fmt: skip
    return Proven(claims, issuer)


def bearer_of(proven: Proven) -> Bearer:
    """Asks the database. Raises ``TokenRefused``, ``NotAdmitted`` or ``django.db.Error``."""
    if proven.issuer is None:
        return Bearer(own_tokens.user_of(dict(proven.claims)), frozenset(str(proven.claims["scope"]).split()))
    return Bearer(identities.user_for(proven.issuer, proven.claims), frozenset(proven.issuer.scopes))
