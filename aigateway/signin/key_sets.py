"""Public keys of issuers: fetched by one thread at a time, kept, and asked for anew at most once a minute (S30)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
import structlog
from django.core.exceptions import ImproperlyConfigured

from aigateway.signin.fetching import IssuerUnreachable, fetch
from aigateway.signin.issuers import Issuer, check_url
from aigateway.signin.jose import KeysUnknown, Opened, TokenRefused

FRESH_S = 600.0
STALE_S = 3600.0
ASKED_EVERY_S = 60.0
KEYS_MAX = 50
KID_MAX = 200
RSA_BITS_MIN = 2048
DISCOVERY = "/.well-known/openid-configuration"
_CURVES = {"ES256": ("P-256",), "ES384": ("P-384",), "ES512": ("P-521",), "EdDSA": ("Ed25519", "Ed448")}
_PUBLIC = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y"), "OKP": ("kty", "crv", "x")}
_log = structlog.get_logger("aigateway.signin")


@dataclass(frozen=True, slots=True)
class _Kept:
    keys: Mapping[str, Mapping[str, Any]]
    fetched_at_s: float


class KeySets:
    """Of one process. Any thread may ask; the clock is injected."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._kept: dict[str, _Kept] = {}
        self._asked_at_s: dict[str, float] = {}
        self._documents: dict[str, tuple[float, Mapping[str, Any]]] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def key_for(self, issuer: Issuer, token: Opened) -> Any:
        """The issuer's key that the token names. Raises ``TokenRefused`` or ``KeysUnknown``."""
        if issuer.kids and token.kid not in issuer.kids:
            raise TokenRefused("kid is not on the list")
        kept = self._fresh(issuer, lambda found: token.kid in found.keys)
        if kept is None:
            raise KeysUnknown
        found = kept.keys.get(token.kid)
        if found is None:
            raise TokenRefused("kid is unknown")
        if found.get("alg", token.algorithm) != token.algorithm or found.get("crv", "") not in _CURVES.get(token.algorithm, ("",)):
            raise TokenRefused("algorithm of this key")
        try:
            key = jwt.PyJWK({name: found[name] for name in _PUBLIC[found["kty"]]}, algorithm=token.algorithm).key
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            raise TokenRefused("key does not fit the algorithm") from None
        if found["kty"] == "RSA" and key.key_size < RSA_BITS_MIN:
            raise TokenRefused("key is too short")
        return key

    def document(self, issuer: Issuer) -> Mapping[str, Any]:
        """What the issuer says of itself (OpenID Connect Discovery). Raises ``IssuerUnreachable``."""
        with self._lock(issuer.issuer + DISCOVERY):
            fetched_at_s, known = self._documents.get(issuer.issuer, (0.0, {}))
            if known and self._monotonic() - fetched_at_s < FRESH_S:
                return known
            said = fetch(issuer, issuer.issuer.rstrip("/") + DISCOVERY)
            if said.get("issuer") != issuer.issuer:
                raise IssuerUnreachable("discovery names another issuer")
            self._documents[issuer.issuer] = (self._monotonic(), said)
            return said

    def endpoint(self, issuer: Issuer, name: str) -> str:
        """An address from discovery. Raises ``IssuerUnreachable``."""
        url = self.document(issuer).get(name)
        try:
            check_url(name, url if isinstance(url, str) else "", allow_http=issuer.allow_http)
        except ImproperlyConfigured as error:
            raise IssuerUnreachable(str(error)) from None
        return str(url)

    def _fresh(self, issuer: Issuer, satisfies: Callable[[_Kept], bool]) -> _Kept | None:
        """Kept keys while they are fresh and have what is asked for; else one thread asks, the others wait for its answer."""
        kept = self._usable(issuer)
        if kept is not None and satisfies(kept) and self._age_s(kept) < FRESH_S:
            return kept
        with self._lock(issuer.issuer):
            kept = self._usable(issuer)
            if kept is not None and satisfies(kept) and self._age_s(kept) < FRESH_S:
                return kept
            if self._monotonic() - self._asked_at_s.get(issuer.issuer, -ASKED_EVERY_S) < ASKED_EVERY_S:
                return kept
            self._asked_at_s[issuer.issuer] = self._monotonic()
            try:
                self._kept[issuer.issuer] = _Kept(_keys(self._fetched(issuer)), self._monotonic())
            except IssuerUnreachable as error:
                _log.warning("issuer_keys_not_fetched", issuer=issuer.issuer, error=error.why)
            return self._usable(issuer)

    def _fetched(self, issuer: Issuer) -> Mapping[str, Any]:
        return fetch(issuer, issuer.jwks_url or self.endpoint(issuer, "jwks_uri"))

    def _usable(self, issuer: Issuer) -> _Kept | None:
        kept = self._kept.get(issuer.issuer)
        return kept if kept is not None and self._age_s(kept) < STALE_S else None

    def _age_s(self, kept: _Kept) -> float:
        return self._monotonic() - kept.fetched_at_s

    def _lock(self, name: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(name, threading.Lock())


def _keys(answer: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Signing keys by ``kid``. Shared secrets, private keys, keys for encryption and keys without a name are no keys here."""
    rows = answer.get("keys")
    if not isinstance(rows, list) or len(rows) > KEYS_MAX:
        raise IssuerUnreachable("no list of at most 50 keys")
    found: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        if not isinstance(row, Mapping) or row.get("kty") not in _PUBLIC or row.get("use", "sig") != "sig" or "d" in row:
            continue
        kid = row.get("kid")
        if isinstance(kid, str) and 0 < len(kid) <= KID_MAX and kid not in found:
            found[kid] = row
    return found


KEY_SETS = KeySets()
