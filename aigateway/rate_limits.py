"""The rate limits of one request: asked before each attempt, booked after it, told in the headers of its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from providers.upstream.errors import GatewayLimited
from providers.upstream.types import InferenceRequest, ProviderSpec, Target
from usage.limits import REQUESTS, TOKENS, Limit, RateLimiter, State, Verdict, asks_for, exceeded, tightest
from usage.money import ESTIMATE_BYTES_PER_TOKEN

UNNAMED_OUTPUT_TOKENS = 1024
"""Reserved for the answer of a request that names no output limit: models allow far more than answers usually have, and what an
answer really had is booked in its place."""
COUNTED_ALONE = "rate limits: counted by each process alone"


@dataclass(slots=True)
class Allowance:
    """``limits`` are those of the caller and of all providers; ``states`` is how the caller's own stand."""

    limiter: RateLimiter
    limits: tuple[Limit, ...] = ()
    states: tuple[State, ...] = ()
    is_counted: bool = False

    async def take(self, provider: ProviderSpec, tokens: int) -> Verdict | None:
        """All limits of one attempt at once; a request counts once for its caller, each attempt for its provider.

        Raises ``RateLimitExceeded`` for the caller's own limits and ``GatewayLimited`` where only the provider's are in the way.
        ``None``: nothing limits this attempt.
        """
        own = [limit for limit in self.limits if limit.provider_id is None]
        of_provider = [limit for limit in self.limits if limit.provider_id == provider.id]
        asks = (*asks_for(own, 0 if self.is_counted else 1, tokens), *asks_for(of_provider, 1, tokens))
        if not asks:
            return None
        verdict = await self.limiter.take(asks)
        self._see(verdict)
        if verdict.admitted:
            self.is_counted = True
            return verdict
        if any(state.wait_ms != 0 for state in self.states):
            raise exceeded(self.states)
        reached = exceeded(verdict.states)
        wait_s = None if reached.wait_ms is None else reached.wait_ms / 1000
        raise GatewayLimited("own rate limit", limit=f"{reached.limit.name} {provider.label}", retry_after_s=wait_s)

    async def check(self) -> None:
        """Before a body is read: raises ``RateLimitExceeded`` where the caller's own limits leave room for no call. Takes nothing."""
        own = [limit for limit in self.limits if limit.provider_id is None]
        if not own:
            return
        self._see(await self.limiter.take(asks_for(own, 0, 0)))
        if all(state.remaining for state in self.states):
            return
        verdict = await self.limiter.take(asks_for(own, 1, 1))
        if verdict.admitted:  # room was made meanwhile
            await self.limiter.give_back(verdict)
            return
        self._see(verdict)
        raise exceeded(self.states)

    async def book(self, taken: Verdict, tokens: int | None) -> None:
        """The tokens an attempt really used in place of those taken; ``None``: nobody knows, the estimate stands."""
        if tokens is not None and any(ask.limit.measure == TOKENS for ask in taken.asks):
            self._see(await self.limiter.book(taken, tokens))

    async def give_back(self, taken: Verdict) -> None:
        """The attempt was not made after all. The request counts again if it was this attempt that counted it."""
        if any(ask.amount and ask.limit.measure == REQUESTS and ask.limit.provider_id is None for ask in taken.asks):
            self.is_counted = False
        self._see(await self.limiter.give_back(taken))

    async def headers(self, *, may_look: bool) -> Mapping[str, str]:
        """``X-RateLimit-*`` of the tightest limit of each measure, none without limits."""
        own = [limit for limit in self.limits if limit.provider_id is None]
        if own and may_look and not self.states:
            self._see(await self.limiter.take(asks_for(own, 0, 0)))
        shown: dict[str, str] = {}
        for measure in (REQUESTS, TOKENS):
            state = tightest(self.states, measure)
            if state is not None:
                shown[f"X-RateLimit-Limit-{measure.title()}"] = str(state.limit.limit)
                shown[f"X-RateLimit-Remaining-{measure.title()}"] = str(state.remaining)
                shown[f"X-RateLimit-Reset-{measure.title()}"] = f"{state.reset_ms / 1000:g}s"
        return shown

    def _see(self, verdict: Verdict | None) -> None:
        if verdict is not None:
            self.states = tuple(state for state in verdict.states if state.limit.provider_id is None)


def tokens_expected(request: InferenceRequest, target: Target, preset_bytes: int) -> int:
    """What an attempt reserves of token limits: a third of its bytes, and for the answer the limit the client named or
    ``UNNAMED_OUTPUT_TOKENS``, within what the target can give."""
    input_tokens = -(-(request.body_bytes + preset_bytes) // ESTIMATE_BYTES_PER_TOKEN)
    wanted = UNNAMED_OUTPUT_TOKENS if request.max_output_tokens is None else request.max_output_tokens
    return input_tokens + target.output_cap_tokens(wanted) * request.choices
