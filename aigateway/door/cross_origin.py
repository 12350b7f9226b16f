"""Cross-origin requests of browsers, for origins an administrator names (C08). Never with cookies: a key says who is calling."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings

from aigateway.door import addresses
from aigateway.door.receipt import Scope

_METHODS: Final = b"GET, POST, PUT, PATCH, DELETE"
_EXPOSED: Final = ", ".join(
    f"X-{name}"
    for name in (
        *("Request-ID", "Gateway-Provider", "Gateway-Model", "Gateway-Attempts", "Gateway-Cached", "Gateway-Policy", "Gateway-Why"),
        *("Gateway-Request-ID", "Gateway-Degraded", "Gateway-Cost-USD", "RateLimit-Limit-Requests", "RateLimit-Limit-Tokens"),
        *("RateLimit-Remaining-Requests", "RateLimit-Remaining-Tokens", "RateLimit-Reset-Requests", "RateLimit-Reset-Tokens"),
    )
).encode()
_CACHED_S: Final = b"600"
Headers = list[tuple[bytes, bytes]]


def allowed_origin(scope: Scope) -> bytes | None:
    """What to answer to the request's ``Origin``; ``None`` where the browser must not read the answer."""
    origins = settings.CORS_ORIGINS
    if not origins or not (addresses.is_inference(scope["path"]) or scope["path"].startswith("/api/")):
        return None
    origin: bytes = dict(scope["headers"]).get(b"origin", b"")
    if not origin:
        return None
    if "*" in origins:
        return b"*"
    return origin if origin.decode("latin1") in origins else None


def is_preflight(scope: Scope) -> bool:
    return scope["method"] == "OPTIONS" and b"access-control-request-method" in dict(scope["headers"])


async def answer_preflight(scope: Scope, send: Any, origin: bytes) -> None:
    wanted: bytes = dict(scope["headers"]).get(b"access-control-request-headers", b"")
    headers: Headers = [
        *_told(origin),
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", wanted[:2000]),
        (b"access-control-max-age", _CACHED_S),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def telling(send: Any, origin: bytes) -> Any:
    """A ``send`` whose answers the page may read."""

    async def tell(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = [*message["headers"], *_told(origin), (b"access-control-expose-headers", _EXPOSED)]
            message = {**message, "headers": headers}
        await send(message)

    return tell


def _told(origin: bytes) -> Headers:
    allow = (b"access-control-allow-origin", origin)
    return [allow] if origin == b"*" else [allow, (b"vary", b"Origin")]
