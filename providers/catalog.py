"""Provider kinds as data: what differs between services only by data is a row here, not code.

Sources: the vendors' API references. What a kind's requests must respect is a row of ``upstream.adapters.openai.profiles``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from providers.upstream.types import AuthStyle, Capability, ModelListing, Timeouts, Wire

TEXT = frozenset({Capability.CHAT, Capability.STREAM})
TOOLS = TEXT | {Capability.TOOLS, Capability.JSON_MODE}
FULL = TOOLS | {Capability.JSON_SCHEMA, Capability.VISION}

ORDINARY = Timeouts()
COLD_START = Timeouts(connect_s=1.0, first_byte_s=300.0, idle_s=300.0, total_s=1800.0)
"""A server that may have to load the model first."""


@dataclass(frozen=True, slots=True)
class PresetDefaults:
    """What a managed preset starts with; all of it can be changed in admin. ``name`` is what clients ask for."""

    upstream_kind: str
    upstream_model: str
    name: str
    required_tier: str
    system_prompt: str
    temperature: float
    max_output_tokens: int


@dataclass(frozen=True, slots=True)
class ProviderKind:
    """One kind of service.

    ``base_url`` may be empty: then the admin names it. ``prices_id`` is the service's id in genai-prices. ``env_var`` is the
    variable that registers it at first start. A kind that ``is_local`` runs on own hardware: its models cost an explicit
    zero. ``default_capabilities`` are assumed of a model about which the service says nothing.
    ``lists_prices``: its model list names the prices it charges, so they are imported with the models.
    ``env_aliases`` are other common names of ``env_var``. ``also_speaks`` are further wire formats with the path prefix of each.
    """

    slug: str
    label: str
    adapter: Wire = Wire.OPENAI_CHAT
    base_url: str = ""
    auth_style: AuthStyle = AuthStyle.BEARER
    needs_credential: bool = True
    is_local: bool = False
    allow_private: bool = False
    default_capabilities: frozenset[Capability] = TOOLS
    env_var: str | None = None
    env_aliases: tuple[str, ...] = ()
    prices_id: str | None = None
    lists_prices: bool = False
    timeouts: Timeouts = ORDINARY
    also_speaks: Mapping[Wire, str] = field(default_factory=dict)
    preset: PresetDefaults | None = None
    drops_suffix: str = ""
    """What older rows have at the end of their base URL and this wire format has not."""

    @property
    def base_url_env_var(self) -> str:
        return f"{self.slug.upper()}_BASE_URL"

    @property
    def key_env_vars(self) -> tuple[str, ...]:
        """Variables that may hold a key, the first one first."""
        return (self.env_var or f"{self.slug.upper()}_API_KEY", *self.env_aliases)

    def root_of(self, base_url: str) -> str:
        """The address requests go to."""
        return base_url.rstrip("/").removesuffix(self.drops_suffix) if self.drops_suffix else base_url

    def also_speaks_at(self, base_url: str) -> Mapping[Wire, str]:
        """A base URL with a query is one Azure deployment's: only its own operations are below it."""
        return {} if "?" in base_url else self.also_speaks

    def capabilities_of(self, listing: ModelListing) -> frozenset[Capability]:
        """What the list says of a model, and this kind's assumption about everything it does not speak about."""
        if not lists_chat(listing) and lists_embeddings(listing):
            return frozenset({Capability.EMBEDDINGS})
        if listing.capabilities is None:
            return self.default_capabilities
        return listing.capabilities if listing.said is None else listing.capabilities | (self.default_capabilities - listing.said)


_RESPONSES: Mapping[Wire, str] = MappingProxyType({Wire.OPENAI_RESPONSES: ""})
_MESSAGES: Mapping[Wire, str] = MappingProxyType({Wire.ANTHROPIC_MESSAGES: ""})


def _local(slug: str, label: str, base_url: str, also_speaks: Mapping[Wire, str]) -> ProviderKind:
    return ProviderKind(
        slug=slug,
        label=label,
        base_url=base_url,
        needs_credential=False,
        is_local=True,
        allow_private=True,
        default_capabilities=TOOLS | {Capability.JSON_SCHEMA},
        timeouts=COLD_START,
        also_speaks=also_speaks,
    )


