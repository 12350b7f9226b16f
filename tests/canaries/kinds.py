"""What must not leak, and how it is looked for: whole, in any part of eight characters, encoded or broken up."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from urllib.parse import quote

PART = 8


@dataclass(frozen=True)
class Canary:
    """``secret`` is random, so that no part of it stands anywhere by chance."""

    kind: str
    secret: str

    def forms(self) -> set[bytes]:
        raw = self.secret.encode()
        found = {raw[start : start + PART] for start in range(len(raw) - PART + 1)}
        found |= {self.secret[::-1].encode(), raw.hex().encode(), raw.hex().upper().encode()}
        found |= {quote(self.secret, safe="").encode(), "".join(f"%{byte:02x}" for byte in raw).encode()}
        for lead in range(3):
            encoded = base64.b64encode(b"\0" * lead + raw + b"\0\0\0")
            inner = encoded[(0, 2, 3)[lead] : (0, 2, 3)[lead] + len(raw)]
            found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
        return found

    def leaks_into(self, text: bytes) -> list[bytes]:
        joined = b"".join(text.split())
        return sorted(form for form in self.forms() if form in text or form in joined)


def _word() -> str:
    return secrets.token_hex(20)


def new_canaries() -> dict[str, str]:
    """By kind. Those of one gateway key are its two halves."""
    return {
        "provider key": f"sk-{_word()}",
        "key in the environment": _word(),
        "gateway key": secrets.token_urlsafe(33).replace("-", "x").replace("_", "y")[:43],
        "key ring": base64.b64encode(secrets.token_bytes(32)).decode(),
        "SECRET_KEY": _word(),
        "user password": _word(),
        "administrator's password": _word(),
        "subscription webhook secret": f"whsec_{_word()}",
        "alert webhook secret": _word(),
        "subscription endpoint token": _word(),
        "mail password": _word(),
        "database password": _word(),
        "Redis password": _word(),
        "prompt": _word(),
        "answer": _word(),
        "system prompt of a product": _word(),
    }


LEARNT = ("session", "CSRF token", "gateway key made in the admin")
"""Kinds that the gateway makes itself, while the scenario runs."""
SINKS = (
    "logs",
    "client errors",
    "cut errors",
    "admin pages",
    "cookies",
    "audit log",
    "CSV",
    "OpenAPI document",
    "database",
    "spool",
    "broker files",
    "export files",
    "idempotency store",
    "health",
    "process arguments",
    "environment of children",
    "terminal",
)
_ITS_OWN_PLACE = {
    ("session", "cookies"): "it is one",
    ("session", "database"): "Django's session table is keyed by it; it ends with the session",
    ("CSRF token", "cookies"): "it is one; without a session it proves nothing",
    ("system prompt of a product", "admin pages"): "staff who may see presets edit it there",
    ("system prompt of a product", "database"): "configuration, stored as such",
    ("system prompt of a product", "audit log"): "who changed it, from what to what",
}
_PROCESS = (
    "SECRET_KEY",
    "key ring",
    "subscription webhook secret",
    "alert webhook secret",
    "subscription endpoint token",
    "mail password",
    "Redis password",
    "database password",
)
ALLOWED = _ITS_OWN_PLACE | {(kind, "environment of children"): "web, worker and beat read their settings there" for kind in _PROCESS}
"""Cells where a kind belongs, and why."""
