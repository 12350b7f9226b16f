"""One adapter per upstream wire format: pure data in, data out."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from providers.upstream.adapters.anthropic import AnthropicAdapter
from providers.upstream.adapters.base import Adapter, StreamParser, credential_headers
from providers.upstream.adapters.openai import OpenAIAdapter
from providers.upstream.types import Wire

ADAPTERS: Mapping[Wire, Adapter] = MappingProxyType({adapter.wire: adapter for adapter in (OpenAIAdapter(), AnthropicAdapter())})

__all__ = ["ADAPTERS", "Adapter", "StreamParser", "credential_headers"]
