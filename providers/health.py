"""Health of providers by probes that cost nothing: the model list is asked for, no token is generated."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread

import structlog
from celery import current_app
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from kombu.exceptions import OperationalError

from providers.client import exchange
from providers.models import ConfigVersion, HealthCheck, HealthCheckJob, Provider
from providers.registry import live_providers, provider_spec
from providers.upstream import errors
from providers.upstream.adapters import ADAPTERS
from providers.upstream.types import HealthStatus, ProviderSpec

PROBE_TIMEOUT_S = 5.0
SLOW_MS = 2000.0
PARALLEL_PROBES = 8
RUN_JOB_TASK = "providers.run_health_check_job"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """What one probe found. ``detail`` is our own sentence for people; nothing the provider sent is in it."""

    status: HealthStatus
    detail: str
    latency_ms: float | None = None
    http_status: int | None = None
    error_code: str = ""


@dataclass(frozen=True, slots=True)
class OverallStatus:
    """Green: all are. Red: none answers. Yellow: something is wrong. Unknown: there is nothing to check."""

    status: HealthStatus
    counts: dict[HealthStatus, int] = field(default_factory=dict)


ADVICE: tuple[tuple[type[errors.UpstreamError], HealthStatus, str], ...] = (
    (errors.AuthRejected, HealthStatus.RED, "The provider refuses the key. Enter a valid one."),
    (errors.PermissionRefused, HealthStatus.RED, "The key lacks permission. Check its scopes at the provider."),
    (errors.CredentialLocked, HealthStatus.RED, "No usable key. Enter one, or restore the key ring."),
    (errors.QuotaExhausted, HealthStatus.RED, "The account has no quota or credit left. Top it up at the provider."),
    (errors.RateLimited, HealthStatus.YELLOW, "The provider limits the rate of requests right now."),
    (errors.Overloaded, HealthStatus.YELLOW, "The provider says that it is overloaded."),
    (errors.ServerFailed, HealthStatus.YELLOW, "The provider answers with a server error."),
    (errors.DnsFailed, HealthStatus.RED, "The host name cannot be resolved. Check the base URL."),
    (errors.TlsFailed, HealthStatus.RED, "The certificate is not valid for this host."),
    (errors.ConnectTimeout, HealthStatus.RED, "The host does not accept connections in time."),
    (errors.ConnectFailed, HealthStatus.RED, "The host refuses connections. Is the server running, is the port right?"),
    (errors.OwnService, HealthStatus.RED, "This is the gateway itself, its database or its Redis. Check host and port of the base URL."),
    (errors.ClearText, HealthStatus.RED, "The host is public, so the key is not sent there in clear. Use https in the base URL."),
    (errors.LoopDetected, HealthStatus.RED, "This address leads back to the gateway itself. Check the base URL."),
    (errors.EgressDenied, HealthStatus.RED, "The gateway must not dial this address. Allow private addresses if it is yours."),
    (errors.Redirected, HealthStatus.RED, "The address redirects elsewhere; the key is not sent there. Check the base URL."),
    (errors.FirstByteTimeout, HealthStatus.RED, "The provider accepts the connection and does not answer."),
    (errors.IdleTimeout, HealthStatus.RED, "The provider stops in the middle of its answer."),
    (errors.DeadlineExceeded, HealthStatus.RED, "The provider takes too long to answer."),
    (errors.ConnectionLost, HealthStatus.RED, "The connection breaks before the answer is complete."),
    (errors.InvalidBody, HealthStatus.YELLOW, "The address answers, but not like this kind of provider. Check the base URL."),
    (errors.ModelNotFound, HealthStatus.YELLOW, "The address answers, but has no model list. Check the base URL."),
    (errors.CallerFault, HealthStatus.YELLOW, "The provider does not understand the request. Check the kind."),
)
"""First match by class: colour and what to do."""


def advice_for(error: errors.UpstreamError) -> tuple[HealthStatus, str]:
    """Colour and a sentence a person can act on. Made of the error's class alone, so it shows nothing the host sent."""
    for kind, status, sentence in ADVICE:
        if isinstance(error, kind):
            return status, sentence
    return HealthStatus.RED, "The provider fails."


def probe(spec: ProviderSpec, timeout_s: float = PROBE_TIMEOUT_S) -> ProbeOutcome:
    """One zero-cost call. No database, so it may run in any thread."""
    adapter = ADAPTERS[spec.adapter]
    started = time.monotonic()
    try:
        response = exchange(spec, adapter.render_models(None), timeout_s)
        adapter.parse_models(response)
    except errors.UpstreamError as error:
        status, sentence = advice_for(error)
        latency_ms = (time.monotonic() - started) * 1000 if error.status is not None else None
        return ProbeOutcome(status, sentence, latency_ms, error.status, error.code)
    return _success(response.status, (time.monotonic() - started) * 1000)


def _success(http_status: int, latency_ms: float) -> ProbeOutcome:
    if latency_ms > SLOW_MS:
        return ProbeOutcome(HealthStatus.YELLOW, "The provider answers slowly.", latency_ms, http_status)
    return ProbeOutcome(HealthStatus.GREEN, "The provider answers.", latency_ms, http_status)


