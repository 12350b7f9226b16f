"""Where a request carries its gateway key, for both planes: one reading, so that no check can look at another key than the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

BEARER = "bearer"
KEY_HEADERS = ("HTTP_X_API_KEY", "HTTP_X_GOOG_API_KEY", "HTTP_API_KEY")
"""OpenAI's and Anthropic's, Google's, Azure's."""
AMBIGUOUS = "ambiguous_api_key"
AMBIGUOUS_WORDS = "The request carries different API keys in different places."


class AmbiguousKey(Exception):
    """Two places of one request hold two different keys."""


def sent_key(meta: Mapping[str, Any], *, compare_address: bool = False) -> str | None:
    """The key of a request by its CGI-style variables; ``None`` without one. Raises ``AmbiguousKey``.

    Google's ``?key=`` is never read, because addresses end up in logs; with ``compare_address`` another one than the header's is
    refused all the same.
    """
    keys = sent_keys(meta)
    if not keys:
        return None
    if any(key != keys[0] for key in keys) or (compare_address and _differs_in_address(keys[0], meta.get("QUERY_STRING", ""))):
        raise AmbiguousKey
    return keys[0]


def sent_keys(meta: Mapping[str, Any]) -> list[str]:
    """What stands in each place a key may be sent in."""
    scheme, _, bearer = str(meta.get("HTTP_AUTHORIZATION", "")).strip().partition(" ")
    sent = [bearer.strip()] if scheme.lower() == BEARER else []
    sent += [str(meta[name]).strip() for name in KEY_HEADERS if name in meta]
    return [key for key in sent if key]


def _differs_in_address(key: str, query: str) -> bool:
    return "key=" in query and any(value != key for value in parse_qs(query).get("key", ()))
