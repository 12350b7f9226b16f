"""B16: whatever stands in a base URL or in a model's name, the provider's own host and path are what is called."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from django.core.exceptions import ValidationError

from providers.addresses import check_base_url
from providers.upstream.adapters import ADAPTERS
from providers.upstream.egress import join_url
from providers.upstream.errors import EgressDenied
from providers.upstream.transport import Deadline, Transport
from providers.upstream.types import Capability, ChatRequest, CountTokensRequest, EmbeddingsRequest, HttpRequest, Target, Wire
from tests.providers.upstream import rig

PIECES = ("#", "?", "@", "/", "\\", "%2f", "%2F", "%00", "%0d%0a", "\x00", "\r\n", "..", "../", "/../..", "%2e%2e",
    "%252e", "//evil.org", ";", " ", "é",
          ":80", "[", "\t", "。", "／")  # fmt: skip
NAMES = tuple(
    shape.format(piece) for piece in PIECES for shape in ("{0}", "{0}evil.org", "a{0}b", "a/{0}/b", "{0}{0}x", "models/{0}", "x{0}")
)
BASES = ("http://127.0.0.1:{port}/v1/models", "http://127.0.0.1:{port}/v1beta")


def requests_for(wire: Wire, target: Target) -> list[HttpRequest]:
    """Every call of an adapter that could carry the model's name."""
    adapter = ADAPTERS[wire]
    chat: ChatRequest = rig.chat_request()
    calls = [adapter.render_chat(chat, target), adapter.render_chat(rig.chat_request(stream=True), target)]
    if wire is Wire.GEMINI:
        calls.append(adapter.render_embeddings(EmbeddingsRequest(model="m", inputs=("a",), body_bytes=10), target))
        calls.append(adapter.render_count_tokens(CountTokensRequest(chat), target))
    return calls


@pytest.mark.parametrize("wire", ADAPTERS)
@pytest.mark.parametrize("base", BASES)
async def test_B16_no_model_name_reaches_another_host_or_another_path(alpha, beta, transport: Transport, wire: Wire, base: str) -> None:
    alpha.will(rig.ok)
    beta.will(rig.ok)
    base_url = base.format(port=alpha.port)
    spec = rig.provider(base_url, adapter=wire)
    prefix = urlsplit(base_url).path + "/"
    for name in NAMES:
        target = rig.target(spec, upstream_model=name.replace("evil.org", f"127.0.0.1:{beta.port}"), capabilities=frozenset(Capability))
        for call in requests_for(wire, target):
            seen = len(alpha.seen)
            try:
                await transport.send(spec, spec.credentials[0], call, Deadline(5))
            except EgressDenied:
                assert len(alpha.seen) == seen, name
                continue
            assert len(alpha.seen) == seen + 1, name
            path = alpha.seen[-1].path.partition("?")[0]
            assert path.startswith(prefix), (name, path)
            assert not {"..", "."} & set(path.split("/")), (name, path)
            assert re.fullmatch("[!-~]+", path), (name, path)
            assert not set(path) & set("\\#@"), (name, path)
    assert beta.connections == 0
    assert {exchange.headers["host"] for exchange in alpha.seen} <= {f"127.0.0.1:{alpha.port}"}


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize(
    "place",
    ["https://{0}api.example.com/v1", "https://api.example.com{0}/v1", "https://api.example.com/{0}v1", "https://api.example.com/v1{0}x"],
)
def test_B16_a_base_url_keeps_the_host_that_was_typed_or_is_refused(place: str, piece: str) -> None:
    typed = place.format(piece)
    try:
        kept = check_base_url(typed, allow_private=False, is_superuser=True).url
    except ValidationError:
        return
    assert urlsplit(kept).hostname == "api.example.com", (typed, kept)
    assert kept.rstrip("/x").startswith("https://api.example.com"), (typed, kept)
    assert not set(urlsplit(kept).path) & set("%\\#@;\x00\r\n "), (typed, kept)


@pytest.mark.parametrize(
    "path",
    ["@evil.org", "//evil.org/../x", "/x#y", "/a\\b", "/..", "/a/../../b", "x", "", "/é", "/a b", "/a\r\nX: y", "/\x00", ":80@evil.org"],
)
def test_B16_a_path_with_such_parts_is_never_joined(path: str) -> None:
    with pytest.raises(EgressDenied):
        join_url("https://api.example.com/v1", path)
