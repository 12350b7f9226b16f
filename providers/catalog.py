"""Provider kinds as data: what differs between services only by data is a row here, not code.

Sources: the vendors' API references. A kind is listed only when its wire format works through the adapter of its row, money
included. So there is no row for Mistral (refuses ``stream_options``), Gemini's OpenAI door (leaves thinking tokens out of its
usage) and Perplexity (charges per search, by a size the usage does not tell).
"""

from __future__ import annotations

from dataclasses import dataclass

from providers.upstream.types import AuthStyle, Capability, Timeouts, Wire

TEXT = frozenset({Capability.CHAT, Capability.STREAM})
TOOLS = TEXT | {Capability.TOOLS, Capability.JSON_MODE}
FULL = TOOLS | {Capability.JSON_SCHEMA, Capability.VISION}

ORDINARY = Timeouts()
COLD_START = Timeouts(connect_s=1.0, first_byte_s=300.0, idle_s=300.0, total_s=1800.0)
"""A server that may have to load the model first."""


@dataclass(frozen=True, slots=True)
class ProviderKind:
    """One kind of service.

    ``base_url`` may be empty: then the admin names it. ``prices_id`` is the service's id in genai-prices. ``env_var`` is the
    variable that registers it at first start. A kind that ``is_local`` runs on own hardware: its models cost an explicit
    zero. ``default_capabilities`` are assumed of a model about which the service says nothing.
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
    prices_id: str | None = None
    timeouts: Timeouts = ORDINARY

    @property
    def base_url_env_var(self) -> str:
        return f"{self.slug.upper()}_BASE_URL"


def _local(slug: str, label: str, base_url: str) -> ProviderKind:
    return ProviderKind(
        slug=slug,
        label=label,
        base_url=base_url,
        needs_credential=False,
        is_local=True,
        allow_private=True,
        default_capabilities=TOOLS | {Capability.JSON_SCHEMA},
        timeouts=COLD_START,
    )


_ROWS = (
    ProviderKind(
        "openai", "OpenAI", base_url="https://api.openai.com/v1", default_capabilities=FULL, env_var="OPENAI_API_KEY", prices_id="openai"
    ),
    ProviderKind(
        "anthropic",
        "Anthropic",
        adapter=Wire.ANTHROPIC_MESSAGES,
        base_url="https://api.anthropic.com/v1",
        auth_style=AuthStyle.X_API_KEY,
        default_capabilities=TEXT | {Capability.TOOLS, Capability.VISION},
        env_var="ANTHROPIC_API_KEY",
        prices_id="anthropic",
    ),
    ProviderKind("openai_compatible", "OpenAI-compatible server", needs_credential=False),
    _local("vllm", "vLLM", "http://127.0.0.1:8000/v1"),
    _local("llamacpp", "llama.cpp server", "http://127.0.0.1:8080/v1"),
    _local("ollama", "Ollama", "http://127.0.0.1:11434/v1"),
    ProviderKind("groq", "Groq", base_url="https://api.groq.com/openai/v1", env_var="GROQ_API_KEY", prices_id="groq"),
    ProviderKind("openrouter", "OpenRouter", base_url="https://openrouter.ai/api/v1", env_var="OPENROUTER_API_KEY", prices_id="openrouter"),
    ProviderKind("xai", "xAI", base_url="https://api.x.ai/v1", default_capabilities=FULL, env_var="XAI_API_KEY", prices_id="x-ai"),
    ProviderKind("deepseek", "DeepSeek", base_url="https://api.deepseek.com/v1", env_var="DEEPSEEK_API_KEY", prices_id="deepseek"),
    ProviderKind("together", "Together AI", base_url="https://api.together.xyz/v1", env_var="TOGETHER_API_KEY", prices_id="together"),
    ProviderKind(
        "fireworks", "Fireworks AI", base_url="https://api.fireworks.ai/inference/v1", env_var="FIREWORKS_API_KEY", prices_id="fireworks"
    ),
    ProviderKind("huggingface", "Hugging Face router", base_url="https://router.huggingface.co/v1", env_var="HUGGINGFACE_API_KEY"),
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
