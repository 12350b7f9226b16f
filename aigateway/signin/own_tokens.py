"""The gateway's own access tokens: short, signed with Ed25519, good as long as their sign-in and epoch are (S30, S31)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from aigateway.models import SignIn
from aigateway.signin import jose, standing
from aigateway.signin.jose import TokenRefused

ALGORITHM = "EdDSA"
ISSUER = "aigateway"
AUDIENCE = "aigateway/api"
LIFETIME_S = 600
REFRESH_LIFETIME_S = 12 * 3600
_CLAIMS = ("iat", "nbf", "jti", "sid", "epoch", "proof", "scope")


@dataclass(frozen=True, slots=True, repr=False)
class Issued:
    """``refresh_token`` is set where the sign-in is a chain of tokens; a session simply asks again."""

    access_token: str
    expires_in_s: int
    scopes: tuple[str, ...]
    refresh_token: str | None = None


@lru_cache(maxsize=4)
def _key(secret: str) -> Ed25519PrivateKey:
    """The same in every process of an installation: derived from its secret key, and useless for anything else."""
    derived = HKDF(hashes.SHA256(), 32, salt=None, info=b"aigateway access tokens, 1").derive(secret.encode())
    return Ed25519PrivateKey.from_private_bytes(derived)


def _kid(key: Ed25519PrivateKey) -> str:
    return hashlib.sha256(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


def issue(user: User, sign_in: SignIn, scopes: Iterable[str]) -> Issued:
    key, now, epoch = _key(settings.SECRET_KEY), int(time.time()), standing.epoch_of(user)
    granted = tuple(sorted(set(scopes)))
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(user.pk),
        "iat": now,
        "nbf": now,
        "exp": now + LIFETIME_S,
        "jti": secrets.token_urlsafe(12),
        "sid": str(sign_in.pk),
        "epoch": epoch,
        "proof": standing.token_proof(user, epoch),
        "scope": " ".join(granted),
    }
    return Issued(jwt.encode(claims, key, ALGORITHM, headers={"kid": _kid(key), "typ": "at+jwt"}), LIFETIME_S, granted)


def issue_chain(user: User, sign_in: SignIn, scopes: Iterable[str]) -> Issued:
    """A token and what renews it. Each renewal replaces the one before; only its hash is kept."""
    issued = issue(user, sign_in, scopes)
    renewal = f"gr_{sign_in.pk.hex}_{secrets.token_urlsafe(32)}"
    kept = " ".join(issued.scopes)
    SignIn.objects.filter(pk=sign_in.pk).update(refresh_sha256=_sha256(renewal), scopes=kept, seen_at=timezone.now())
    return Issued(issued.access_token, issued.expires_in_s, issued.scopes, renewal)


def renew(renewal: str) -> Issued:
    """With the same scopes. Raises ``TokenRefused``: unknown, old, ended, or its user is inactive.

    One that was used before ends the whole chain: two hold it, and one of them stole it.
    """
    sign_in_id = _sign_in_id(renewal)
    with transaction.atomic():
        sign_in = SignIn.objects.select_for_update(of=("self",)).select_related("user").filter(pk=sign_in_id, ended_at=None).first()
        if sign_in is None or sign_in.refresh_sha256 is None:
            raise TokenRefused("no such sign-in")
        user = sign_in.user
        is_old = (timezone.now() - sign_in.signed_in_at).total_seconds() > REFRESH_LIFETIME_S
        if user.is_active and not is_old and hmac.compare_digest(bytes(sign_in.refresh_sha256), _sha256(renewal)):
            return issue_chain(user, sign_in, sign_in.scopes.split())
        standing.end(sign_in, "a refresh token was used twice, or too late")
    raise TokenRefused("renewal is used, old, or of an inactive user")


def revoke(renewal: str) -> None:
    """Ends the chain whose current renewal this is; anything else ends nothing and says nothing."""
    try:
        sign_in = SignIn.objects.filter(pk=_sign_in_id(renewal), ended_at=None).first()
    except TokenRefused:
        return
    if sign_in is not None and hmac.compare_digest(bytes(sign_in.refresh_sha256 or b""), _sha256(renewal)):
        standing.end(sign_in)


def _sign_in_id(renewal: str) -> uuid.UUID:
    parts = renewal.split("_", 2)
    try:
        if len(parts) == 3 and parts[0] == "gr":
            return uuid.UUID(hex=parts[1])
    except ValueError:
        pass
    raise TokenRefused("not a renewal")


def _sha256(renewal: str) -> bytes:
    return hashlib.sha256(renewal.encode("utf-8", "replace")).digest()


def claims_of(token: jose.Opened) -> dict[str, Any]:
    """Raises ``TokenRefused``. Whether the user still stands is another question: ``user_of``."""
    key = _key(settings.SECRET_KEY)
    if token.kid != _kid(key):
        raise TokenRefused("kid is not ours")
    return jose.verified(token, key.public_key(), algorithms=(ALGORITHM,), issuer=ISSUER, audience=AUDIENCE, required=_CLAIMS)


def user_of(claims: dict[str, Any]) -> User:
    """Asks the database. Raises ``TokenRefused``."""
    user = User.objects.filter(pk=int(claims["sub"]), is_active=True).first()
    if user is None:
        raise TokenRefused("no such active user")
    epoch = standing.epoch_of(user)
    if claims["epoch"] != epoch or not hmac.compare_digest(str(claims["proof"]), standing.token_proof(user, epoch)):
        raise TokenRefused("of an epoch that is over")
    if not standing.is_live(uuid.UUID(claims["sid"])):
        raise TokenRefused("its sign-in was ended")
    return user
