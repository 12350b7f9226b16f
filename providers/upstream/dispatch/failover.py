"""Which target next, with which key, after which wait: the one owner of retries (faults.md, "Retries")."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import structlog

from providers.upstream.adapters import Adapter, adapter_for
from providers.upstream.dispatch.affinity import Issuer
from providers.upstream.dispatch.attempts import (
    AllTargetsFailed,
    AttemptLedger,
    AttemptOutcome,
    AttemptRecord,
    Billing,
    Ticket,
    Upstreams,
)
from providers.upstream.dispatch.presets import with_preset
from providers.upstream.dispatch.threads import away_from_loop
from providers.upstream.errors import CredentialLocked, DeadlineExceeded, UpstreamError
from providers.upstream.transport import Deadline
from providers.upstream.types import CredentialRef, HttpRequest, InferenceRequest, Plan, ProviderSpec, Target, TokenUsage

log = structlog.get_logger(__name__)

T = TypeVar("T")

RETRY_SLEEP_MAX_S = 30.0
"""A longer wait than this is the client's business: it is told when to come back."""

CLIENT_CLOSED = "client_closed"
INTERNAL_ERROR = "internal_error"


@dataclass(slots=True)
class PhysicalCall:
    """One physical call, opened on the ledger. Whoever makes it settles or abandons it, exactly once."""

    up: Upstreams
    ledger: AttemptLedger
    ticket: Ticket
    target: Target
    credential: CredentialRef | None
    adapter: Adapter
    http_request: HttpRequest
    deadline: Deadline
    started_at: float
    _is_settled: bool = False

    def remember(self, states: Iterable[str]) -> None:
        """What the provider issued with this call comes back to it first."""
        self.up.affinity.remember(states, Issuer(self.target.provider.id, self.credential.id if self.credential else None))

    @property
    def elapsed_ms(self) -> int:
        return round((self.up.clock() - self.started_at) * 1000)

    async def settle(self, outcome: AttemptOutcome, error: UpstreamError | None) -> None:
        """Writes the outcome and tells the breaker. Returns when it is written; a cancelled caller does not stop it."""
        task = self._close(outcome)
        if task is not None:
            self.up.breakers.record(self.target.id, error)
            await asyncio.wait({task})

    def abandon(self, outcome: AttemptOutcome) -> asyncio.Task[None] | None:
        """Settles in a task of its own, without a verdict about the target: the client left, or we failed ourselves."""
        task = self._close(outcome)
        if task is not None:
            self.up.breakers.release(self.target.id)
        return task

    def _close(self, outcome: AttemptOutcome) -> asyncio.Task[None] | None:
        if self._is_settled:
            return None
        self._is_settled = True
        return self.up.settle(self.ledger.close(self.ticket, outcome))


def failure_outcome(call: PhysicalCall, error: UpstreamError) -> AttemptOutcome:
    """A failed call without any output costs something only if its error says it may."""
    billing = Billing.ESTIMATE if error.may_have_billed else Billing.NOTHING
    return AttemptOutcome(billing, error_code=error.code, latency_ms=call.elapsed_ms)


def abandoned_outcome(call: PhysicalCall, cause: BaseException) -> AttemptOutcome:
    code = CLIENT_CLOSED if isinstance(cause, asyncio.CancelledError) else INTERNAL_ERROR
    return AttemptOutcome(Billing.ESTIMATE, TokenUsage(), error_code=code, latency_ms=call.elapsed_ms)


@dataclass(slots=True)
class _Candidate:
    target: Target
    retries: int = 0
    ready_at: float = 0.0


