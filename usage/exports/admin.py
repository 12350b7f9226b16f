"""Admin pages of exports and months, for who may view the ledger. Closing needs a permission of its own."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from providers import clock
from providers.fields import dollars
from usage.admin_bases import FinanceAdmin
from usage.errors import ActionRefused
from usage.exports import files as export_files
from usage.exports import jobs
from usage.exports.closing import MonthState, months_until, request_close
from usage.exports.downloads import STREAMED, finished_file, streamed
from usage.exports.lines import month_source
from usage.exports.months import BillingMonths, MonthInvalid
from usage.exports.serializers import FILTERS, ExportRequestSerializer
from usage.models import ClosedMonth, Export

_COLOURS = {Export.Status.DONE: "green", Export.Status.FAILED: "red", Export.Status.RUNNING: "yellow"}


class ExportForm(forms.ModelForm):  # type: ignore[type-arg]
    """A month, or a range of days with filters; checked by the same rules as the API."""

    month = forms.CharField(required=False, max_length=7, help_text="A billing month such as 2026-11. Or leave it empty and name days.")
    start = forms.DateField(required=False, widget=forms.DateInput(attrs={"type": "date"}), help_text="First day, included.")
    end = forms.DateField(required=False, widget=forms.DateInput(attrs={"type": "date"}), help_text="First day no longer included.")
    provider = forms.CharField(required=False, max_length=50, help_text="Slug of a provider. Empty: all. Filters are for days only.")
    model = forms.CharField(required=False, max_length=150)
    user = forms.IntegerField(required=False, min_value=1, help_text="Id of a user.")
    key = forms.CharField(required=False, max_length=12, help_text="Id of an API key.")
    context = forms.CharField(required=False, max_length=50)
    bom = forms.BooleanField(required=False, label="Byte order mark", help_text="For opening a CSV in Excel.")

    class Meta:
        model = Export
        fields = ("format",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "format" in self.fields:
            self.initial.setdefault("format", Export.Format.CSV)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        asked = {name: value for name, value in cleaned.items() if value not in (None, "")}
        checked = ExportRequestSerializer(data={name: str(value) for name, value in asked.items()})
        if not checked.is_valid():
            for name, errors in checked.errors.items():
                self.add_error(name if name in self.fields else None, [str(error) for error in errors])
            return cleaned
        return {**cleaned, "query": checked.query()}


@admin.register(Export)
class ExportAdmin(FinanceAdmin):
    form = ExportForm
    list_display = ("what", "files", "state", "format", "lines", "cost", "size", "created_at")
    list_filter = ("status", "format")
    actions = ("restart_exports",)
    fields = ("format", "month", "start", "end", *FILTERS, "bom")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def get_fields(self, request: HttpRequest, obj: Export | None = None) -> tuple[str, ...]:
        shown = ("what", "format", "state", "lines", "cost", "size", "sha256", "error", "created_at", "started_at", "finished_at", "files")
        return self.fields if obj is None else shown

    def get_readonly_fields(self, request: HttpRequest, obj: Export | None = None) -> tuple[str, ...]:
        return () if obj is None else self.get_fields(request, obj)

    def get_urls(self) -> list[URLPattern]:
        file = path("<uuid:export_id>/file/", self.admin_site.admin_view(self.file_view), name="usage_export_file")
        return [file, *super().get_urls()]

    def save_model(self, request: HttpRequest, obj: Export, form: Any, change: bool) -> None:
        made = jobs.request_export(obj.format, form.cleaned_data["query"], request.user.pk)
        obj.pk, obj.created_at, obj.query = made.pk, made.created_at, made.query

    def file_view(self, request: HttpRequest, export_id: UUID) -> HttpResponseBase:
        self.require_view(request)
        export = get_object_or_404(Export, pk=export_id, status=Export.Status.DONE)
        try:
            return finished_file(request, export)
        except export_files.FileDamaged as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(reverse("admin:usage_export_changelist"))

    @admin.action(description="Start again what failed", permissions=["add"])
    def restart_exports(self, request: HttpRequest, queryset: QuerySet[Export]) -> None:
        for export in queryset:
            try:
                jobs.restart_export(export)
            except ActionRefused as error:
                self.message_user(request, f"{self.what(export)}: {error}", messages.WARNING)
            else:
                self.message_user(request, f"{self.what(export)} is queued again.", messages.SUCCESS)

    @admin.display(description="Of")
    def what(self, export: Export) -> str:
        query = export.query
        span = query.get("month") or f"{query.get('start')} to {query.get('end')}"
        filters = ", ".join(f"{name} {query[name]}" for name in FILTERS if name in query)
        return f"{span} ({filters})" if filters else str(span)

    @admin.display(description="State", ordering="status")
    def state(self, export: Export) -> SafeString:
        badge = format_html(
            '<span class="badge badge-{}">{}</span>', _COLOURS.get(Export.Status(export.status), "unknown"), export.get_status_display()
        )
        return format_html("{} {}", badge, export.error) if export.error else badge

    @admin.display(description="Lines")
    def lines(self, export: Export) -> str:
        if export.status == Export.Status.DONE:
            return f"{export.lines_done:,}"
        return "" if export.lines_total is None else f"{export.lines_done:,} of {export.lines_total:,}"

    @admin.display(description="Cost ($)")
    def cost(self, export: Export) -> str | None:
        return dollars(export.cost_nano)

    @admin.display(description="Size")
    def size(self, export: Export) -> str:
        return "" if export.bytes is None else filesizeformat(export.bytes)

    @admin.display(description="Files")
    def files(self, export: Export) -> str | SafeString:
        if export.status != Export.Status.DONE:
            return ""
        file, manifest = reverse("admin:usage_export_file", args=[export.pk]), reverse("admin-export-manifest", args=[export.pk])
        return format_html('<a href="{}">Download</a> · <a href="{}">Manifest</a>', file, manifest)


@admin.register(ClosedMonth)
class ClosedMonthAdmin(FinanceAdmin):
    """One page: every month of the ledger with its figures, its files and, where it is due, the button that closes it."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def may_close(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and bool(request.user.has_perm("usage.add_closedmonth"))

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("", view(self.changelist_view), name="usage_closedmonth_changelist"),
            path("<str:month>/close/", view(self.close_view), name="usage_closedmonth_close"),
            path("<str:month>/<str:format_name>/", view(self.file_view), name="usage_closedmonth_file"),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        self.require_view(request)
        states = months_until(clock.database_now())
        total = dollars(sum(state.cost_nano for state in states))
        return self._page(request, "months", "Months", rows=[(state, dollars(state.cost_nano)) for state in states], total=total)

    def close_view(self, request: HttpRequest, month: str) -> HttpResponse:
        """Asks once more, because nothing opens a month again; the answer is a POST."""
        if not self.may_close(request):
            raise PermissionDenied
        months = reverse("admin:usage_closedmonth_changelist")
        if request.method != "POST":
            state = next((each for each in months_until(clock.database_now()) if each.span.month == month and each.can_close), None)
            return HttpResponseRedirect(months) if state is None else self._confirm(request, state)
        try:
            row = request_close(month, request.user.pk, clock.database_now())
        except (ActionRefused, MonthInvalid) as error:
            self.message_user(request, str(error), messages.ERROR)
        else:
            said = (
                f"{month} has many lines. A worker closes it now; it is closed when it says so below."
                if row is None
                else f"{month} is closed. Lines: {row.lines:,}. Cost: ${dollars(row.cost_nano)}."
            )
            self.message_user(request, said, messages.SUCCESS)
        return HttpResponseRedirect(months)

    def file_view(self, request: HttpRequest, month: str, format_name: str) -> HttpResponseBase:
        self.require_view(request)
        if format_name not in STREAMED:
            raise Http404
        try:
            return streamed(request, month_source(month, BillingMonths.current()), format_name, f"costs_{month}")
        except MonthInvalid:
            return HttpResponseRedirect(reverse("admin:usage_closedmonth_changelist"))

    def _confirm(self, request: HttpRequest, state: MonthState) -> HttpResponse:
        return self._page(request, "close", f"Close {state.span.month}", state=state, cost=dollars(state.cost_nano))

    def _page(self, request: HttpRequest, name: str, title: str, **figures: Any) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request), "title": title, "opts": self.opts, "may_close": self.may_close(request), **figures,
        }  # fmt: skip
        return TemplateResponse(request, f"admin/usage/closedmonth/{name}.html", context)
