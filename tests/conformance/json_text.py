"""JSON of a body, if it is any."""

from __future__ import annotations

import json
from typing import Any


def parsed(body: bytes) -> Any:
    """``None`` when it is no JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