@dataclass(slots=True)
class Failover:
    """One request's way through the targets of its plan."""

    plan: Plan
    request: InferenceRequest
    up: Upstreams
    ledger: AttemptLedger
    deadline: Deadline
    records: list[AttemptRecord] = field(default_factory=list)
    _fresh: deque[_Candidate] = field(default_factory=deque)
    _waiting: list[_Candidate] = field(default_factory=list)
    _dead_credentials: set[str] = field(default_factory=set)
    _calls: int = 0
    _last: UpstreamError | None = None
    _soonest_s: float | None = None
    _issuer: Issuer | None = None

    async def run(self, attempt: Callable[[PhysicalCall], Awaitable[T]]) -> tuple[T, Target]:
        """The first answer any target gives. Raises ``AllTargetsFailed``, and what ``ledger.open`` raises."""
        self._fresh.extend(_Candidate(target) for target in self._issuer_first())
        while (candidate := await self._next()) is not None:
            try:
                return await self._try(candidate, attempt), candidate.target
            except UpstreamError as error:
                if not error.fail_over:
                    break
        raise self._exhausted()

    def _issuer_first(self) -> list[Target]:
        """The plan's order, after the account that issued what the request carries (U34)."""
        issuer = self.up.affinity.issuer_of(self.request.provider_state) if self.request.provider_state else None
        self._issuer = issuer
        if issuer is None:
            return [*self.plan.targets]
        return sorted(self.plan.targets, key=lambda target: target.provider.id != issuer.provider_id)

    async def _next(self) -> _Candidate | None:
        """A target not asked yet, else the one whose wait ends first; never a wait while another target is free."""
        if self._calls >= self.up.settings().max_attempts:
            return None
        if self.deadline.remaining_s() <= 0:
            self._last = DeadlineExceeded("the deadline of the request passed")
            return None
        if self._fresh:
            return self._fresh.popleft()
        if not self._waiting:
            return None
        candidate = min(self._waiting, key=lambda waiting: waiting.ready_at)
        wait_s = candidate.ready_at - self.up.clock()
        if wait_s > min(self.deadline.remaining_s(), RETRY_SLEEP_MAX_S):
            return None
        self._waiting.remove(candidate)
        if wait_s > 0:
            await self.up.sleep(wait_s)
        return candidate

    async def _try(self, candidate: _Candidate, attempt: Callable[[PhysicalCall], Awaitable[T]]) -> T:
        target, started_at, attempt_no = candidate.target, self.up.clock(), 0
        credential = None
        try:
            credential = self._credential(target)
            adapter, http_request = await away_from_loop(self.request.body_bytes, partial(_rendered, self.request, target))
            self.up.breakers.admit(target.id)
            ticket = await self._open(target, self._calls + 1)
            attempt_no = self._calls = self._calls + 1
            call = PhysicalCall(
                self.up, self.ledger, ticket, target, credential, adapter, http_request, self.deadline, started_at=self.up.clock()
            )
            result = await attempt(call)
        except UpstreamError as error:
            redact(error, target.provider)
            self._record(target, attempt_no, started_at, error)
            self._reconsider(candidate, credential, error)
            raise
        self._record(target, attempt_no, started_at, None)
        return result

    async def _open(self, target: Target, attempt_no: int) -> Ticket:
        """Opens in a task of its own: a reservation made for a client that left meanwhile is given back."""
        task = self.up.supervise(self.ledger.open(target, attempt_no))
        try:
            await asyncio.wait({task})
            return task.result()
        except BaseException:
            self.up.breakers.release(target.id)
            if not task.done() or (not task.cancelled() and task.exception() is None):
                self.up.settle(self._give_back(task, AttemptOutcome(Billing.NOTHING, error_code=CLIENT_CLOSED)))
            raise

    async def _give_back(self, opening: asyncio.Task[Ticket], outcome: AttemptOutcome) -> None:
        await asyncio.wait({opening})
        if not opening.cancelled() and opening.exception() is None:
            await self.ledger.close(opening.result(), outcome)

    def _credential(self, target: Target) -> CredentialRef | None:
        """The key that issued what the request carries, else the first one nobody refused lately; keys that rest are used
        when there is no other."""
        provider = target.provider
        usable = [credential for credential in provider.credentials if credential.id not in self._dead_credentials]
        if self._issuer is not None and self._issuer.provider_id == provider.id:
            usable.sort(key=lambda credential: self._issuer is None or credential.id != self._issuer.credential_id)
        if usable:
            return min(usable, key=lambda credential: self.up.is_resting(credential.id))
        if provider.credentials:
            raise CredentialLocked("every key of the provider was refused")
        if provider.needs_credential:
            raise CredentialLocked("the provider has no usable key")
        return None

    def _reconsider(self, candidate: _Candidate, credential: CredentialRef | None, error: UpstreamError) -> None:
        """Another key of the same provider at once; the same target again only after everybody else."""
        if error.ejects_credential and credential is not None:
            self._dead_credentials.add(credential.id)
            self.up.rest_credential(credential.id)
            if any(other.id not in self._dead_credentials for other in candidate.target.provider.credentials):
                self._fresh.appendleft(candidate)
        elif error.retry_same and candidate.retries < self.up.settings().retries_per_target:
            backoff_s = self.up.jitter() * self.up.settings().retry_base_s * 2**candidate.retries
            candidate.retries += 1
            candidate.ready_at = self.up.clock() + max(backoff_s, error.retry_after_s or 0.0)
            self._waiting.append(candidate)

    def _record(self, target: Target, attempt_no: int, started_at: float, error: UpstreamError | None) -> None:
        latency_ms = round((self.up.clock() - started_at) * 1000)
        if error is None:
            self.records.append(AttemptRecord(target, attempt_no, "ok", latency_ms))
            return
        self.records.append(AttemptRecord(target, attempt_no, error.code, latency_ms, error.detail))
        if attempt_no or self._last is None:  # what a provider said tells more than why the next one was not asked
            self._last = error
        if error.retry_after_s is not None:
            self._soonest_s = min(error.retry_after_s, self._soonest_s if self._soonest_s is not None else error.retry_after_s)
        log.info(
            "attempt_failed",
            target=target.address,
            attempt_no=attempt_no,
            code=error.code,
            status=error.status,
            said_chars=error.said_chars,
        )

    def _exhausted(self) -> AllTargetsFailed:
        if self._last is None:
            return AllTargetsFailed.without_targets()
        return AllTargetsFailed(tuple(self.records), self._last, self._soonest_s)


def redact(error: UpstreamError, provider: ProviderSpec) -> None:
    """Providers repeat keys and prompts in their errors. What is kept of their words loses the keys; of a managed preset, whose
    prompt is not the client's, no word is kept."""
    secrets = [credential.secret.reveal() for credential in provider.credentials]
    secrets += provider.extra_headers.values()
    error.redact(secrets, may_quote=provider.preset is None or not provider.preset.system_prompt)


def _rendered(request: InferenceRequest, target: Target) -> tuple[Adapter, HttpRequest]:
    preset = target.provider.preset
    if preset is not None:
        request = with_preset(request, preset)
    adapter, prefix = adapter_for(target.provider, request)
    http_request = adapter.render(request, target)
    return adapter, replace(http_request, path=prefix + http_request.path) if prefix else http_request
