from django.apps import AppConfig


class UsageConfig(AppConfig):
    name = "usage"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from auditlog.registry import auditlog  # its models need the loaded registry

        from providers import rights
        from usage import teams

        rights.add_roles(teams.ROLES)

        auditlog.register(self.get_model("ApiKey"), exclude_fields=["secret_sha256", "last_used_at"])
        for name in ("Budget", "BudgetAdjustment", "RateLimit", "Tier", "TierLimit", "TeamOwner", "ClosedMonth"):
            auditlog.register(self.get_model(name))
        auditlog.register(self.get_model("Export"), include_fields=["format", "query", "created_by_id"])
        auditlog.register(self.get_model("Statement"), exclude_fields=["summary"])
        auditlog.register(self.get_model("UserAccount"), exclude_fields=["updated_at"])
        auditlog.register(self.get_model("Entitlement"), exclude_fields=["last_event_at", "updated_at"])
