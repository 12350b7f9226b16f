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

from aigateway.door import addresses, cross_origin  # noqa: E402
from aigateway.door.bodies import Bodies  # noqa: E402
from aigateway.door.credentials import receive_management_body  # noqa: E402
from aigateway.door.handler import EdgeHandler, Send, send_response  # noqa: E402
from aigateway.door.receipt import Incoming, Receive, Scope, refusal, replayed  # noqa: E402
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
        self._bodies = Bodies()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            if scope["path"] not in INFERENCE_PATHS:
                scope["path"] = addresses.meant(scope["path"])
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = cross_origin.allowed_origin(scope)
        if origin is not None:
            if cross_origin.is_preflight(scope):
                await cross_origin.answer_preflight(scope, send, origin)
                return
            send = cross_origin.telling(send, origin)
        if is_inference(scope["path"]) and self._edge is not None:
            await self._edge(scope, receive, send)
        else:
            await self._control_plane(scope, receive, send)

    async def _control_plane(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stock Django would read a body of any size into a temporary file before it looks at it (B03)."""
        incoming = Incoming(scope, receive)
        if not incoming.is_expected:
            await self._django(scope, receive, send)
            return
        callers = self._edge.plane.callers if self._edge is not None else None
        try:
            body = await receive_management_body(scope, incoming, self._bodies, callers)
            if body is not None:
                await self._django(scope, replayed(body, receive), send)
        except GatewayError as error:
            await send_response(refusal(scope, error), send)
        finally:
            incoming.release()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        plane = DataPlane()
        await plane.start()
        self._edge = EdgeHandler(plane, self._bodies)
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
    return path in INFERENCE_PATHS or addresses.is_inference(path)


application = Application()
