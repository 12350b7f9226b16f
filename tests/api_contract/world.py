"""An installation with one of everything, and who asks it: what the addresses of the OpenAPI document can point at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.contrib.auth.models import User
from django.utils import timezone

from preferences.models import Preference
from providers.models import Credential, Deployment, HealthCheck, HealthCheckJob, Price, PriceProposal, Provider
from tests.access.world import statement_with_a_finding
from tests.usage.lines import line, post
from usage.keys.actions import create_api_key
from usage.models import Budget, Export, Statement, Tier

EXPORT_ID = UUID("11111111-2222-4333-8444-555555555555")
JOB_ID = UUID("21111111-2222-4333-8444-555555555555")


@dataclass(frozen=True, slots=True)
class World:
    root: User
    plain: User
    root_key: str
    plain_key: str
    provider: Provider
    model: Deployment
    proposal: PriceProposal
    statement: Statement

    def parameters(self, path: str) -> dict[str, object]:
        """Path parameters that name something that exists."""
        known: dict[str, object] = {
            "user_id": self.plain.pk,
            "export_id": str(EXPORT_ID),
            "sign_in_id": str(JOB_ID),
            "statement_id": self.statement.pk,
            "month": "2026-10",
            "context": "default",
        }
        if "{id}" in path:
            known["id"] = {"health-check": str(JOB_ID), "price-proposals": self.proposal.pk}.get(path.split("/")[5], self.provider.pk)
            if "health-check/" in path:
                known["id"] = str(JOB_ID)
        return {name: value for name, value in known.items() if f"{{{name}}}" in path}


def build_world(base_url: str) -> World:
    """Needs a database. ``base_url`` is where the one provider answers."""
    root = User.objects.create_superuser("contract-root")
    plain = User.objects.create_user("contract-plain")
    _, root_key = create_api_key(root, "root")
    _, plain_key = create_api_key(plain, "plain")
    provider = Provider.objects.create(slug="sim", label="Sim", kind="openai_compatible", base_url=base_url, allow_private=True)
    Credential.objects.filter(provider=provider).delete()
    model = Deployment.objects.create(
        provider=provider, name="small", upstream_model="alpha-small", capabilities=["chat", "stream"]
    )  # fmt: skip
    price = Price.objects.create(deployment=model, input_nano_per_mtok=10**9, output_nano_per_mtok=2 * 10**9, source="test")
    figures = {"input_nano_per_mtok": 2 * 10**9, "output_nano_per_mtok": 3 * 10**9, "source": "list"}
    proposal = PriceProposal.objects.create(deployment=model, current=price, figures=figures, found_at=timezone.now())
    HealthCheck.objects.create(provider=provider, status="green", latency_ms=12.5)
    HealthCheckJob.objects.create(id=JOB_ID, provider=provider, requested_by=root)
    Preference.objects.create(user=plain, deployment=model)
    Preference.objects.create(user=root, deployment=model)
    Budget.objects.create(scope=Budget.Scope.USER, user=plain, cap_nano=10**12)
    Tier.objects.create(name="basic")
    now = timezone.now()
    post(
        *(
            line(user_id=plain.pk, provider_id=provider.pk, deployment_id=model.pk, dispatched_at=now - timedelta(hours=hours))
            for hours in range(30)
        )
    )
    Export.objects.create(id=EXPORT_ID, format="csv", query={"month": "2026-10"}, status=Export.Status.FAILED, error="no", created_at=now)
    statement = statement_with_a_finding(now)
    return World(root, plain, root_key, plain_key, provider, model, proposal, statement)
