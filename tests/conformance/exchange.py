"""One recorded exchange, read from a file that may be anything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BY_MEANING = frozenset({"sdk-object", "keys-sorted-ids-redacted", "json-reserialised"})
"""Fidelities whose bytes are not those of the wire: only what they mean is compared."""


class Malformed(Exception):
    """The file is no exchange."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """``request_body`` is a JSON value, text, or ``None`` where the request is unknown or has no body."""

    name: str
    provider: str
    vendor: str
    api: str
    kind: str
    is_stream: bool
    features: frozenset[str]
    path: str
    has_request: bool
    request_body: Any
    status: int
    headers: Mapping[str, str]
    body: bytes
    method: str = "POST"
    request_headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def error_label(self) -> str | None:
        return next((word.removeprefix("error:") for word in sorted(self.features) if word.startswith("error:")), None)


def files_of(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*.json") if path.is_file())


def read(path: Path, root: Path) -> Exchange:
    """Raises ``Malformed`` for a file that is not JSON or lacks what an exchange must have."""
    try:
        recorded = json.loads(path.read_bytes())
    except (ValueError, OSError, RecursionError) as error:
        raise Malformed(f"not readable as JSON: {error}") from None
    response = recorded.get("response") if isinstance(recorded, dict) else None
    if not isinstance(response, dict):
        raise Malformed("response: expected an object")
    status, body, request = response.get("status"), response.get("body"), recorded.get("request")
    if not isinstance(status, int) or isinstance(status, bool):
        raise Malformed(f"response.status: expected a number, got {status!r}")
    if not isinstance(body, str):
        raise Malformed(f"response.body: expected text, got {type(body).__name__}")
    request = request if isinstance(request, dict) else None
    headers, sent = response.get("headers"), (request or {}).get("headers")
    return Exchange(
        name=str(path.relative_to(root)),
        provider=_word(recorded, "provider"),
        vendor=_word(recorded, "vendor") or _word(recorded, "provider"),
        api=_word(recorded, "api"),
        kind=_word(recorded, "kind") or path.parent.name,
        is_stream=recorded.get("stream") is True,
        features=_features(recorded.get("features")),
        path=str((request or {}).get("path") or ""),
        has_request=request is not None,
        request_body=(request or {}).get("body"),
        status=status,
        headers=_headers(headers),
        body=_bytes(body),
        method=_word(request or {}, "method") or "POST",
        request_headers=_headers(sent),
    )


def _headers(headers: Any) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in headers.items()} if isinstance(headers, dict) else {}


def _word(recorded: Mapping[str, Any], key: str) -> str:
    value = recorded.get(key)
    return value if isinstance(value, str) else ""


def _features(value: Any) -> frozenset[str]:
    words = value.split(",") if isinstance(value, str) else value
    return frozenset(word for word in words if isinstance(word, str)) if isinstance(words, list) else frozenset()


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Malformed("response.body: it holds half a character (a lone surrogate)") from None