_ROWS = (
    ProviderKind(
        "openai",
        "OpenAI",
        base_url="https://api.openai.com/v1",
        default_capabilities=FULL,
        env_var="OPENAI_API_KEY",
        prices_id="openai",
        also_speaks=_RESPONSES,
    ),
    # The base URL is the resource's own: https://RESOURCE.openai.azure.com/openai/v1 with deployments as models, or one
    # deployment's https://RESOURCE.openai.azure.com/openai/deployments/NAME?api-version=DATE.
    ProviderKind(
        "azure",
        "Azure OpenAI",
        auth_style=AuthStyle.API_KEY,
        default_capabilities=FULL,
        env_var="AZURE_API_KEY",
        env_aliases=("AZURE_OPENAI_API_KEY",),
        prices_id="azure",
        also_speaks=_RESPONSES,
    ),
    ProviderKind(
        "anthropic",
        "Anthropic",
        adapter=Wire.ANTHROPIC_MESSAGES,
        base_url="https://api.anthropic.com/v1",
        auth_style=AuthStyle.X_API_KEY,
        default_capabilities=TEXT | {Capability.TOOLS, Capability.VISION, Capability.COUNT_TOKENS},
        env_var="ANTHROPIC_API_KEY",
        prices_id="anthropic",
    ),
    ProviderKind(
        "gemini",
        "Google Gemini",
        adapter=Wire.GEMINI,
        base_url="https://generativelanguage.googleapis.com/v1beta",
        auth_style=AuthStyle.X_GOOG_API_KEY,
        default_capabilities=FULL | {Capability.REASONING, Capability.COUNT_TOKENS},
        env_var="GEMINI_API_KEY",
        env_aliases=("GOOGLE_API_KEY",),
        prices_id="google",
    ),
    ProviderKind("openai_compatible", "OpenAI-compatible server", needs_credential=False),
    _local("vllm", "vLLM", "http://127.0.0.1:8000/v1", _RESPONSES),
    _local("llamacpp", "llama.cpp server", "http://127.0.0.1:8080/v1", _RESPONSES),
    ProviderKind(
        "ollama",
        "Ollama",
        adapter=Wire.OLLAMA,
        base_url="http://127.0.0.1:11434",
        needs_credential=False,
        is_local=True,
        allow_private=True,
        default_capabilities=TOOLS | {Capability.JSON_SCHEMA},
        timeouts=COLD_START,
        also_speaks={Wire.OPENAI_CHAT: "/v1", Wire.ANTHROPIC_MESSAGES: "/v1"},
        drops_suffix="/v1",
    ),
    ProviderKind(
        "mistral",
        "Mistral",
        base_url="https://api.mistral.ai/v1",
        default_capabilities=TOOLS | {Capability.JSON_SCHEMA},
        env_var="MISTRAL_API_KEY",
        prices_id="mistral",
    ),
    ProviderKind(
        "deepseek",
        "DeepSeek",
        base_url="https://api.deepseek.com",
        default_capabilities=TOOLS | {Capability.REASONING},
        env_var="DEEPSEEK_API_KEY",
        prices_id="deepseek",
        also_speaks=_RESPONSES,
    ),
    ProviderKind("groq", "Groq", base_url="https://api.groq.com/openai/v1", env_var="GROQ_API_KEY", prices_id="groq", lists_prices=True),
    ProviderKind(
        "openrouter",
        "OpenRouter",
        base_url="https://openrouter.ai/api/v1",
        env_var="OPENROUTER_API_KEY",
        prices_id="openrouter",
        lists_prices=True,
        also_speaks={**_RESPONSES, **_MESSAGES},
    ),
    ProviderKind(
        "xai",
        "xAI",
        base_url="https://api.x.ai/v1",
        default_capabilities=FULL,
        env_var="XAI_API_KEY",
        prices_id="x-ai",
        also_speaks=_RESPONSES,
    ),
    ProviderKind(
        "together",
        "Together AI",
        base_url="https://api.together.xyz/v1",
        default_capabilities=TOOLS | {Capability.JSON_SCHEMA},
        env_var="TOGETHER_API_KEY",
        prices_id="together",
        lists_prices=True,
    ),
    ProviderKind(
        "fireworks",
        "Fireworks AI",
        base_url="https://api.fireworks.ai/inference/v1",
        default_capabilities=TOOLS | {Capability.JSON_SCHEMA},
        env_var="FIREWORKS_API_KEY",
        prices_id="fireworks",
    ),
    ProviderKind(
        "perplexity",
        "Perplexity",
        base_url="https://api.perplexity.ai",
        default_capabilities=TEXT | {Capability.JSON_SCHEMA, Capability.VISION},
        env_var="PERPLEXITY_API_KEY",
        prices_id="perplexity",
    ),
    # A dedicated endpoint that speaks the OpenAI format is the same kind under its own base URL.
    ProviderKind(
        "huggingface",
        "Hugging Face",
        base_url="https://router.huggingface.co/v1",
        env_var="HUGGINGFACE_API_KEY",
        env_aliases=("HF_TOKEN",),
        lists_prices=True,
    ),
    # A server of text-generation-inference, a dedicated endpoint, or the task endpoint of many models
    # (https://router.huggingface.co/hf-inference/models): a prompt in, its continuation out.
    ProviderKind(
        "huggingface_endpoint",
        "Hugging Face text generation",
        adapter=Wire.TEXT_GENERATION,
        needs_credential=False,
        default_capabilities=TEXT | {Capability.JSON_SCHEMA},
        timeouts=COLD_START,
    ),
    ProviderKind(
        "cohere",
        "Cohere",
        adapter=Wire.COHERE,
        base_url="https://api.cohere.com",
        default_capabilities=TOOLS | {Capability.JSON_SCHEMA},
        env_var="COHERE_API_KEY",
        env_aliases=("CO_API_KEY",),
        prices_id="cohere",
    ),
    # Google's OpenAI door, for those who want exactly its behaviour; it registers by GEMINI_OPENAI_API_KEY alone.
    ProviderKind(
        "gemini_openai",
        "Gemini (OpenAI format)",
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        default_capabilities=FULL,
        prices_id="google",
    ),
    ProviderKind(
        "cerebras",
        "Cerebras",
        base_url="https://api.cerebras.ai/v1",
        default_capabilities=TOOLS | {Capability.JSON_SCHEMA},
        env_var="CEREBRAS_API_KEY",
        prices_id="cerebras",
    ),
    ProviderKind("zai", "Z.ai", base_url="https://api.z.ai/api/paas/v4", env_var="ZAI_API_KEY", prices_id="zai"),
    ProviderKind("novita", "Novita AI", base_url="https://api.novita.ai/v3/openai", env_var="NOVITA_API_KEY", prices_id="novita"),
    ProviderKind(
        "ditectrev",
        "Ditectrev",
        base_url="https://api.mistral.ai/v1",
        default_capabilities=TEXT,
        env_var="DITECTREV_AI_KEY",
        prices_id="mistral",
        preset=PresetDefaults(
            upstream_kind="mistral",
            upstream_model="mistral-medium-latest",
            name="ditectrev",
            required_tier="ditectrev",
            system_prompt=(
                "You are an expert educator who prepares people for certification exams. Explain why the right answer is right "
                "and why the others are wrong, clearly and briefly."
            ),
            temperature=0.3,
            max_output_tokens=2000,
        ),
    ),
    ProviderKind(
        "simulator",
        "Simulator",
        base_url="http://127.0.0.1:8001/v1",
        needs_credential=False,
        allow_private=True,
        default_capabilities=FULL,
    ),
)

