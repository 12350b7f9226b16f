"""The folder of finished exports: files of the gateway's own user only, whole or not there at all."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final
from uuid import UUID

from django.conf import settings

from usage.exports import csv_file, focus, workbook
from usage.exports.lines import LineSource, Tally
from usage.models import Export

READ_BYTES: Final = 1 << 20
STRAY_AFTER: Final = timedelta(days=1)
OWNER_ONLY: Final = 0o600


class FileDamaged(Exception):
    """The file is gone or is not the one that was made; it must not be handed out."""


@dataclass(frozen=True, slots=True)
class Written:
    """``rows`` of a FOCUS file are more than the lines they come from."""

    bytes: int
    sha256: str
    columns: tuple[str, ...]


def folder() -> Path:
    path = Path(settings.VAR_DIR) / "exports"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def file_of(export: Export) -> Path:
    return folder() / f"{export.pk}.{'xlsx' if export.format == Export.Format.XLSX else 'csv'}"


def manifest_of(export: Export) -> Path:
    return folder() / f"{export.pk}.json"


def content_type_of(export: Export) -> str:
    return workbook.CONTENT_TYPE if export.format == Export.Format.XLSX else csv_file.CONTENT_TYPE


def download_name(export: Export) -> str:
    span = export.query.get("month") or f"{export.query['start']}_{export.query['end']}"
    return f"{export.format}_{span}{file_of(export).suffix}"


def digest_header(export: Export) -> str:
    """The value of ``Repr-Digest`` (RFC 9530)."""
    return f"sha-256=:{b64encode(bytes.fromhex(export.sha256)).decode()}:"


def columns_of(export: Export, source: LineSource) -> tuple[str, ...]:
    if export.format == Export.Format.XLSX:
        return workbook.SHEET_COLUMNS
    return focus.PROFILES.get(export.format, csv_file.COLUMNS[: source.columns])


@contextmanager
def only_one(export_id: UUID) -> Iterator[bool]:
    """Whether this process may work on the export. The lock ends with the process, however that ends."""
    descriptor = os.open(folder() / f"{export_id}.lock", os.O_RDWR | os.O_CREAT, OWNER_ONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


def write_file(export: Export, source: LineSource, created: datetime, tally: Tally, progress: Callable[[], None]) -> Written:
    """Writes the export's file anew and puts it in its place in one step."""
    path, part = file_of(export), folder() / f"{export.pk}.part"
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY))
    if export.format == Export.Format.XLSX:
        workbook.write_xlsx(source, part, created, tally, progress)
    else:
        with part.open("wb") as file:
            for piece in _pieces(export, source, tally):
                file.write(piece)
                progress()
    part.chmod(OWNER_ONLY)
    written = Written(part.stat().st_size, sha256_of(part), columns_of(export, source))
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)
    return written


def _pieces(export: Export, source: LineSource, tally: Tally) -> Iterator[bytes]:
    if export.format == Export.Format.CSV:
        return csv_file.csv_chunks(source, tally=tally, bom=bool(export.query.get("bom")))
    return focus.focus_chunks(source, export.format, tally=tally)


def write_manifest(export: Export, manifest: dict[str, Any]) -> None:
    path, part = manifest_of(export), folder() / f"{export.pk}.json.part"
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY), "w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=2)
    part.replace(path)


def read_manifest(export: Export) -> dict[str, Any]:
    """Raises ``FileDamaged``."""
    try:
        manifest: dict[str, Any] = json.loads(manifest_of(export).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileDamaged("The manifest of this export is gone. Make the export again.") from error
    return manifest


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def open_verified(export: Export) -> BinaryIO:
    """The finished file, after its bytes were compared with its SHA-256. Raises ``FileDamaged``."""
    try:
        file = file_of(export).open("rb")
    except OSError as error:
        raise FileDamaged("The file of this export is gone. Make the export again.") from error
    digest = hashlib.sha256()
    while piece := file.read(READ_BYTES):
        digest.update(piece)
    if digest.hexdigest() != export.sha256:
        file.close()
        raise FileDamaged("The file of this export was changed after it was made. Make the export again.")
    file.seek(0)
    return file


def pieces_of(file: BinaryIO) -> csv_file.Pieces:
    """The file in pieces; it is closed at the end."""
    with file:
        while piece := file.read(READ_BYTES):
            yield piece


def remove(export_id: UUID) -> None:
    for path in folder().glob(f"{export_id}.*"):
        path.unlink(missing_ok=True)


def remove_strays(known: set[str], now: datetime) -> int:
    """Deletes files of no known export that are older than a day; returns how many."""
    before = (now - STRAY_AFTER).timestamp()
    strays = [path for path in folder().iterdir() if path.name.split(".")[0] not in known and path.stat().st_mtime < before]
    for path in strays:
        path.unlink(missing_ok=True)
    return len(strays)
