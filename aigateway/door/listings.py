"""The listings of models, in the words of every client: what this caller may ask for (R105)."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from aigateway.dialects.anthropic_messages import anthropic_listing, anthropic_model
from aigateway.dialects.gemini import gemini_listing, gemini_model
from aigateway.dialects.model_listings import Reach, find_model, listed_models
from aigateway.dialects.openai_chat import openai_listing, openai_model
from aigateway.door.authentication import reach_of
from aigateway.door.handler import EdgeRequest
from providers.upstream.errors import RoutingError
from providers.upstream.types import Snapshot

JSON = "application/json"


async def _found(request: EdgeRequest, find: Callable[[Snapshot, Reach], bytes]) -> HttpResponse:
    """What ``find`` makes of the models this caller may use (R105); a name nobody knows is looked for again when the
    configuration moved (C10)."""
    plane, seen_version = request.plane, request.plane.version
    try:
        body = find(plane.snapshot, await reach_of(request))
    except RoutingError:
        if not await plane.caught_up(seen_version):
            raise
        body = find(plane.snapshot, await reach_of(request))
    return HttpResponse(body, content_type=JSON)


async def models(request: EdgeRequest) -> HttpResponse:
    query = request.GET.dict()

    def find(snapshot: Snapshot, reach: Reach) -> bytes:
        models = listed_models(snapshot, reach)
        return anthropic_listing(models, query) if speaks_anthropic(request) else openai_listing(models)

    return await _found(request, find)


async def model(request: EdgeRequest) -> HttpResponse:
    """One of them; its name may contain slashes."""
    shown = anthropic_model if speaks_anthropic(request) else openai_model
    return await _found(request, lambda snapshot, reach: shown(find_model(snapshot, reach, request.path_parameters["model"])))


async def gemini_models(request: EdgeRequest) -> HttpResponse:
    return await _found(request, lambda snapshot, reach: gemini_listing(snapshot, reach, request.GET.dict()))


async def one_gemini_model(request: EdgeRequest) -> HttpResponse:
    return await _found(request, lambda snapshot, reach: gemini_model(snapshot, reach, request.path_parameters["model"]))


def speaks_anthropic(request: HttpRequest) -> bool:
    """Anthropic's clients send this header with every request, nobody else does."""
    return "HTTP_ANTHROPIC_VERSION" in request.META
