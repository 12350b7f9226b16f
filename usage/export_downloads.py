"""Export files sent while they are made, for what a browser can wait for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse

from usage import exports, focus
from usage.export_lines import LineSource

STREAMED: Final = ("csv", *focus.PROFILES)
FORMATS: Final = (*STREAMED, "focus")
"""``focus`` is the newest profile."""
HEADERS: Final = {"Cache-Control": "private, no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}


def streamed(request: HttpRequest, source: LineSource, format_name: str, stem: str, *, bom: bool = False) -> StreamingHttpResponse:
    """``source`` in one of ``FORMATS``, as the attachment ``stem``.csv."""
    format_name = focus.NEWEST if format_name == "focus" else format_name
    pieces = _pieces(source, format_name, bom)
    name = f"{stem}.csv" if format_name == "csv" else f"{stem}_{format_name}.csv"
    response = StreamingHttpResponse(
        exports.async_chunks(pieces) if isinstance(request, ASGIRequest) else pieces, content_type=exports.CONTENT_TYPE, headers=HEADERS
    )
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _pieces(source: LineSource, format_name: str, bom: bool) -> Iterator[bytes]:
    return exports.csv_chunks(source, bom=bom) if format_name == "csv" else focus.focus_chunks(source, format_name)
