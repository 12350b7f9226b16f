"""Asks an endpoint of the operator's own who has subscribed to what: ``GET <URL>?user=<name>``.

The answer is 404 for nobody, or ``{"subscriptions": [{"tier": "...", "status": "active", "expires_at": "<RFC 3339>"}]}``.
"""

from __future__ import annotations

from datetime import datetime
from urllib.parse import quote, urlsplit

import msgspec
from django.conf import settings

from aigateway.entitlements.checks import Fetch, SubscriptionUnknown
from providers.text import is_plain
from providers.upstream.errors import UpstreamError
from providers.upstream.transport import Deadline, Transport
from providers.upstream.types import AuthStyle, CredentialRef, HealthStatus, HttpRequest, ProviderSpec, Secret, Timeouts, Wire
from usage.subscriptions import EntitlementRecord

TIMEOUT_S = 3.0
ANSWER_BYTES_MAX = 256 * 1024
_CONNECTIONS_MAX = 20


class _Subscription(msgspec.Struct):
    tier: str
    status: str
    expires_at: datetime | None = None


class _Answer(msgspec.Struct):
    subscriptions: list[_Subscription]


def specs() -> tuple[ProviderSpec, ...]:
    """The endpoint as something the transport can call; empty when none is configured. Its address comes from the
    environment, which whoever runs the gateway controls, so it may be private."""
    if not settings.SUBSCRIPTION_ENDPOINT_URL:
        return ()
    url = urlsplit(settings.SUBSCRIPTION_ENDPOINT_URL)
    token = Secret(settings.SUBSCRIPTION_ENDPOINT_TOKEN)
    return (
        ProviderSpec(
            id=0,
            slug="subscriptions",
            label="Subscription endpoint",
            kind="subscriptions",
            adapter=Wire.NATIVE,
            base_url=f"{url.scheme}://{url.netloc}",
            auth_style=AuthStyle.BEARER if token else AuthStyle.NONE,
            credentials=(CredentialRef("subscriptions", token),) if token else (),
            needs_credential=False,
            timeouts=Timeouts(connect_s=1.0, first_byte_s=TIMEOUT_S, idle_s=TIMEOUT_S, total_s=TIMEOUT_S),
            allow_private=True,
            max_connections=_CONNECTIONS_MAX,
            priority=0,
            weight=1,
            health=HealthStatus.UNKNOWN,
        ),
    )


def fetcher(transport: Transport) -> Fetch | None:
    """``None`` without an endpoint."""
    found = specs()
    if not found:
        return None
    spec = found[0]

    path = urlsplit(settings.SUBSCRIPTION_ENDPOINT_URL).path or "/"

    async def fetch(username: str) -> tuple[EntitlementRecord, ...]:
        request = HttpRequest(path=f"{path}?user={quote(username, safe='')}", body=b"", method="GET")
        try:
            response = await transport.send(
                spec, next(iter(spec.credentials), None), request, Deadline(TIMEOUT_S), bytes_max=ANSWER_BYTES_MAX
            )
        except UpstreamError as error:
            raise SubscriptionUnknown(error.code) from error
        if response.status == 404:
            return ()
        if response.status != 200:
            raise SubscriptionUnknown(f"status {response.status}")
        try:
            answer = msgspec.json.decode(response.body, type=_Answer)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise SubscriptionUnknown("not the agreed JSON") from None
        return tuple(_record(row) for row in answer.subscriptions)

    return fetch


def _record(row: _Subscription) -> EntitlementRecord:
    if row.expires_at is not None and row.expires_at.tzinfo is None:
        raise SubscriptionUnknown("expires_at has no time zone")
    if not (is_plain(row.tier) and is_plain(row.status)):
        raise SubscriptionUnknown("a tier or status has characters that cannot be seen")
    return EntitlementRecord(row.tier, row.status, row.expires_at)
