"""Signed tokens, read strictly (S30): one compact form, one algorithm for each key, every time and name checked.

The library verifies the signature; what it would let pass is refused before: duplicate members, algorithms nobody listed, tokens of
any size. Nothing in a token's header chooses a key's place (``jku``, ``jwk``, ``x5u``) or its algorithm.
"""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from aigateway.api.parsing import InvalidJson, parse_strict

TOKEN_BYTES_MAX = 8 * 1024
LEEWAY_S = 30
ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_TYPES = ("", "jwt", "at+jwt", "application/at+jwt")


class TokenRefused(Exception):
    """The token is no good, whoever asks. ``why`` is for logs, never for clients."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class KeysUnknown(Exception):
    """The issuer's keys cannot be had now, so nobody can say whether the token is good: never 401."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A token as it reads before anybody checked its signature: good for finding the key, for nothing else."""

    token: str
    algorithm: str
    kid: str
    issuer: str


def looks_like_one(text: str) -> bool:
    """Whether a credential is meant as a token: a JSON object in base64 begins like this, a gateway key never does."""
    return text.startswith("eyJ") and text.count(".") == 2


def opened(token: str) -> Opened:
    """Raises ``TokenRefused``."""
    if len(token) > TOKEN_BYTES_MAX:
        raise TokenRefused("too long")
    if not _COMPACT.fullmatch(token):
        raise TokenRefused("not the compact form")
    first, second, _ = token.split(".")
    header, claims = _members(first), _members(second)
    algorithm, kid, issuer = header.get("alg"), header.get("kid", ""), claims.get("iss")
    if algorithm not in ASYMMETRIC:
        raise TokenRefused("algorithm")
    if "crit" in header or str(header.get("typ", "")).lower() not in _TYPES:
        raise TokenRefused("header")
    if not isinstance(kid, str) or not isinstance(issuer, str):
        raise TokenRefused("kid or iss")
    return Opened(token, algorithm, kid, issuer)


def verified(token: Opened, key: Any, *, algorithms: Iterable[str], issuer: str, audience: str, required: Iterable[str]) -> dict[str, Any]:
    """The claims of a token that ``key`` signed for ``audience`` and that is good now. Raises ``TokenRefused``."""
    if token.algorithm not in algorithms:
        raise TokenRefused("algorithm of this issuer")
    try:
        claims: dict[str, Any] = jwt.decode(
            token.token,
            key,
            algorithms=[token.algorithm],
            audience=audience,
            issuer=issuer,
            leeway=LEEWAY_S,
            options={"require": ["aud", "iss", "exp", "sub", *required]},
        )
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise TokenRefused(type(error).__name__) from None
    if not isinstance(claims["sub"], str) or not claims["sub"] or "\x00" in claims["sub"]:
        raise TokenRefused("sub")
    return claims


def _members(part: str) -> Mapping[str, Any]:
    try:
        members = parse_strict(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (InvalidJson, binascii.Error, ValueError):
        raise TokenRefused("not plain JSON") from None
    if not isinstance(members, Mapping):
        raise TokenRefused("not an object")
    return members
