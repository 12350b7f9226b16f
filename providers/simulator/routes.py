"""Which wire format a URL asks for. The first part of a path may name a service, and so a flavour: ``/mistral/v1/chat/completions``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType

from providers.simulator.anthropic_strict import AnthropicCount, StrictAnthropicWire
from providers.simulator.anthropic_wire import AnthropicWire
from providers.simulator.cohere_wire import CohereEmbed, CohereWire
from providers.simulator.flavoured_wire import FlavouredWire
from providers.simulator.flavours import FLAVOURS
from providers.simulator.gemini_wire import GeminiWire
from providers.simulator.ollama_wire import OllamaEmbed, OllamaWire
from providers.simulator.openai_embeddings import OpenAIEmbeddings
from providers.simulator.openai_wire import OpenAIWire
from providers.simulator.responses_wire import ResponsesWire
from providers.simulator.text_generation_wire import TextGenerationWire
from providers.simulator.wires import WireFormat

OPENAI: WireFormat = OpenAIWire()
ANTHROPIC: WireFormat = AnthropicWire()

BASE_PATHS: Mapping[str, str] = MappingProxyType(
    {
        "simulator": "/v1",
        "openai_compatible": "/v1",
        "openai": "/openai/v1",
        "azure": "/azure/openai/v1",
        "anthropic": "/anthropic/v1",
        "gemini": "/gemini/v1beta",
        "gemini_openai": "/gemini_openai/v1beta/openai",
        "mistral": "/mistral/v1",
        "ditectrev": "/mistral/v1",
        "deepseek": "/deepseek",
        "groq": "/groq/openai/v1",
        "openrouter": "/openrouter/api/v1",
        "xai": "/xai/v1",
        "vllm": "/vllm/v1",
        "llamacpp": "/llamacpp/v1",
        "ollama": "/ollama",
        "cohere": "/cohere",
        "huggingface": "/huggingface/v1",
        "huggingface_endpoint": "/text_generation",
        "perplexity": "/perplexity",
        "transformers": "/transformers/v1",
    }
)
"""Below which path each kind of provider finds its service; any other kind speaks plain OpenAI at ``/v1``."""

SERVICES = frozenset(path.split("/")[1] for path in BASE_PATHS.values()) - {"v1"}


def base_url_for(kind: str, port: int = 8001, host: str = "127.0.0.1") -> str:
    """What the base URL of a provider of this kind must be to reach the simulator."""
    return f"http://{host}:{port}{BASE_PATHS.get(kind, '/v1')}"


class Door(Enum):
    """What is asked for: an answer, the list of models, one model, or one model named in the body."""

    INFER = auto()
    MODELS = auto()
    MODEL = auto()
    SHOW = auto()


@dataclass(frozen=True, slots=True)
class Route:
    door: Door
    wire: WireFormat
    model: str = ""


class Routes:
    """One simulator's. Its Responses wire remembers the answers it gave."""

    def __init__(self) -> None:
        responses, strict, cohere, ollama = ResponsesWire(), StrictAnthropicWire(), CohereWire(), OllamaWire()
        self._ollama = ollama
        self._asked: dict[tuple[str, ...], WireFormat] = {
            ("responses",): responses,
            ("embeddings",): OpenAIEmbeddings(),
            ("messages", "count_tokens"): AnthropicCount(),
            ("api", "chat"): ollama,
            ("api", "embed"): OllamaEmbed(),
            ("v2", "chat"): cohere,
            ("v2", "embed"): CohereEmbed(),
            ("generate",): TextGenerationWire(stream=False),
            ("generate_stream",): TextGenerationWire(stream=True),
        }
        self._chats: dict[str, WireFormat] = {name: FlavouredWire(flavour) for name, flavour in FLAVOURS.items()}
        self._messages: dict[str, WireFormat] = {"anthropic": strict}
        self._lists: dict[str, WireFormat] = {"anthropic": strict, "cohere": cohere, **self._chats}

    def find(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Route | None:
        parts = path.strip("/").split("/")
        service = parts.pop(0) if parts[0] in SERVICES else ""
        return self._post(service, parts, query) if method == "POST" else self._get(service, parts, headers) if method == "GET" else None

    def _post(self, service: str, parts: list[str], query: Mapping[str, str]) -> Route | None:
        end = tuple(parts[-2:])
        if end == ("chat", "completions"):
            return Route(Door.INFER, self._chats.get(service, OPENAI))
        if end == ("api", "show"):
            return Route(Door.SHOW, self._ollama)
        if end[-1:] == ("messages",):
            return Route(Door.INFER, self._messages.get(service, ANTHROPIC))
        wire = self._asked.get(end) or self._asked.get(end[-1:])
        if wire is not None:
            return Route(Door.INFER, wire)
        if "models" not in parts[:-1]:
            return Route(Door.INFER, TextGenerationWire()) if not any(parts) and service == "text_generation" else None
        name = "/".join(parts[parts.index("models") + 1 :])
        model, colon, method = name.partition(":")
        if colon and method in ("generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents"):
            as_array = method == "streamGenerateContent" and query.get("alt") != "sse"
            return Route(Door.INFER, GeminiWire(model, method, as_array=as_array))
        return None if colon else Route(Door.INFER, TextGenerationWire(name, as_list=True))

    def _get(self, service: str, parts: list[str], headers: Mapping[str, str]) -> Route | None:
        if parts[-2:] == ["api", "tags"]:
            return Route(Door.MODELS, self._ollama)
        if parts == ["info"]:
            return Route(Door.MODELS, TextGenerationWire())
        if "models" not in parts:
            return None
        wire = self._lister(service, parts, headers)
        name = "/".join(parts[parts.index("models") + 1 :])
        return Route(Door.MODEL, wire, name) if name else Route(Door.MODELS, wire)

    def _lister(self, service: str, parts: list[str], headers: Mapping[str, str]) -> WireFormat:
        if "v1beta" in parts and "openai" not in parts:
            return GeminiWire("", "")
        return self._lists.get(service) or wire_of(headers)


def wire_of(headers: Mapping[str, str]) -> WireFormat:
    """The one a URL without further hints is in: told by its headers."""
    return ANTHROPIC if "anthropic-version" in headers or "x-api-key" in headers else OPENAI
