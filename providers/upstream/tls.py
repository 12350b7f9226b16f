"""Whom a provider's certificate must be signed by. Verification is never off."""

from __future__ import annotations

import ssl
from functools import lru_cache

CA_BUNDLE_CHARS_MAX = 100_000


class CaBundleInvalid(ValueError):
    """The text holds no certificate that can be trusted."""


@lru_cache(maxsize=256)
def trust_context(ca_bundle: str) -> ssl.SSLContext:
    """A context that trusts the authorities of this PEM text and nobody else. Raises ``CaBundleInvalid``."""
    try:
        context = ssl.create_default_context(cadata=ca_bundle)
    except (ssl.SSLError, ValueError, TypeError) as error:
        raise CaBundleInvalid("no certificates in PEM form") from error
    if not context.get_ca_certs():
        raise CaBundleInvalid("no certificate of an authority")
    return context
