"""What translating from one wire format to another may not lose in silence."""

from __future__ import annotations

from providers.upstream.errors import UnpricedTool, UnsupportedRequest
from providers.upstream.types import ChatRequest, EmbeddingsRequest, Target


def refuse_untranslatable(request: ChatRequest | EmbeddingsRequest) -> None:
    """Raises ``UnsupportedRequest`` naming the first thing asked for that only the client's own wire format can carry."""
    if request.wire_only:
        raise refusal(min(request.wire_only))


def left_out(request: ChatRequest | EmbeddingsRequest, *more: str) -> tuple[str, ...]:
    """What a translation leaves out without changing the answer: the request's hints and ``more``, for ``HttpRequest.degraded``."""
    return tuple(sorted({*request.hints, *more}))


def refusal(field: str, reason: str = "") -> UnsupportedRequest:
    """The error that names a field the target's wire format cannot express; its words are ours and may be shown."""
    message = f"{field} cannot be expressed for this model{': ' + reason if reason else ''}"
    return UnsupportedRequest(message, status=400, provider_message=message, field=field.partition(" ")[0])


def has_tool_fee(target: Target) -> bool:
    """Whether calls of the provider's own tools are held and booked one by one, so that their number needs a bound."""
    return target.price is not None and bool(target.price.tool_call_nano)


def refuse_unpriced_tools(request: ChatRequest, target: Target) -> None:
    """Raises ``UnpricedTool`` where tools that the provider runs could cost what neither reservation nor ledger would know of."""
    tools, card = request.provider_tools, target.price
    if tools is None or card is None or card.tool_call_nano == 0:
        return
    field = tools.fields[0]
    if card.tool_call_nano is None:
        why = "the provider bills each call of this tool, and the model's price names no fee for it: an administrator adds one"
    elif tools.calls_max is None:
        why = "the provider bills each call of this tool and nothing bounds their number: an administrator allows it with a fee of zero"
    else:
        return
    raise UnpricedTool(f"{field}: {why}", status=400, provider_message=f"{field}: {why}.", field=field)
