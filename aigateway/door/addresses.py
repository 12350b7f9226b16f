"""The addresses clients come to by mistake, and the ones they meant (C08)."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Final

_SLASHES: Final = re.compile(r"/{2,}")
_NAMED: Final = re.compile("/(?:models|deployments)/")
_VENDORS: Final = ("/openai/v1", "/anthropic/v1", "/google/v1", "/gemini/v1")
"""Base URLs of other gateways name the format first; ``v1`` stands for ``v1beta`` too."""
_UNVERSIONED: Final = ("/chat/completions", "/responses", "/embeddings", "/messages", "/models")
_AZURE: Final = "/openai/deployments/"
_AZURE_UNVERSIONED: Final = ("/openai/responses", "/openai/models")
_WITH_SLASH: Final = ("/api/schema/", "/api/docs/")


def meant(path: str) -> str:
    """The address a client meant by ``path``: the same one for an address that is right, and for one nobody can guess. The name
    of a model stays what it is, sign by sign (B12)."""
    named = _NAMED.search(path)
    words, name = (path, "") if named is None else (path[: named.end()], path[named.end() :])
    return _tidy(words) if not name else _tidy(words + "x").removesuffix("x") + name


def _tidy(path: str) -> str:
    tidy = _SLASHES.sub("/", path)
    if tidy.startswith(_VENDORS) or tidy in _AZURE_UNVERSIONED:
        tidy = tidy[tidy.index("/", 1) :]
    while tidy.startswith("/v1/v1"):
        tidy = tidy.removeprefix("/v1")
    bare = tidy.rstrip("/")
    if bare in _UNVERSIONED:
        return f"/v1{bare}"
    if is_inference(tidy) or tidy.startswith("/api/"):
        return tidy if tidy in _WITH_SLASH or bare.count("/") < 2 else bare
    return path


def is_inference(path: str) -> bool:
    """Answered by the data plane, be it with 404."""
    return path.startswith(("/v1/", "/v1beta/", "/api/v1/ai/v1/", _AZURE)) or path in ("/v1", "/v1beta")


def nearest(path: str, known: frozenset[str]) -> str:
    """A sentence that names the right address, for an answer 404."""
    legacy = {"/v1/completions": "/v1/chat/completions", "/v1/complete": "/v1/messages"}
    found = [legacy[path]] if path in legacy else get_close_matches(path[:100], known, 1)
    return f"Did you mean {found[0]}?" if found else "Chat is POST /v1/chat/completions, models are GET /v1/models."
