from django.apps import AppConfig

AUDITED: dict[str, list[str]] = {
    "Provider": ["health", "health_detail", "health_latency_ms", "health_checked_at", "consecutive_failures", "updated_at"],
    "ManagedPreset": [],
    "Credential": ["sealed_secret", "last4"],
    "Deployment": ["imported_at"],
    "Price": [],
    "PriceProposal": ["found_at"],
    "Route": [],
    "RouteTarget": [],
    "RoutingConfiguration": [],
}
"""Models whose changes are audited, with the fields left out: no configuration, or part of a secret."""


class ProvidersConfig(AppConfig):
    name = "providers"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from auditlog.registry import auditlog

        from providers import audit

        audit.connect()
        for model, left_out in AUDITED.items():
            auditlog.register(self.get_model(model), exclude_fields=left_out)
