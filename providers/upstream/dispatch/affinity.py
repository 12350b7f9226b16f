"""Who issued a piece of state that only its issuer understands: ids of stored answers, encrypted reasoning (U34)."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from providers.upstream.types import ChatResponse

KEPT_MAX = 20_000
_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Issuer:
    """An account: a provider and the key that was used. Its models share their state."""

    provider_id: int
    credential_id: str | None


class Affinity:
    """The latest ``KEPT_MAX`` pieces this process saw, by digest: the state itself is not kept.

    Another process, or this one after a restart, knows nothing: then targets are asked in their usual order, and one that
    does not know the state lets the next one try (``ForeignState``).
    """

    def __init__(self) -> None:
        self._issuers: OrderedDict[bytes, Issuer] = OrderedDict()

    def remember(self, states: Iterable[str], issuer: Issuer) -> None:
        for state in states:
            digest = _digest(state)
            self._issuers[digest] = issuer
            self._issuers.move_to_end(digest)
        while len(self._issuers) > KEPT_MAX:
            self._issuers.popitem(last=False)

    def issuer_of(self, states: Iterable[str]) -> Issuer | None:
        """The issuer of the first piece that is known."""
        return next((issuer for state in states if (issuer := self._issuers.get(_digest(state))) is not None), None)


def states_of(answer: ChatResponse) -> list[str]:
    """What of a whole answer may come back with the next request."""
    return [answer.id, *(part.signature for choice in answer.choices for part in choice.reasoning if part.signature)]


def _digest(state: str) -> bytes:
    return hashlib.sha256(state.encode("utf-8", "replace")).digest()[:_DIGEST_BYTES]
