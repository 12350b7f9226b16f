"""Which tools of a request the provider runs and bills by the call, and what bounds them."""

from __future__ import annotations

from typing import Any

import pytest

from aigateway.dialects.provider_tools import gemini_adds_input, messages_add_input, of_chat, of_gemini, of_messages, of_responses
from providers.upstream.types import TOOL_CALLS_UNSAID, ProviderTools

FUNCTION = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, None),
        ({"tools": [FUNCTION, {"type": "custom", "custom": {"name": "c"}}, {"function": {"name": "typeless"}}]}, None),
        ({"web_search_options": None, "plugins": None, "tools": None}, None),
        ({"web_search_options": {}}, (("web_search_options",), 1)),
        ({"web_search_options": {"search_context_size": "low"}}, (("web_search_options",), 1)),
        ({"plugins": [{"id": "web"}]}, (("plugins[0]",), 5)),
        ({"plugins": [{"id": "web", "max_results": 2}]}, (("plugins[0]",), 2)),
        ({"plugins": [{"id": "web", "enabled": False}, {"id": "response-healing"}]}, None),
        ({"plugins": [{"id": "file-parser", "pdf": {"engine": "mistral-ocr"}}]}, (("plugins[0]",), None)),
        ({"plugins": [{"id": "brand-new"}]}, (("plugins[0]",), None)),
        ({"tools": [FUNCTION, {"type": "browser_search"}]}, (("tools[1].type",), None)),
        ({"web_search_options": {}, "tools": [{"type": "web_search"}]}, (("web_search_options", "tools[0].type"), None)),
    ],
)
def test_chat(body: dict[str, Any], expected: tuple[tuple[str, ...], int | None] | None) -> None:
    assert of_chat(body) == (None if expected is None else ProviderTools(*expected))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"tools": [{"type": "function"}, {"type": "custom"}, {"type": "mcp"}, {"type": "local_shell"}]}, None),
        ({"tools": [{"type": "web_search"}]}, (("tools[0].type",), TOOL_CALLS_UNSAID)),
        ({"tools": [{"type": "function"}, {"type": "file_search"}], "max_tool_calls": 2}, (("tools[1].type",), 2)),
        ({"tools": [{"type": "code_interpreter"}, {"type": "web_search"}]}, (("tools[0].type", "tools[1].type"), TOOL_CALLS_UNSAID)),
        ({"tools": [{"type": "brand_new"}], "max_tool_calls": None}, (("tools[0].type",), TOOL_CALLS_UNSAID)),
        ({"prompt": {"id": "pmpt_1"}}, (("prompt",), TOOL_CALLS_UNSAID)),
        ({"prompt": {"id": "pmpt_1"}, "tools": []}, None),
    ],
)
def test_responses(body: dict[str, Any], expected: tuple[tuple[str, ...], int | None] | None) -> None:
    assert of_responses(body) == (None if expected is None else ProviderTools(*expected))


@pytest.mark.parametrize(
    ("tools", "expected", "adds"),
    [
        ([], None, False),
        ([{"name": "f", "input_schema": {}}, {"type": "custom", "name": "g"}, {"type": "bash_20250124"}], None, False),
        ([{"type": "web_fetch_20250910"}, {"type": "tool_search_tool_bm25_20251119"}], None, True),
        ([{"type": "web_search_20250305"}], (("tools[0].type",), TOOL_CALLS_UNSAID), True),
        (
            [{"type": "web_search_20250305", "max_uses": 3}, {"type": "web_search_20260209", "max_uses": 2}],
            (("tools[0].type", "tools[1].type"), 5),
            True,
        ),
        (
            [{"type": "web_search_20250305", "max_uses": 3}, {"type": "code_execution_20250825"}],
            (("tools[0].type", "tools[1].type"), None),
            True,
        ),
        ([{"type": "brand_new_20270101"}], (("tools[0].type",), None), True),
    ],
)
def test_messages(tools: list[dict[str, Any]], expected: tuple[tuple[str, ...], int | None] | None, adds: bool) -> None:
    assert of_messages({"tools": tools}) == (None if expected is None else ProviderTools(*expected))
    assert messages_add_input({"tools": tools}) is adds


@pytest.mark.parametrize(
    ("tools", "expected", "adds"),
    [
        ([{"functionDeclarations": []}, {"computerUse": {}}], None, False),
        ([{"codeExecution": {}, "googleSearch": None}], None, True),
        ([{"functionDeclarations": [], "googleSearch": {}}], (("tools[0].googleSearch",), None), True),
        ([{"urlContext": {}}, {"googleMaps": {}}], (("tools[1].googleMaps",), None), True),
        ([{"brandNew": {}}], (("tools[0].brandNew",), None), True),
    ],
)
def test_gemini(tools: list[dict[str, Any]], expected: tuple[tuple[str, ...], int | None] | None, adds: bool) -> None:
    assert of_gemini(tools) == (None if expected is None else ProviderTools(*expected))
    assert gemini_adds_input(tools) is adds
