"""Exports: the ledger as files, and months that are closed."""

from __future__ import annotations

from usage.exports.csv_file import CONTENT_TYPE, Cell, encoded
from usage.exports.lines import CHUNK_LINES, TRIGGERS, safe_text

__all__ = ["CHUNK_LINES", "CONTENT_TYPE", "TRIGGERS", "Cell", "encoded", "safe_text"]
