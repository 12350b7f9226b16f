"""Who administers a team."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models


class TeamOwner(models.Model):
    """A person who administers a team: its members' keys and budgets, and its reports. A team is a Django group."""

    team = models.ForeignKey("auth.Group", on_delete=models.CASCADE, related_name="owners")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="owned_teams")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "owner"
        ordering: ClassVar = ["team", "id"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["team", "user"], name="team_owner_once")]

    def __str__(self) -> str:
        return f"{self.user} owns {self.team}"
