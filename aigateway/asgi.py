"""The ASGI application: the edge for inference paths, Django for everything else, one data plane for both."""

from __future__ import annotations

import gc
import os
from typing import Any

import django
import structlog

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aigateway.settings")
django.setup()

from django.core.handlers.asgi import ASGIHandler  # noqa: E402 - needs the settings above

from aigateway.door import hosts  # noqa: E402
from aigateway.door.handler import EdgeHandler, Send, send_response  # noqa: E402
from aigateway.door.receipt import Receive, Scope, receive_body, refusal, replayed  # noqa: E402
from aigateway.door.views import INFERENCE_PATHS  # noqa: E402
from aigateway.errors import GatewayError  # noqa: E402
from aigateway.runtime import DataPlane  # noqa: E402

GC_THRESHOLD = 10_000
"""Allocations between collections. Requests leave next to no cycles; Python's 700 costs a tenth of the processor time."""
_log = structlog.get_logger("aigateway.asgi")


class Application:
    """Routes by path. The data plane lives from lifespan start-up to shutdown."""

    def __init__(self) -> None:
        self._django: Any = ASGIHandler()
        self._edge: EdgeHandler | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http" and is_inference(scope["path"]) and self._edge is not None:
            await self._inference(self._edge, scope, receive, send)
        elif scope["type"] == "http":
            await self._control_plane(scope, receive, send)

    async def _inference(self, edge: EdgeHandler, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            hosts.refuse_foreign(scope)
        except GatewayError as error:
            await send_response(refusal(scope, error), send)
            return
        await edge(scope, receive, send)

    async def _control_plane(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stock Django would read a body of any size into a temporary file before it looks at it (B03)."""
        try:
            body = await receive_body(scope, receive)
        except GatewayError as error:
            await send_response(refusal(scope, error), send)
            return
        if body is not None:
            await self._django(scope, replayed(body, receive), send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        plane = DataPlane()
        await plane.start()
        self._edge = EdgeHandler(plane)
        gc.collect()
        gc.freeze()  # what start-up made lives as long as the process: no collection needs to walk it again
        gc.set_threshold(GC_THRESHOLD)
        _log.info("data_plane_started", version=plane.version)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await plane.stop()
        _log.info("data_plane_stopped")
        await send({"type": "lifespan.shutdown.complete"})


def is_inference(path: str) -> bool:
    return path in INFERENCE_PATHS or path.startswith(("/v1/", "/v1beta/", "/api/v1/ai/v1/"))


application = Application()
