"""Tools a request asks the provider to run itself, which it bills by the call: no token count tells what they cost.

An unknown kind of tool counts as billed: what a card does not price is refused (``unpriced_tool``), never given away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from providers.upstream.types import TOOL_CALLS_UNSAID, ProviderTools

# https://platform.openai.com/docs/guides/tools : run by the client, or free but for their tokens (mcp, tool_search).
_OPENAI_UNBILLED = frozenset(
    ("function", "custom", "local_shell", "apply_patch", "computer_use_preview", "computer", "namespace", "mcp", "tool_search")
)
# https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/overview : the same.
_ANTHROPIC_UNBILLED = ("custom", "bash_", "text_editor_", "computer_", "memory_", "web_fetch_", "tool_search_tool_", "mcp_toolset")
_ANTHROPIC_CLIENT = ("custom", "bash_", "text_editor_", "computer_", "memory_")
_ANTHROPIC_SEARCH = "web_search_"
# https://ai.google.dev/gemini-api/docs/pricing : free but for their tokens.
_GEMINI_UNBILLED = frozenset(("functionDeclarations", "codeExecution", "urlContext", "fileSearch", "computerUse"))
# https://openrouter.ai/docs/features/plugins : ``web`` is billed by the result and fetches five unless told otherwise.
_OPENROUTER_UNBILLED = ("response-healing", "context-compression")
_OPENROUTER_RESULTS = 5


def of_chat(body: Mapping[str, Any]) -> ProviderTools | None:
    """OpenAI's search models search once; OpenRouter's plugins; tools of hosts that run some themselves."""
    found: list[tuple[str, int | None]] = []
    if body.get("web_search_options") is not None:  # an empty object asks for it, too
        found.append(("web_search_options", 1))
    for position, plugin in enumerate(body.get("plugins") or ()):
        given = plugin if isinstance(plugin, Mapping) else {}
        if given.get("id") not in _OPENROUTER_UNBILLED and given.get("enabled") is not False:
            bound = _whole(given.get("max_results"), _OPENROUTER_RESULTS) if given.get("id") == "web" else None
            found.append((f"plugins[{position}]", bound))
    for position, tool in enumerate(body.get("tools") or ()):
        if tool.get("type", "function") not in _OPENAI_UNBILLED:
            found.append((f"tools[{position}].type", None))
    return _together(found)


def of_responses(body: Mapping[str, Any]) -> ProviderTools | None:
    """``max_tool_calls`` bounds the calls of all of them together. A stored prompt may hold tools nobody sees here."""
    named = [f"tools[{position}].type" for position, tool in enumerate(body.get("tools") or ()) if tool.get("type") not in _OPENAI_UNBILLED]
    if body.get("prompt") and body.get("tools") is None:
        named.append("prompt")
    return ProviderTools(tuple(named), _whole(body.get("max_tool_calls"), TOOL_CALLS_UNSAID)) if named else None


def of_messages(body: Mapping[str, Any]) -> ProviderTools | None:
    """``max_uses`` bounds each search tool; nothing bounds the others."""
    found: list[tuple[str, int | None]] = []
    for position, tool in enumerate(body.get("tools") or ()):
        kind = tool.get("type") or "custom"
        if not kind.startswith(_ANTHROPIC_UNBILLED):
            bound = _whole(tool.get("max_uses"), TOOL_CALLS_UNSAID) if kind.startswith(_ANTHROPIC_SEARCH) else None
            found.append((f"tools[{position}].type", bound))
    return _together(found)


def messages_add_input(body: Mapping[str, Any]) -> bool:
    """What the provider's own tools find is input that the body does not hold."""
    return bool(body.get("mcp_servers")) or any(
        not (tool.get("type") or "custom").startswith(_ANTHROPIC_CLIENT) for tool in body.get("tools") or ()
    )


def of_gemini(tools: Iterable[Mapping[str, Any]]) -> ProviderTools | None:
    """``tools`` in camel case. Nothing bounds how often a model searches."""
    named = [
        (f"tools[{position}].{name[:60]}", None)
        for position, tool in enumerate(tools)
        for name, value in tool.items()
        if name not in _GEMINI_UNBILLED and value is not None
    ]
    return _together(named)


def gemini_adds_input(tools: Iterable[Mapping[str, Any]]) -> bool:
    """The same for Google's tools."""
    return any(name not in ("functionDeclarations", "computerUse") and value is not None for tool in tools for name, value in tool.items())


def _together(found: Iterable[tuple[str, int | None]]) -> ProviderTools | None:
    rows = [*found]
    bounds = [bound for _, bound in rows if bound is not None]
    return ProviderTools(tuple(name for name, _ in rows), sum(bounds) if len(bounds) == len(rows) else None) if rows else None


def _whole(given: Any, unsaid: int) -> int:
    return given if isinstance(given, int) and not isinstance(given, bool) and given >= 0 else unsaid
