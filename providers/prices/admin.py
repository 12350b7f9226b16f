"""Admin of prices: their history and a new one on the page of their model, and the changes an import proposes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Case, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join

from providers.admin_bases import ReadOnlyInline
from providers.audit import Actor
from providers.fields import short_dollars
from providers.models import Price, PriceProposal
from providers.prices import actions as price_actions
from providers.prices.changes import FigureChange, changes
from providers.prices.forms import PriceForm
from providers.prices.text import amount_text, tiers_text, windows_text
from providers.rates import BUCKET_OF_RATE, PRICE_FIGURES
from providers.upstream.types import JsonObject

SHOWN_IN_LIST = 3


class PriceHistoryInline(ReadOnlyInline):
    model = Price
    fields = ("valid_from", "figures", "source")
    readonly_fields = fields
    ordering = ("-valid_from", "-pk")
    verbose_name_plural = "prices, the newest first"

    @admin.display(description="Dollars per million tokens")
    def figures(self, price: Price) -> str:
        """Every bucket that has a price of its own, then tiers, windows and what was typed in another currency."""
        named = ((bucket, getattr(price, rate)) for rate, bucket in BUCKET_OF_RATE.items())
        shown = [f"{bucket} ${short_dollars(nano)}" for bucket, nano in named if nano is not None]
        once = [("per request", price.request_nano or None), ("per tool call", price.tool_call_nano)]
        lines = [", ".join([*shown, *(f"{name} ${short_dollars(nano)}" for name, nano in once if nano is not None)])]
        lines += tiers_text(price.context_tiers).splitlines() + windows_text(price.windows).splitlines()
        if price.native_figures:
            lines.append(f"entered in {price.native_currency} at {price.usd_rate.normalize():f} of {price.usd_rate_on}: {_native(price)}")
        return format_html_join("", "{}<br>", ((line,) for line in lines))


def _native(price: Price) -> str:
    named = ((bucket, price.native_figures.get(rate)) for rate, bucket in BUCKET_OF_RATE.items())
    return ", ".join(f"{bucket} {amount_text(nano)}" for bucket, nano in named if nano is not None)


class NewPriceInline(admin.StackedInline):  # type: ignore[type-arg]
    """Prices are added, never changed: recorded history keeps the price it had."""

    model = Price
    form = PriceForm
    extra = 0
    max_num = 1
    can_delete = False
    verbose_name_plural = "new price"
    fieldsets = (
        (None, {"fields": (("input_nano_per_mtok", "output_nano_per_mtok"), "source", "valid_from")}),
        ("Other buckets", {"classes": ["collapse"], "fields": PRICE_FIGURES[2:]}),
        ("Long input and time of day", {"classes": ["collapse"], "fields": ("context_tiers", "windows")}),
        ("Another currency than dollars", {"classes": ["collapse"], "fields": ("native_currency", "usd_rate", "usd_rate_on")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).none()

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(PriceProposal)
class PriceProposalAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Prices an import found that differ from ours. Approving adds a price; nothing here edits one."""

    list_display = ("deployment", "summary", "begins", "found_at", "status")
    list_filter = ("status", "deployment__provider")
    list_select_related = ("deployment__provider", "current")
    search_fields = ("deployment__name", "deployment__provider__label")
    ordering = (Case(When(status=PriceProposal.Status.OPEN, then=Value(0)), default=Value(1)), "-found_at", "-pk")
    actions = ("approve", "reject")
    fields = ("deployment", "status", "begins", "source", "found_at", "comparison")
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_decide_permission(self, request: HttpRequest) -> bool:
        """Deciding adds a price."""
        return self.has_change_permission(request) and request.user.has_perm("providers.add_price")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        decide = self._button
        return [
            path("<int:pk>/approve/", view(decide(price_actions.approve_proposal)), name="price-proposal-approve"),
            path("<int:pk>/reject/", view(decide(price_actions.reject_proposal)), name="price-proposal-reject"),
            *super().get_urls(),
        ]

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        shown = {**(extra_context or {}), "may_decide": self.has_decide_permission(request)}
        return super().change_view(request, object_id, form_url, shown)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Nothing on the page can be edited."""

    # ----- what is shown

    @admin.display(description="Change")
    def summary(self, proposal: PriceProposal) -> str:
        changed = [row for row in _comparison(proposal) if row.is_changed]
        more = [f"and {len(changed) - SHOWN_IN_LIST} more"] if len(changed) > SHOWN_IN_LIST else []
        return ", ".join([*(_in_words(row) for row in changed[:SHOWN_IN_LIST]), *more])

    @admin.display(description="Begins")
    def begins(self, proposal: PriceProposal) -> Any:
        announced = proposal.figures.get("valid_from")
        return price_actions.begins_at(proposal, timezone.now()) if announced else "when approved"

    @admin.display(description="Source")
    def source(self, proposal: PriceProposal) -> str:
        return str(proposal.figures.get("source", ""))

    @admin.display(description="Dollars per million tokens")
    def comparison(self, proposal: PriceProposal) -> str:
        rows = format_html_join(
            "",
            '<tr class="{}"><th scope="row">{}</th><td>{}</td><td>{}</td><td>{}</td></tr>',
            (
                ("changed" if row.is_changed else "same", row.figure, _dollars(row.ours), _dollars(row.theirs), _percent(row))
                for row in _comparison(proposal)
            ),
        )
        head = format_html_join("", '<th scope="col">{}</th>', ((title,) for title in ("Figure", "Ours", "Proposed", "Change")))
        return format_html('<table class="comparison"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>', head, rows)

    # ----- what is done

    def _button(self, decide: Callable[[int, Actor], object]) -> Callable[[HttpRequest, int], HttpResponse]:
        def press(request: HttpRequest, pk: int) -> HttpResponse:
            if request.method != "POST":
                return HttpResponseNotAllowed(["POST"])
            if not self.has_decide_permission(request):
                raise PermissionDenied
            self._decide(request, get_object_or_404(PriceProposal, pk=pk), decide)
            return HttpResponseRedirect(reverse("admin:providers_priceproposal_changelist"))

        return press

    def _decide(self, request: HttpRequest, proposal: PriceProposal, decide: Callable[[int, Actor], object]) -> None:
        try:
            decide(proposal.pk, Actor.of(request.user))
        except ValidationError as error:
            self.message_user(request, f"{proposal.deployment}: {' '.join(error.messages)}", messages.ERROR)
        else:
            self.message_user(request, f"{proposal.deployment}: decided.", messages.SUCCESS)

    @admin.action(description="Approve: the proposed price becomes ours", permissions=["decide"])
    def approve(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for proposal in queryset:
            self._decide(request, proposal, price_actions.approve_proposal)

    @admin.action(description="Reject: our price stays", permissions=["decide"])
    def reject(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for proposal in queryset:
            self._decide(request, proposal, price_actions.reject_proposal)


def _comparison(proposal: PriceProposal) -> list[FigureChange]:
    ours: JsonObject | None = price_actions.card_of(proposal.current) if proposal.current else None
    return changes(ours, proposal.figures)


def _in_words(row: FigureChange) -> str:
    percent = f" ({_percent(row)})" if row.percent else ""
    return f"{row.figure} {_dollars(row.ours)} → {_dollars(row.theirs)}{percent}"


def _dollars(nano: int | None) -> str:
    return "none" if nano is None else f"${short_dollars(nano)}"


def _percent(row: FigureChange) -> str:
    return f"{row.percent} %" if row.percent else ""
