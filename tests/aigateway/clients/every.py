"""All official clients, and the ways they are asked."""

from __future__ import annotations

import pytest

from tests.aigateway.clients.anthropic_client import AnthropicClient
from tests.aigateway.clients.base import OfficialClient
from tests.aigateway.clients.google_client import GoogleClient
from tests.aigateway.clients.langchain_client import LangChainClient
from tests.aigateway.clients.litellm_client import LiteLLMAsAnthropicClient, LiteLLMClient
from tests.aigateway.clients.mistral_client import MistralClient
from tests.aigateway.clients.openai_client import OpenAIClient

CLIENTS: tuple[type[OfficialClient], ...] = (
    OpenAIClient,
    AnthropicClient,
    MistralClient,
    GoogleClient,
    LangChainClient,
    LiteLLMClient,
    LiteLLMAsAnthropicClient,
)

each_client = pytest.mark.parametrize("make", CLIENTS, ids=[client.name for client in CLIENTS])
plain_and_streamed = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
