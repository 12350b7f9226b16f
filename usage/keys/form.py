"""The form of gateway keys: ``gw_<id>_<secret>``, looked up by the id and compared by hash."""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from hmac import compare_digest
from typing import Final

KEY_ID_LENGTH: Final = 12
FOREIGN_KEY_MIN: Final = 8
KEY_MAX: Final = 512

_ALPHABET: Final = string.ascii_lowercase + string.digits
_KEY: Final = re.compile(r"gw_([a-z0-9]{12})_[A-Za-z0-9_-]{43}")


def new_key() -> str:
    """A fresh key: 12 random characters to find it by, 256 random bits to prove it."""
    key_id = "".join(secrets.choice(_ALPHABET) for _ in range(KEY_ID_LENGTH))
    return f"gw_{key_id}_{secrets.token_urlsafe(32)}"


def lookup_id(plaintext: str) -> str | None:
    """The public id of a key; ``None`` for text that cannot be one.

    A key of another form (one brought along at the first start) may be any printable ASCII text of at least 8
    characters; its id is taken from its hash.
    """
    if match := _KEY.fullmatch(plaintext):
        return match.group(1)
    if not FOREIGN_KEY_MIN <= len(plaintext) <= KEY_MAX or not all("!" <= character <= "~" for character in plaintext):
        return None
    return hashlib.sha256(b"lookup:" + plaintext.encode()).hexdigest()[:KEY_ID_LENGTH]


def sha256(plaintext: str) -> bytes:
    """What is stored of a key. Its 256 random bits need no slow hash."""
    return hashlib.sha256(plaintext.encode("utf-8", "replace")).digest()


def matches(stored_sha256: bytes, plaintext: str) -> bool:
    """Compares in constant time. For an unknown key compare with ``NO_KEY``, so that both cases take as long."""
    return compare_digest(stored_sha256, sha256(plaintext))


NO_KEY: Final = bytes(32)
"""The hash of no known text."""
