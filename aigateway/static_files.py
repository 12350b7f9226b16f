"""Static files below ASGI: whole answers, where WhiteNoise's synchronous iterators would be buffered with a warning each."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from whitenoise.middleware import WhiteNoiseMiddleware  # type: ignore[import-untyped]


class StaticFilesMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc]
    """Our largest file is Swagger UI's bundle, 1.5 MB: reading it whole costs less than streaming it."""

    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> HttpResponse:
        streamed = WhiteNoiseMiddleware.serve(static_file, request)
        whole = HttpResponse(b"".join(streamed.streaming_content), status=streamed.status_code, headers=dict(streamed.items()))
        streamed.close()
        return whole
