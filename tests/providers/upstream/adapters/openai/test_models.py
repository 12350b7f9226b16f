"""Model lists of compatible hosts (wire.md): what they say is taken over, what they do not say stays open."""

from __future__ import annotations

import json

import pytest

from providers.upstream.adapters import ADAPTERS
from providers.upstream.errors import AuthRejected, InvalidBody
from providers.upstream.types import Capability, ContextTier, HttpResponse, ListedPrice, ModelListing, Wire

ADAPTER = ADAPTERS[Wire.OPENAI_CHAT]
CHAT = {Capability.CHAT, Capability.STREAM}


def listed(*rows: dict, **body) -> tuple[ModelListing, ...]:
    raw = json.dumps({"object": "list", "data": rows, **body}).encode()
    listings, cursor = ADAPTER.parse_models(HttpResponse(200, {}, raw))
    assert cursor is None
    return listings


def listed_one(row: dict, **body) -> ModelListing:
    (listing,) = listed(row, **body)
    return listing


def test_names_windows_and_limits_of_different_hosts() -> None:
    listings = listed(
        {"id": "gpt-4o", "object": "model"},
        {"id": "llama", "context_window": 8192, "max_completion_tokens": 2048},
        {"id": "mistral", "max_context_length": 32768},
        {"id": "a/b", "name": "B", "context_length": 9, "top_provider": {"max_completion_tokens": 3}},
        {"id": "local", "max_model_len": 4096},
        {"id": "gguf", "meta": {"n_ctx_train": 2048}},
        {"id": "hf", "providers": [{"status": "live", "context_length": 20}, {"status": "live", "context_length": 10}]},
        {"object": "no id"},
    )
    assert [(one.name, one.context_window_tokens, one.max_output_tokens) for one in listings] == [
        *(("gpt-4o", None, None), ("llama", 8192, 2048), ("mistral", 32768, None), ("a/b", 9, 3)),
        *(("local", 4096, None), ("gguf", 2048, None), ("hf", 10, None)),
    ]
    assert listings[3].display_name == "B"


@pytest.mark.parametrize("row", [{"id": "gpt-4o"}, {"id": "deepseek", "owned_by": "deepseek"}, {"id": "x", "root": "x", "permission": []}])
def test_a_row_that_says_nothing_claims_nothing(row) -> None:
    assert (listed_one(row).capabilities, listed_one(row).price) == (None, None)


def test_mistral_says_what_each_model_can_and_lists_aliases_as_models() -> None:
    flags = {"completion_chat": True, "function_calling": False, "vision": True, "fine_tuning": True}
    dated, alias = listed(
        {"id": "mistral-medium-2508", "aliases": ["mistral-medium"], "capabilities": flags, "type": "base"},
        {"id": "mistral-medium", "aliases": ["mistral-medium-2508"], "capabilities": flags, "type": "base"},
    )
    assert (dated.capabilities, alias.name) == (CHAT | {Capability.VISION}, "mistral-medium")
    assert dated.said == CHAT | {Capability.VISION, Capability.TOOLS}
    assert listed_one({"id": "ocr", "capabilities": {"completion_chat": False}}).capabilities == frozenset()


def test_azure_says_which_models_chat() -> None:
    assert listed_one({"id": "gpt", "capabilities": {"chat_completion": True, "embeddings": False}}).capabilities == CHAT
    assert listed_one({"id": "ada", "capabilities": {"chat_completion": False}}).capabilities == frozenset()


LONG_INPUT = ContextTier(
    above_input_tokens=199_999,
    input_nano_per_mtok=6_000_000_000,
    output_nano_per_mtok=22_500_000_000,
    cache_read_nano_per_mtok=300_000_000,
)
"""From 200,000 tokens on, that count included; what an override leaves out stays as it is."""


def test_openrouter_says_features_inputs_and_prices_per_token() -> None:
    listing = listed_one(
        {
            "id": "a/b",
            "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
            "supported_parameters": ["tools", "temperature", "structured_outputs"],
            "pricing": {"prompt": "0.000003", "completion": "0.000015", "input_cache_read": "0.0000003", "request": "0.01",
                        "overrides": [{"min_prompt_tokens": 200000, "prompt": "0.000006", "completion": "0.0000225"}]},
        }
    )  # fmt: skip
    assert listing.capabilities == CHAT | {Capability.VISION, Capability.TOOLS, Capability.JSON_SCHEMA}
    assert listing.said is not None
    assert Capability.JSON_MODE in listing.said
    assert listing.price == ListedPrice(
        3_000_000_000, 15_000_000_000, cache_read_nano_per_mtok=300_000_000, request_nano=10_000_000, context_tiers=(LONG_INPUT,)
    )


