"""What a managed preset makes of a caller's request."""

from __future__ import annotations

from dataclasses import replace

from providers.upstream.errors import UnsupportedRequest
from providers.upstream.types import ChatRequest, InferenceRequest, Message, Preset, ProviderSpec, Role, TextPart

PRESET_MARGIN_BYTES = 64
"""What the provider's own template puts around one more message."""


def preset_bytes(provider: ProviderSpec) -> int:
    """What the preset adds to the input, for reservations and estimates."""
    return len(provider.preset.system_prompt.encode()) + PRESET_MARGIN_BYTES if provider.preset is not None else 0


def with_preset(request: InferenceRequest, preset: Preset) -> InferenceRequest:
    """The request as the preset's operator wants it sent. It is translated even where the wire formats match, because the
    caller's own body must not pass around the preset. Raises ``UnsupportedRequest`` for anything but chat."""
    if not isinstance(request, ChatRequest):
        raise UnsupportedRequest("this model only chats", status=400, provider_message="This model only chats.")
    messages = request.messages
    if preset.system_prompt:
        messages = (Message(Role.SYSTEM, (TextPart(preset.system_prompt),)), *messages)
    return replace(
        request,
        messages=messages,
        temperature=request.temperature if request.temperature is not None else preset.temperature,
        source=None,
    )
