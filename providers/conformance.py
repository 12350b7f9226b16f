"""Stores what a conformance run found, and lets routing rely on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.utils import timezone

from providers.audit import Actor, changing
from providers.models import ConformanceResult, Deployment
from providers.upstream.types import Capability


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check. ``verifies`` and ``refutes`` are the capability it proved or disproved; a provider that is away does neither."""

    name: str
    result: str
    message: str
    latency_ms: float | None = None
    error_code: str = ""
    verifies: Capability | None = None
    refutes: Capability | None = None


def record_run(deployment_id: int, results: Iterable[CheckResult], actor: Actor) -> Deployment:
    """Replaces the results of the model's earlier runs check by check, and updates what routing knows of it."""
    with changing(actor):
        deployment = Deployment.objects.select_for_update().get(pk=deployment_id)
        verified, refuted = {*deployment.verified_capabilities}, {*deployment.refuted_capabilities}
        for result in results:
            _store(deployment, result)
            if result.verifies is not None:
                verified.add(result.verifies.value)
                refuted.discard(result.verifies.value)
            if result.refutes is not None:
                refuted.add(result.refutes.value)
                verified.discard(result.refutes.value)
        deployment.verified_capabilities, deployment.refuted_capabilities = sorted(verified), sorted(refuted)
        deployment.save(update_fields=["verified_capabilities", "refuted_capabilities"])
    return deployment


def _store(deployment: Deployment, result: CheckResult) -> None:
    ConformanceResult.objects.update_or_create(
        deployment=deployment,
        check_name=result.name,
        defaults={
            "result": result.result,
            "message": result.message[:300],
            "error_code": result.error_code,
            "latency_ms": result.latency_ms,
            "checked_at": timezone.now(),
        },
    )
