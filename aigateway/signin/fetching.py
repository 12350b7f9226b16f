"""Asks an issuer: guarded like every call of the gateway, bounded in time and size, no redirects."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import requests
import urllib3

from aigateway.api.parsing import InvalidJson, parse_strict
from aigateway.signin.issuers import Issuer
from providers.addresses import own_addresses
from providers.upstream.egress import EgressPolicy, guarded_session
from providers.upstream.errors import EgressDenied
from providers.upstream.tls import trust_context

TIMEOUT_S = 5.0
BODY_BYTES_MAX = 256 * 1024
_CHUNK_BYTES = 16 * 1024


class IssuerUnreachable(Exception):
    """No usable answer: ``why`` is for logs."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def fetch(
    issuer: Issuer, url: str, *, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> Mapping[str, Any]:
    """The JSON object at ``url``; with ``form`` it is posted. Raises ``IssuerUnreachable``.

    The address comes from the environment or from the issuer it names, so exactly its host and port may be private.
    """
    deadline = time.monotonic() + TIMEOUT_S
    policy = EgressPolicy.for_base_urls(_places(issuer), own_addresses())
    trusted = trust_context(issuer.ca_bundle) if issuer.ca_bundle else None
    try:
        with guarded_session(policy, trusted) as session:
            response = session.request(
                "GET" if form is None else "POST",
                url,
                data=form,
                headers={"Accept": "application/json", **(headers or {})},
                timeout=TIMEOUT_S,
                allow_redirects=False,
                stream=True,
            )
            with response:
                body = _body(response, deadline)
    except (requests.RequestException, urllib3.exceptions.HTTPError, EgressDenied, OSError) as error:
        raise IssuerUnreachable(type(error).__name__) from None
    if response.status_code != 200:
        raise IssuerUnreachable(f"status {response.status_code}")
    try:
        answer = parse_strict(body)
    except InvalidJson:
        raise IssuerUnreachable("not plain JSON") from None
    if not isinstance(answer, Mapping):
        raise IssuerUnreachable("not an object")
    return answer


def _places(issuer: Issuer) -> list[str]:
    return [url for url in (issuer.issuer, issuer.jwks_url) if url]


def _body(response: requests.Response, deadline: float) -> bytes:
    pieces: list[bytes] = []
    total = 0
    while piece := response.raw.read1(_CHUNK_BYTES):
        total += len(piece)
        if total > BODY_BYTES_MAX:
            raise IssuerUnreachable("too large")
        if time.monotonic() > deadline:
            raise IssuerUnreachable("too slow")
        pieces.append(piece)
    return b"".join(pieces)
