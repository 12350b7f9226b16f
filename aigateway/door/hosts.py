"""Which requests for inference are meant for this gateway at all (C26)."""

from __future__ import annotations

from functools import lru_cache

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from aigateway.door.receipt import Scope
from aigateway.env import LOOPBACK_HOSTS
from aigateway.errors import GatewayError, invalid_request


def refuse_foreign(scope: Scope) -> None:
    """Raises ``GatewayError``: 400 for a ``Host`` that ``AIGATEWAY_ALLOWED_HOSTS`` does not name, as on the control plane (a page
    that rebinds a name of its own to this machine says that name), 426 for HTTP/1.0, which knows neither ``Host`` nor streams."""
    if scope.get("http_version") == "1.0":
        raise _too_old()
    sent = [value for name, value in scope["headers"] if name == b"host"]
    if len(sent) != 1 or not _is_served(sent[0].decode("latin1"), tuple(settings.ALLOWED_HOSTS), settings.DEBUG):
        raise invalid_request("This gateway is not known by the name in 'Host'.", code="host_not_allowed")


@lru_cache(maxsize=256)
def _is_served(host: str, allowed: tuple[str, ...], is_debug: bool) -> bool:
    """By Django's own rules."""
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, [*(allowed or (LOOPBACK_HOSTS if is_debug else ()))])


def _too_old() -> GatewayError:
    error = invalid_request("Use HTTP/1.1; behind nginx: 'proxy_http_version 1.1'.", code="http_version_too_old", status=426)
    error.headers = {"Upgrade": "HTTP/1.1"}
    return error
