"""Asks an issuer: guarded like every call of the gateway, bounded in time and size, no redirects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from aigateway.api.parsing import InvalidJson, parse_strict
from aigateway.signin.issuers import Issuer
from providers import client
from providers.upstream.errors import UpstreamError

TIMEOUT_S = 5.0
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


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
    sent = {"Accept": "application/json", "Accept-Encoding": "identity", **(FORM if form is not None else {}), **(headers or {})}
    method, body = ("GET", b"") if form is None else ("POST", urlencode(form).encode())
    places = [place for place in (issuer.issuer, issuer.jwks_url) if place]
    try:
        response = client.fetch(method, url, sent, body, timeout_s=TIMEOUT_S, private=places, ca_bundle=issuer.ca_bundle)
    except UpstreamError as error:
        raise IssuerUnreachable(type(error).__name__) from None
    if response.status != 200:
        raise IssuerUnreachable(f"status {response.status}")
    try:
        answer = parse_strict(response.body)
    except InvalidJson:
        raise IssuerUnreachable("not plain JSON") from None
    if not isinstance(answer, Mapping):
        raise IssuerUnreachable("not an object")
    return answer
