"""Export files on their way out: sent while they are made, or finished ones after their SHA-256 was checked."""

from __future__ import annotations

from typing import Final

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse

from usage.exports import csv_file, files, focus
from usage.exports.lines import LineSource
from usage.models import Export

STREAMED: Final = ("csv", *focus.PROFILES)
FORMATS: Final = (*STREAMED, "focus")
"""``focus`` is the newest profile."""
HEADERS: Final = {"Cache-Control": "private, no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}


def streamed(request: HttpRequest, source: LineSource, format_name: str, stem: str, *, bom: bool = False) -> StreamingHttpResponse:
    """``source`` in one of ``FORMATS``, as the attachment ``stem``.csv."""
    format_name = focus.NEWEST if format_name == "focus" else format_name
    name = f"{stem}.csv" if format_name == "csv" else f"{stem}_{format_name}.csv"
    return _attachment(request, _pieces(source, format_name, bom), name, csv_file.CONTENT_TYPE)


def finished_file(request: HttpRequest, export: Export) -> StreamingHttpResponse:
    """The file of a finished export. Raises ``FileDamaged`` when it is gone or was changed."""
    file = files.open_verified(export)
    pieces = files.pieces_of(file)
    response = _attachment(request, pieces, files.download_name(export), files.content_type_of(export))
    response["Content-Length"] = str(export.bytes)
    response["Repr-Digest"] = files.digest_header(export)
    return response


def _attachment(request: HttpRequest, pieces: csv_file.Pieces, name: str, content_type: str) -> StreamingHttpResponse:
    response = StreamingHttpResponse(
        csv_file.async_chunks(pieces) if isinstance(request, ASGIRequest) else pieces, content_type=content_type, headers=HEADERS
    )
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _pieces(source: LineSource, format_name: str, bom: bool) -> csv_file.Pieces:
    return csv_file.csv_chunks(source, bom=bom) if format_name == "csv" else focus.focus_chunks(source, format_name)
