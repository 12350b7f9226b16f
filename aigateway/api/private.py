"""What may be stored between the gateway and who asked: nothing that depends on who asked (C26)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

PRIVATE: Final = ("Cache-Control", "private, no-store")
CALLER_HEADERS: Final = ("Authorization", "X-API-Key", "Cookie")
"""Where a caller says who he is: a stored answer must not be given to one with others."""


class PrivateAnswersMiddleware:
    """Every answer of the control plane is for who asked, and is not to be stored, unless its view says that it is public. Static
    files are answered above it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if "public" in response.get("Cache-Control", ""):
            patch_vary_headers(response, CALLER_HEADERS)
        else:
            response[PRIVATE[0]] = PRIVATE[1]
        return response
