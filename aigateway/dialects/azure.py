"""Azure OpenAI's addresses, whose path names the model (https://learn.microsoft.com/azure/ai-foundry/openai/reference)."""

from __future__ import annotations

import msgspec

from aigateway.dialects.base import NOTHING_SENT, Call, Dialect, Sent, parse_object
from aigateway.dialects.openai_chat import OpenAIChat
from aigateway.dialects.openai_embeddings import OpenAIEmbeddings
from aigateway.errors import invalid_request


class AzureChat(OpenAIChat):
    """``POST /openai/deployments/<model>/chat/completions``."""

    def parse(self, body: bytes, context: str | None, sent: Sent = NOTHING_SENT) -> Call:
        return super().parse(_named(body, sent), context, sent)


class AzureEmbeddings(OpenAIEmbeddings):
    """``POST /openai/deployments/<model>/embeddings``."""

    def parse(self, body: bytes, context: str | None, sent: Sent = NOTHING_SENT) -> Call:
        return super().parse(_named(body, sent), context, sent)


AZURE: dict[str, Dialect] = {"chat/completions": AzureChat(), "embeddings": AzureEmbeddings()}


def _named(body: bytes, sent: Sent) -> bytes:
    """The body with the path's model in it. Another one in the body is refused: nobody could say which was meant (B07)."""
    decoded, name = parse_object(body), sent.path["model"]
    given = decoded.get("model")
    if given == name:
        return body
    if given is not None:
        raise invalid_request(f"model: the address names {name[:100]!r}; name the same one here, or none.", param="model")
    return msgspec.json.encode({**decoded, "model": name})
