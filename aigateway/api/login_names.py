"""What is kept of the name somebody tried to sign in with: people type their password there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.http import HttpRequest
from django.utils.crypto import salted_hmac


def name_tried(request: HttpRequest | None, credentials: Mapping[str, Any] | None = None) -> str | None:
    """The name of a user who exists; of any other text a mark that tells tries with the same text, and nothing of the text
    (``AXES_USERNAME_CALLABLE``)."""
    given = (credentials or {}).get("username") or (request.POST.get("username") if request is not None else None)
    if not given:
        return None
    if get_user_model()._default_manager.filter(username=given).exists():
        return str(given)
    return f"unknown name {salted_hmac('aigateway.login_names', str(given)).hexdigest()[:12]}"
