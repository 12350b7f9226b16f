"""Model lists as OpenAI and everybody compatible with it write them: what a row says about a model, and about nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from providers.upstream.adapters.error_rules import error_in_success
from providers.upstream.adapters.json_values import count_at, decode_or_none, list_at, object_at, snippet, text_at
from providers.upstream.errors import InvalidBody
from providers.upstream.types import Capability, ContextTier, HttpResponse, JsonObject, ListedPrice, ModelListing

_CHAT = frozenset({Capability.CHAT, Capability.STREAM})

# Names in ``capabilities`` of Mistral and Azure, each true or false.
_FLAGS: Mapping[str, frozenset[Capability]] = {
    "completion_chat": _CHAT,
    "chat_completion": _CHAT,
    "function_calling": frozenset({Capability.TOOLS}),
    "vision": frozenset({Capability.VISION}),
    "reasoning": frozenset({Capability.REASONING}),
}
# Names in OpenRouter's ``supported_parameters`` and Groq's ``supported_features``; what is missing there is not offered.
_FEATURES: Mapping[str, Capability] = {
    "tools": Capability.TOOLS,
    "response_format": Capability.JSON_MODE,
    "json_mode": Capability.JSON_MODE,
    "structured_outputs": Capability.JSON_SCHEMA,
    "reasoning": Capability.REASONING,
}
# Together's ``type`` of what chats.
_CHAT_TYPES = frozenset({"chat", "language", "code"})


def parse_models(response: HttpResponse) -> tuple[tuple[ModelListing, ...], str | None]:
    """All models on one page. Raises ``InvalidBody``, and the class of an error that came with a success status."""
    body: Any = decode_or_none(response.body)
    if isinstance(body, dict):
        error = error_in_success(body)
        if error is not None:
            raise error
    rows = body if isinstance(body, list) else body.get("data") if isinstance(body, dict) else None
    if not isinstance(rows, list):
        raise InvalidBody(f"not a list of models: {snippet(response.body)}")
    twins = {text_at(row, "name"): row for row in list_at(body, "models")}  # llama.cpp lists every model twice
    return tuple(_listing(row, twins.get(text_at(row, "id"))) for row in rows if text_at(row, "id")), None


def _listing(row: JsonObject, twin: JsonObject | None) -> ModelListing:
    top_provider = object_at(row, "top_provider")
    live = [entry for entry in list_at(row, "providers") if text_at(entry, "status") == "live"]
    window = count_at(row, "context_window", "context_length", "max_context_length", "max_model_len")
    windows = [size for entry in live if (size := count_at(entry, "context_length"))]
    offered, said = _capabilities(row, twin, live)
    return ModelListing(
        name=text_at(row, "id"),
        display_name=text_at(row, "display_name") or text_at(row, "name") or None,
        context_window_tokens=window or count_at(object_at(row, "meta"), "n_ctx", "n_ctx_train") or min(windows, default=None),
        max_output_tokens=count_at(row, "max_completion_tokens", "max_output_tokens") or count_at(top_provider, "max_completion_tokens"),
        capabilities=offered if said else None,
        said=said,
        price=_price(row, live),
    )


def _capabilities(row: JsonObject, twin: JsonObject | None, live: list[Any]) -> tuple[frozenset[Capability], frozenset[Capability]]:
    """What the row offers, and what it speaks about at all; both empty where it says nothing (OpenAI, DeepSeek, vLLM)."""
    if not _writes_text(row):
        return frozenset(), _CHAT
    offered: set[Capability] = set()
    said: set[Capability] = set()
    for name, flag in object_at(row, "capabilities").items():
        said |= _FLAGS.get(name, frozenset())
        offered |= _FLAGS.get(name, frozenset()) if flag is True else frozenset()
    features = [*list_at(row, "supported_parameters"), *list_at(row, "supported_features")]
    if features:
        said |= set(_FEATURES.values())
        offered |= {_FEATURES[name] for name in features if isinstance(name, str) and name in _FEATURES}
    inputs = [*list_at(object_at(row, "architecture"), "input_modalities"), *list_at(row, "input_modalities")]
    if inputs or list_at(twin, "capabilities"):
        said.add(Capability.VISION)
        offered |= {Capability.VISION} if "image" in inputs or "multimodal" in list_at(twin, "capabilities") else set()
    if live:  # Hugging Face: any of them may be asked, so only what all of them offer counts
        said |= {Capability.TOOLS, Capability.JSON_SCHEMA}
        offered |= {Capability.TOOLS} if all(entry.get("supports_tools") is True for entry in live) else set()
        offered |= {Capability.JSON_SCHEMA} if all(entry.get("supports_structured_output") is True for entry in live) else set()
    if said and not said & _CHAT:  # nobody said that it does not chat; whether it does, its name may tell
        offered |= _CHAT
    return frozenset(offered), frozenset(said)


def _writes_text(row: JsonObject) -> bool:
    outputs = [*list_at(object_at(row, "architecture"), "output_modalities"), *list_at(row, "output_modalities")]
    together_type = text_at(row, "type") if isinstance(row.get("pricing"), dict) else ""  # Mistral has another "type"
    return (not outputs or "text" in outputs) and (not together_type or together_type in _CHAT_TYPES)


# --------------------------------------------------------------------------- prices

_PER_TOKEN, _PER_MTOK, _PER_CALL = 15, 9, 9
"""Powers of ten from dollars per token, per million tokens and per call to nano-dollars per million tokens and per call."""


def _price(row: JsonObject, live: list[Any]) -> ListedPrice | None:
    """What the row says calls cost; ``None`` where it says nothing that can be relied on."""
    if live:
        return _dearest([_price_per_mtok(object_at(entry, "pricing")) for entry in live])
    pricing = object_at(row, "pricing")
    return _price_per_token(pricing) if "prompt" in pricing else _price_per_mtok(pricing)


def _price_per_token(pricing: JsonObject) -> ListedPrice | None:
    """OpenRouter and Groq: decimal text, dollars per token. Zero is a price; a negative one stands for "varies"."""
    rates = _rates_per_token(pricing)
    request = _nano(pricing.get("request", "0"), _PER_CALL)
    tiers = [_tier(pricing, override) for override in list_at(pricing, "overrides")]
    known = sorted((tier for tier in tiers if tier is not None), key=lambda tier: tier.above_input_tokens)
    if rates is None or request is None or len(known) < len(tiers):
        return None
    return ListedPrice(**rates, request_nano=request, context_tiers=tuple(known))


_TOKEN_PRICES = {
    "prompt": "input_nano_per_mtok",
    "completion": "output_nano_per_mtok",
    "input_cache_read": "cache_read_nano_per_mtok",
    "input_cache_write": "cache_write_nano_per_mtok",
    "input_cache_write_1h": "cache_write_1h_nano_per_mtok",
    "internal_reasoning": "reasoning_nano_per_mtok",
}


def _rates_per_token(pricing: JsonObject) -> dict[str, int] | None:
    rates = {rate: _nano(pricing.get(name), _PER_TOKEN) for name, rate in _TOKEN_PRICES.items()}
    rates["reasoning_nano_per_mtok"] = rates["reasoning_nano_per_mtok"] or None
    if rates["input_nano_per_mtok"] is None or rates["output_nano_per_mtok"] is None:
        return None
    return {name: nano for name, nano in rates.items() if nano is not None}


def _tier(pricing: JsonObject, override: Any) -> ContextTier | None:
    """OpenRouter: the override holds from ``min_prompt_tokens`` on, that count included; what it leaves out stays as it is."""
    least = count_at(override, "min_prompt_tokens")
    rates = _rates_per_token({**pricing, **override}) if isinstance(override, dict) else None
    return ContextTier(**rates, above_input_tokens=least - 1) if least and least > 1 and rates else None


def _price_per_mtok(pricing: JsonObject) -> ListedPrice | None:
    """Together and Hugging Face: numbers, dollars per million tokens. Together writes zero for what is rented by the hour."""
    inp, out = _nano(pricing.get("input"), _PER_MTOK), _nano(pricing.get("output"), _PER_MTOK)
    if inp is None or out is None or not (inp or out):
        return None
    return ListedPrice(input_nano_per_mtok=inp, output_nano_per_mtok=out)


def _dearest(prices: list[ListedPrice | None]) -> ListedPrice | None:
    """The bound over every provider the router may pick; unknown as soon as one of them is unknown."""
    known = [price for price in prices if price is not None]
    if not known or len(known) < len(prices):
        return None
    return ListedPrice(max(price.input_nano_per_mtok for price in known), max(price.output_nano_per_mtok for price in known))


def _nano(value: Any, power: int) -> int | None:
    """Exact, or ``None`` for what is no amount, negative, or finer than a nano-dollar."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        nano = Decimal(str(value)).scaleb(power)
    except InvalidOperation:
        return None
    if not nano.is_finite() or nano < 0 or nano != nano.to_integral_value() or nano > 10**18:
        return None
    return int(nano)