KINDS: dict[str, ProviderKind] = {row.slug: row for row in _ROWS}
CHOICES: tuple[tuple[str, str], ...] = tuple((row.slug, row.label) for row in _ROWS)

NOT_CHAT = (
    "audio", "babbage", "bark", "computer-use", "dall-e", "davinci", "deep-research", "embed", "flux", "guard", "image",
    "imagen", "instruct-0914", "live", "lyria", "moderation", "nano-banana", "ocr", "orpheus", "realtime", "rerank",
    "search-api", "sora", "speech", "stable-diffusion", "transcribe", "tts", "turbo-instruct", "veo", "video", "voice", "whisper",
)  # fmt: skip
"""Fragments in the names of models that do not chat; used only where the service does not say what a model can do."""


def can_chat(upstream_model: str) -> bool:
    """Whether the name alone gives no reason to think that the model does something else than chat."""
    name = upstream_model.lower()
    return name not in ("ada", "curie") and not any(fragment in name for fragment in NOT_CHAT)


def lists_chat(listing: ModelListing) -> bool:
    """Whether a listed model chats: as the list says; where it does not speak about that, by the name."""
    if listing.capabilities is None or (listing.said is not None and Capability.CHAT not in listing.said):
        return can_chat(listing.name)
    return Capability.CHAT in listing.capabilities


def can_embed(upstream_model: str) -> bool:
    """Whether the name says that the model makes vectors."""
    return "embed" in upstream_model.lower()


def lists_embeddings(listing: ModelListing) -> bool:
    """Whether a listed model makes vectors: as the list says, or by the name."""
    return Capability.EMBEDDINGS in (listing.capabilities or ()) or can_embed(listing.name)
