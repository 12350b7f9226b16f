"""What ``OPTIONS`` tells: the methods. The framework's own answer asks a view for objects and fields it may not have (C09)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.metadata import BaseMetadata
from rest_framework.request import Request

if TYPE_CHECKING:  # the framework reads its settings while it defines this class
    from rest_framework.views import APIView


class Methods(BaseMetadata):
    """Says what the header ``Allow`` says; everything else stands in the OpenAPI document."""

    def determine_metadata(self, request: Request, view: APIView) -> dict[str, list[str]]:  # noqa: ARG002 - the framework's signature
        return {"methods": view.allowed_methods}
