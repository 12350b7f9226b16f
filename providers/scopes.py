"""What an API key needs for the endpoints of this app. Whoever compares stands above, so scopes are plain words here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

READ: Final = "providers_read"
MANAGE: Final = "manage_providers"
BY_METHOD: Final[Mapping[str, str]] = {"GET": READ, "POST": MANAGE, "PUT": MANAGE, "PATCH": MANAGE, "DELETE": MANAGE}
