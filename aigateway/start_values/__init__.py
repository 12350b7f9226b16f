"""One table of every environment variable and what it may be. A start with a wrong one stops, with a line for each; never its value."""

from __future__ import annotations

from aigateway.start_values.table import checks, faults, require
from aigateway.start_values.values import listed

__all__ = ["checks", "faults", "listed", "require"]
