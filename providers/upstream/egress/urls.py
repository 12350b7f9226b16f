"""URLs of providers: where they lead, in one spelling, and what may be put behind them."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import urlsplit

from providers.upstream.egress.classes import host_name
from providers.upstream.errors import EgressDenied


def host_and_port(url: str) -> tuple[str, int]:
    """Host (in its one spelling, see ``host_name``) and port of an http(s) URL; raises ``EgressDenied`` for anything else."""
    _, host, port = _origin_parts(url)
    return host, port


def origin_of(url: str) -> str:
    """Scheme, host and port of an http(s) URL in one spelling (``https://host:443``): what a stored key is bound to.

    Raises ``EgressDenied`` for anything else.
    """
    scheme, host, port = _origin_parts(url)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


@lru_cache(maxsize=1024)
def _origin_parts(url: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
        host = host_name(parts.hostname or "")
    except ValueError:
        raise EgressDenied("the URL cannot be parsed") from None
    if not host or not port or parts.username is not None or parts.password is not None:
        raise EgressDenied("the URL must be http or https, with a host and without credentials")
    return parts.scheme, host, port


# The one query a base URL may have: Azure's, which belongs to every call below it.
BASE_QUERY = re.compile(r"api-version=[A-Za-z0-9.-]{1,40}")


@lru_cache(maxsize=1024)
def join_url(base_url: str, path: str) -> str:
    """``base_url`` plus an adapter's path, before the base URL's own query. Raises ``EgressDenied`` if the path could reach outside
    of it."""
    base, asks, query = base_url.partition("?")
    place, _, own_query = path.partition("?")
    url = base.rstrip("/") + place
    if own_query or query:
        url += "?" + "&".join(part for part in (own_query, query) if part)
    is_clean = path.startswith("/") and url.isascii() and url.isprintable() and not set("\\# @") & set(place)
    if not is_clean or ".." in place.split("/") or "#" in url or (asks and not BASE_QUERY.fullmatch(query)):
        raise EgressDenied("the URL has parts that do not belong into a URL of a provider")
    if host_and_port(url) != host_and_port(base_url):
        raise EgressDenied("the path changes the host")
    return url