@pytest.mark.parametrize(
    ("pricing", "price"),
    [
        ({"prompt": "0", "completion": "0"}, ListedPrice(0, 0)),
        ({"prompt": "-1", "completion": "-1"}, None),
        ({"prompt": "0.000001"}, None),
        ({"prompt": "0", "completion": "0", "overrides": [{"min_prompt_tokens": 9, "prompt": "varies"}]}, None),
        ({"prompt": "0", "completion": "0", "overrides": [{"after_noon": True}]}, None),
        ({"prompt": "0", "completion": "0", "overrides": ["more"]}, None),
        ({"prompt": "x", "completion": "0"}, None),
        ({"prompt": "nan", "completion": "0"}, None),
        ({"prompt": "0.0000000000000000001", "completion": "0"}, None),
        ({"prompt": True, "completion": "0"}, None),
        ({"prompt": "0.000001", "completion": "0.000002", "request": "varies"}, None),
        ({"hourly": 0, "input": 0.2, "output": 0.6}, ListedPrice(200_000_000, 600_000_000)),
        ({"hourly": 3, "input": 0, "output": 0}, None),
    ],
)
def test_M20_zero_is_a_price_and_nonsense_is_none(pricing, price) -> None:
    assert listed_one({"id": "x", "type": "chat", "pricing": pricing}).price == price


def test_groq_says_what_is_no_chat_and_what_chat_can() -> None:
    speech, oss = listed(
        {"id": "orpheus", "input_modalities": ["text"], "output_modalities": ["speech"]},
        {"id": "gpt-oss", "input_modalities": ["text"], "output_modalities": ["text"], "supported_features": ["tools", "json_mode"]},
    )
    assert speech.capabilities == frozenset()
    assert speech.said == CHAT
    assert oss.capabilities == CHAT | {Capability.TOOLS, Capability.JSON_MODE}


def test_together_sends_a_bare_list_with_types() -> None:
    rows = [{"id": "chat", "type": "chat", "pricing": {}}, {"id": "flux", "type": "image", "pricing": {}}]
    listings, _ = ADAPTER.parse_models(HttpResponse(200, {}, json.dumps(rows).encode()))
    assert [one.capabilities for one in listings] == [None, frozenset()]


def test_hugging_face_counts_what_every_live_provider_offers_at_the_dearest_price() -> None:
    def live(tools: bool, price: dict | None) -> dict:
        return {"status": "live", "supports_tools": tools, "supports_structured_output": True} | ({"pricing": price} if price else {})

    one, two = live(True, {"input": 0.3, "output": 1.2}), live(False, {"input": 0.1, "output": 2})
    staged = {"status": "staging", "supports_tools": False, "pricing": {"input": 99, "output": 99}}
    both = listed_one({"id": "x", "providers": [one, two, staged]})
    assert both.capabilities == CHAT | {Capability.JSON_SCHEMA}
    assert both.price == ListedPrice(300_000_000, 2_000_000_000)
    assert listed_one({"id": "x", "providers": [one, staged]}).capabilities == CHAT | {Capability.JSON_SCHEMA, Capability.TOOLS}
    assert listed_one({"id": "x", "providers": [one, live(True, None)]}).price is None


def test_llama_cpp_lists_every_model_twice_and_says_in_the_second_one_what_it_sees() -> None:
    def seen(capabilities: list[str]) -> ModelListing:
        return listed_one({"id": "/m.gguf", "meta": {"n_ctx": 4096}}, models=[{"name": "/m.gguf", "capabilities": capabilities}])

    assert seen(["completion", "multimodal"]).capabilities == CHAT | {Capability.VISION}
    assert (seen(["completion"]).capabilities, seen(["completion"]).said) == (CHAT, {Capability.VISION})


def test_a_bare_list_is_a_list_and_anything_else_is_not() -> None:
    assert ADAPTER.parse_models(HttpResponse(200, {}, b'[{"id": "x"}]'))[0][0].name == "x"
    for body in (b"<html>", b"{}", b'{"data": null}'):
        with pytest.raises(InvalidBody):
            ADAPTER.parse_models(HttpResponse(200, {}, body))
    with pytest.raises(AuthRejected):
        ADAPTER.parse_models(HttpResponse(200, {}, b'{"error": {"message": "no", "code": 401}}'))


def test_the_probe_is_a_get_of_the_model_list() -> None:
    probe = ADAPTER.render_models(None)
    assert (probe.method, probe.path, probe.body) == ("GET", "/models", b"")