def record(provider_id: int, outcome: ProbeOutcome) -> HealthStatus:
    """Stores a probe. The version moves only with the status: steady health costs the data plane nothing."""
    with transaction.atomic():
        provider = Provider.objects.select_for_update().get(pk=provider_id)
        HealthCheck.objects.create(
            provider=provider,
            status=outcome.status,
            latency_ms=outcome.latency_ms,
            http_status=outcome.http_status,
            error_code=outcome.error_code,
            detail=outcome.detail,
        )
        is_failure = outcome.status is HealthStatus.RED
        # update() and not save(): observations are no configuration and stay out of the audit log.
        Provider.objects.filter(pk=provider_id).update(
            health=outcome.status,
            health_detail=outcome.detail,
            health_latency_ms=outcome.latency_ms,
            health_checked_at=timezone.now(),
            consecutive_failures=provider.consecutive_failures + 1 if is_failure else 0,
        )
        if provider.health != outcome.status:
            ConfigVersion.bump("registry")
            log.info("provider health changed", provider=provider.slug, before=provider.health, after=outcome.status.value)
    return outcome.status


def check(provider: Provider) -> ProbeOutcome:
    """Probes one provider now and stores the outcome."""
    return check_many([provider])[provider.pk]


def check_all() -> dict[int, ProbeOutcome]:
    """Probes every live provider in parallel and stores the outcomes."""
    return check_many(live_providers().prefetch_related("credentials"))


def check_many(providers: Iterable[Provider]) -> dict[int, ProbeOutcome]:
    """Probes these providers in parallel and stores the outcomes."""
    outcomes = probe_all([provider_spec(provider) for provider in providers])
    for provider_id, outcome in outcomes.items():
        record(provider_id, outcome)
    return outcomes


def probe_all(specs: Sequence[ProviderSpec], patience_s: float = 2 * PROBE_TIMEOUT_S) -> dict[int, ProbeOutcome]:
    """Every spec gets an outcome within ``patience_s`` seconds per round of ``PARALLEL_PROBES``, whatever the hosts do.

    Socket timeouts alone do not bound a host that sends its headers byte by byte. Such a probe is given up; its thread is a
    daemon and ends with the host's patience.
    """
    waiting: SimpleQueue[ProviderSpec] = SimpleQueue()
    for spec in specs:
        waiting.put(spec)
    outcomes: dict[int, ProbeOutcome] = {}
    workers = [Thread(target=_probe_waiting, args=(waiting, outcomes), daemon=True) for _ in specs[:PARALLEL_PROBES]]
    for worker in workers:
        worker.start()
    deadline = time.monotonic() + patience_s * math.ceil(len(specs) / PARALLEL_PROBES)
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
    finished = dict(outcomes)
    status, sentence = advice_for(errors.DeadlineExceeded())
    given_up = ProbeOutcome(status, sentence, error_code=errors.DeadlineExceeded.code)
    return {spec.id: finished.get(spec.id, given_up) for spec in specs}


def _probe_waiting(waiting: SimpleQueue[ProviderSpec], outcomes: dict[int, ProbeOutcome]) -> None:
    while True:
        try:
            spec = waiting.get_nowait()
        except Empty:
            return
        outcomes[spec.id] = probe(spec)


def overall_status() -> OverallStatus:
    counts = Counter(HealthStatus(status) for status in live_providers().values_list("health", flat=True))
    known = {status: count for status, count in counts.items() if status is not HealthStatus.UNKNOWN}
    if not known:
        status = HealthStatus.UNKNOWN
    elif set(known) == {HealthStatus.GREEN}:
        status = HealthStatus.GREEN
    elif set(known) == {HealthStatus.RED}:
        status = HealthStatus.RED
    else:
        status = HealthStatus.YELLOW
    return OverallStatus(status, {each: counts.get(each, 0) for each in HealthStatus})


# --------------------------------------------------------------------------- checks somebody asked for


def queue_job(user: User | None, provider_id: int | None = None) -> HealthCheckJob:
    """Stores the wish for a check (of one provider, or of all) and wakes a worker once it is committed."""
    with transaction.atomic():
        job = HealthCheckJob.objects.create(requested_by=user, provider_id=provider_id)
        transaction.on_commit(lambda: wake_worker(str(job.pk)))
    return job


def wake_worker(job_id: str) -> None:
    """A lost wake-up is no loss: the sweeper finds the row."""
    try:
        current_app.send_task(RUN_JOB_TASK, args=[job_id], retry=False)
    except (OperationalError, OSError) as error:
        log.warning("no worker could be woken", job=job_id, error=type(error).__name__)


def run_job(job_id: str) -> bool:
    """Does a queued job. Claims it in one statement, so a second wake-up of the same job does nothing and returns false."""
    claimed = HealthCheckJob.objects.filter(pk=job_id, state=HealthCheckJob.State.QUEUED).update(state=HealthCheckJob.State.RUNNING)
    if not claimed:
        return False
    job = HealthCheckJob.objects.select_related("provider").get(pk=job_id)
    wanted = live_providers() if job.provider_id is None else Provider.objects.filter(pk=job.provider_id, deleted_at=None)
    checked = check_many(wanted.prefetch_related("credentials"))
    HealthCheckJob.objects.filter(pk=job_id).update(state=HealthCheckJob.State.DONE, finished_at=timezone.now(), checked_count=len(checked))
    return True
