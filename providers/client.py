"""The control plane's way out: one bounded, guarded, synchronous exchange. No ORM, usable from any thread.

Answers follow the same rules as on the data plane: no redirects, no proxies from the environment, identity encoding, one
deadline over the whole exchange, from the look-up of the name to the last byte, and a cap on all that comes back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import requests
import urllib3

from providers.own_services import own_addresses
from providers.upstream import errors, hops
from providers.upstream.adapters import ADAPTERS, credential_headers
from providers.upstream.egress import Bounds, EgressPolicy, guarded_session, join_url
from providers.upstream.tls import trust_context
from providers.upstream.types import HttpRequest, HttpResponse, ModelListing, ProviderSpec

BODY_MAX_BYTES = 32 * 1024 * 1024
FETCHED_MAX_BYTES = 256 * 1024
"""Of the answer of an endpoint that is no provider."""
CHUNK_BYTES = 64 * 1024
LIST_TIMEOUT_S = 15.0
CONNECT_TIMEOUT_S = 5.0
PAGES_MAX = 50


def exchange(spec: ProviderSpec, request: HttpRequest, timeout_s: float) -> HttpResponse:
    """Sends one request and reads the whole answer within ``timeout_s`` seconds.

    Any status that is not a success is raised as the class of its error (``UpstreamError``).
    """
    with open_exchange(spec, request, timeout_s) as (head, chunks):
        response = HttpResponse(head.status, head.headers, b"".join(chunks))
    if not 200 <= response.status < 300:
        raise ADAPTERS[spec.adapter].parse_error(response)
    return response


def list_models(spec: ProviderSpec, timeout_s: float = LIST_TIMEOUT_S) -> tuple[ModelListing, ...]:
    """Every model the provider lists, following pages within ``timeout_s`` in all. Raises ``UpstreamError``."""
    adapter = ADAPTERS[spec.adapter]
    deadline = time.monotonic() + timeout_s
    listings: list[ModelListing] = []
    cursor: str | None = None
    for _ in range(PAGES_MAX):
        page, cursor = adapter.parse_models(exchange(spec, adapter.render_models(cursor), deadline - time.monotonic()))
        listings += page
        if cursor is None:
            break
    return tuple(listings)


@contextmanager
def open_exchange(spec: ProviderSpec, request: HttpRequest, timeout_s: float) -> Iterator[tuple[HttpResponse, Iterator[bytes]]]:
    """The head of the answer (its body empty) and the body as it arrives. Raises ``UpstreamError``."""
    call = _Call(
        request.method,
        join_url(spec.base_url, request.path),
        _headers(spec, request),
        request.body,
        EgressPolicy.for_providers([spec], own_addresses()),
        spec.timeouts.connect_s,
        spec.ca_bundle,
    )
    with _opened(call, timeout_s, BODY_MAX_BYTES) as answer:
        yield answer


def fetch(
    method: str, url: str, headers: Mapping[str, str], body: bytes = b"", *, timeout_s: float, bytes_max: int = FETCHED_MAX_BYTES
) -> HttpResponse:
    """One exchange with an address of the gateway's own environment (a webhook, a key set): it may be private, and is https where it is
    public. The whole answer, any status but a redirect. Raises ``UpstreamError``."""
    policy = EgressPolicy.for_base_urls([url], own_addresses())
    with _opened(_Call(method, url, headers, body, policy), timeout_s, bytes_max) as (head, chunks):
        return HttpResponse(head.status, head.headers, b"".join(chunks), head.received_at_s)


def tell(url: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float) -> int:
    """Posts to such an address and returns the status of the answer, whose body nobody reads. Raises ``UpstreamError``."""
    policy = EgressPolicy.for_base_urls([url], own_addresses())
    try:
        with _opened(_Call("POST", url, headers, body, policy), timeout_s, 0) as (head, _):
            return head.status
    except errors.Redirected as answer:  # heard, and not followed
        return answer.status or 0


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    policy: EgressPolicy
    connect_s: float = CONNECT_TIMEOUT_S
    ca_bundle: str = ""


@contextmanager
def _opened(call: _Call, timeout_s: float, bytes_max: int) -> Iterator[tuple[HttpResponse, Iterator[bytes]]]:
    if timeout_s <= 0:
        raise errors.DeadlineExceeded("no time left")
    bounds = Bounds(timeout_s, bytes_max)
    trusted = trust_context(call.ca_bundle) if call.ca_bundle else None
    with guarded_session(call.policy, bounds, trusted) as session:
        response = _sent(session, call, timeout_s)
        try:
            headers = {name.lower(): value for name, value in response.headers.items()}
            yield HttpResponse(response.status_code, headers, b"", received_at_s=time.time()), _chunks(response, bounds, bytes_max)
        finally:
            response.close()


def _headers(spec: ProviderSpec, request: HttpRequest) -> dict[str, str]:
    headers = {**request.headers, **spec.extra_headers, "accept-encoding": "identity"}
    if spec.hop:
        headers[hops.HEADER] = hops.signed(spec.hop)
    if spec.credentials:
        headers |= credential_headers(spec.auth_style, spec.credentials[0].secret)
    elif spec.needs_credential:
        raise errors.CredentialLocked("the provider has no usable key")
    return headers


def _sent(session: requests.Session, call: _Call, timeout_s: float) -> requests.Response:
    try:
        response = session.request(
            call.method,
            call.url,
            data=call.body or None,
            headers=dict(call.headers),
            timeout=(min(call.connect_s, timeout_s), timeout_s),
            allow_redirects=False,
            stream=True,
        )
    except requests.RequestException as error:
        raise _transport_error(error) from error
    if 300 <= response.status_code < 400:
        response.close()
        raise errors.Redirected("the provider answered with a redirect", status=response.status_code)
    return response


def _chunks(response: requests.Response, bounds: Bounds, bytes_max: int) -> Iterator[bytes]:
    """The body in pieces as they arrive."""
    total = 0
    try:
        while chunk := response.raw.read1(CHUNK_BYTES):
            total += len(chunk)
            if total > bytes_max:
                raise errors.BodyTooLarge(f"more than {bytes_max} bytes")
            if bounds.is_over:
                raise errors.DeadlineExceeded("the answer took too long")
            yield chunk
    except urllib3.exceptions.ReadTimeoutError as error:
        raise errors.IdleTimeout("the provider stopped answering") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise errors.ConnectionLost("the connection broke") from error


def _transport_error(error: requests.RequestException) -> errors.UpstreamError:
    """By the type of the innermost cause, never by its text."""
    causes = tuple(_causes(error))
    for kind, ours in _TRANSPORT:
        if any(isinstance(cause, kind) for cause in causes):
            return ours(ours.__name__)
    return errors.ConnectFailed("ConnectFailed")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        reason = getattr(error, "reason", None) or next((part for part in error.args if isinstance(part, BaseException)), None)
        error = reason if isinstance(reason, BaseException) else error.__cause__ or error.__context__


_TRANSPORT: tuple[tuple[type[BaseException], type[errors.UpstreamError]], ...] = (
    (requests.exceptions.ConnectTimeout, errors.ConnectTimeout),
    (requests.exceptions.ReadTimeout, errors.FirstByteTimeout),
    (requests.exceptions.SSLError, errors.TlsFailed),
    (urllib3.exceptions.NameResolutionError, errors.DnsFailed),
    (urllib3.exceptions.ProtocolError, errors.ConnectionLost),
    (requests.exceptions.InvalidURL, errors.EgressDenied),
)
