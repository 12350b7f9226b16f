"""Admin pages of budgets. Every write goes through ``usage.budgets``."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import BigIntegerField, Case, CharField, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from providers import clock
from providers.audit import Actor
from providers.fields import DollarsOnReadOnlyPages, short_dollars
from usage import teams
from usage.admin_bases import ReasonForm, TeamAdmin, shown_caps
from usage.budgets.actions import delete_budget, set_budget
from usage.budgets.adjustments import reset_budget
from usage.budgets.tiers import limits_of
from usage.errors import ActionRefused
from usage.models import ApiKey, Budget, BudgetPeriod, Period
from usage.periods import period_key

_SUBJECT_AND_PERIOD = ("scope", "user", "api_key", "team", "provider", "context", "period")


@admin.register(Budget)
class BudgetAdmin(DollarsOnReadOnlyPages, TeamAdmin):
    """Caps are typed in dollars. The counters are those of the current period.

    Owners see the budgets of their teams and set those of members and members' keys. What the team as a whole may spend, and
    what they may themselves, is given to them.
    """

    list_display = ("subject", "period", "cap", "posted", "held", "remaining")
    list_filter = ("scope", "period")
    search_fields = ("user__username", "api_key__name", "api_key__id")
    list_select_related = ("user", "api_key", "team", "provider")
    owners_may = frozenset({"view", "add", "change", "delete"})
    fields = ("scope", "user", "api_key", "team", "provider", "context", "period", "cap_nano", "cap_tokens", "cap_requests", "enforcement",
              "charge_failed_attempts", "fallback_route")  # fmt: skip
    fields_of_owners = ("scope", "user", "api_key", "period", "cap_nano", "cap_tokens", "cap_requests", "enforcement",
                        "charge_failed_attempts")  # fmt: skip

    action_form = ReasonForm
    actions = ("reset_current_period",)

    @admin.action(description="Let the current period begin anew (needs a reason)", permissions=["change"])
    def reset_current_period(self, request: HttpRequest, queryset: QuerySet[Budget]) -> None:
        allowed = [budget for budget in queryset if self.has_change_permission(request, budget)]
        if len(allowed) < len(queryset):
            self.message_user(request, "Budgets that are not yours to change were left as they are.", messages.ERROR)
        try:
            made = [reset_budget(budget, request.POST.get("reason", ""), request.user.pk) for budget in allowed]
        except ActionRefused as refusal:
            self.message_user(request, str(refusal), messages.ERROR)
            return
        done = sum(each is not None for each in made)
        self.message_user(request, f"{done} begun anew, {len(made) - done} had nothing to give back.", messages.SUCCESS)

    # ----- owners of teams

    def within(self, teams_owned: frozenset[int]) -> Q:
        return teams.budgets_within(teams_owned)

    def _owner_may(self, verb: str, request: HttpRequest, obj: Any = None) -> bool:
        theirs = super()._owner_may(verb, request, obj)
        return theirs and (verb == "view" or obj is None or self._people(request).filter(pk=_account_of(obj) or 0).exists())

    def _people(self, request: HttpRequest) -> QuerySet[User]:
        return teams.manageable_members(Actor.of(request.user)).exclude(pk=request.user.pk or 0)

    def get_fields(self, request: HttpRequest, obj: Budget | None = None) -> tuple[str, ...]:
        return self.fields if self._sees_all(request) else self.fields_of_owners

    def get_autocomplete_fields(self, request: HttpRequest) -> tuple[str, ...]:
        return ("user", "api_key", "team", "provider", "fallback_route") if self._sees_all(request) else ()

    def formfield_for_choice_field(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "scope" and not self._sees_all(request):
            kwargs["choices"] = [(scope.value, scope.label) for scope in (Budget.Scope.USER, Budget.Scope.KEY)]
        return super().formfield_for_choice_field(db_field, request, **kwargs)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if not self._sees_all(request):
            people = self._people(request)
            kwargs["queryset"] = people if db_field.name == "user" else ApiKey.objects.filter(user__in=people, revoked_at=None)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    # ----- what is shown

    def get_readonly_fields(self, request: HttpRequest, obj: Budget | None = None) -> tuple[str, ...]:
        return () if obj is None else tuple(name for name in self.get_fields(request, obj) if name in _SUBJECT_AND_PERIOD)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method == "GET" and self._sees_all(request) and not Budget.objects.filter(scope=Budget.Scope.GATEWAY).exists():
            self.message_user(request, "NO LIMIT: the whole gateway has no budget. Add one with scope “Whole gateway”.", messages.WARNING)
        return super().changelist_view(request, extra_context)

    @admin.display(description="Subject", ordering="scope")
    def subject(self, budget: Budget) -> str:
        return "Whole gateway" if budget.scope == Budget.Scope.GATEWAY else budget.subject

    @admin.display(description="Cap", ordering="cap_nano")
    def cap(self, budget: Budget) -> str:
        return shown_caps(budget)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Budget]:
        """Adds the counters of each budget's current period; nothing reserved in it yet counts as 0."""
        now, tz = clock.database_now(), timezone.get_default_timezone()
        keys = [When(period=unit, then=Value(period_key(now, unit, tz))) for unit in Period.values]
        current = BudgetPeriod.objects.filter(budget=OuterRef("pk"), key=OuterRef("current_key"))
        budgets = super().get_queryset(request).annotate(current_key=Case(*keys, output_field=CharField()))
        counted: QuerySet[Budget] = budgets.annotate(
            posted_now=Coalesce(Subquery(current.values("posted_nano")), Value(0), output_field=BigIntegerField()),
            held_now=Coalesce(Subquery(current.values("held_nano")), Value(0), output_field=BigIntegerField()),
        )
        return counted

    @admin.display(description="Posted ($)", ordering="posted_now")
    def posted(self, budget: Any) -> str:
        return short_dollars(budget.posted_now)

    @admin.display(description="Held ($)", ordering="held_now")
    def held(self, budget: Any) -> str:
        return short_dollars(budget.held_now)

    @admin.display(description="Remaining ($)")
    def remaining(self, budget: Any) -> str:
        return "" if budget.cap_nano is None else short_dollars(max(0, budget.cap_nano - budget.posted_now - budget.held_now))

    def save_model(self, request: HttpRequest, obj: Budget, form: forms.ModelForm[Budget], change: bool) -> None:
        user = obj.user if isinstance(obj.user, User) else None
        subject = user or obj.api_key or obj.team or obj.provider or obj.context or None
        obj.pk = set_budget(obj.scope, subject, obj.period, limits_of(obj), fallback_route=obj.fallback_route).pk

    def delete_model(self, request: HttpRequest, obj: Budget) -> None:
        delete_budget(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Budget]) -> None:
        for budget in queryset:
            delete_budget(budget)


def _account_of(budget: Budget) -> int | None:
    """Whose money it is; ``None`` for what is more than one person's."""
    return budget.user_id or (budget.api_key.user_id if budget.api_key else None)
