"""Admin pages of statements: upload, summary, findings, report. For who may view the ledger."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from providers.fields import dollars
from usage.admin_bases import FinanceAdmin, PairsField
from usage.models import Statement, StatementLine
from usage.statements.actions import StatementOrder, reconcile_statement
from usage.statements.reading import FIELDS, FILE_BYTES_MAX, LAYOUTS, StatementInvalid
from usage.statements.report import findings, report_csv
from usage.statements.serializers import shown_finding
from usage.statements.views import report_response

PAGE_LINES = 100


class StatementForm(forms.ModelForm):  # type: ignore[type-arg]
    """Reconciles while it is checked, so that what the file lacks is said beside the file."""

    user_id: int | None = None
    provider_slug = forms.SlugField(label="Provider", max_length=50, help_text="Slug of the provider whose file this is, such as openai.")
    layout = forms.ChoiceField(choices=[(name, name) for name in LAYOUTS])
    file = forms.FileField(help_text=f"CSV in UTF-8, at most {FILE_BYTES_MAX // 1024 // 1024} MiB.")
    time_zone = forms.CharField(max_length=60, initial="UTC", help_text="Whose days the provider bills by.")
    starts_on = forms.DateField(
        required=False, widget=forms.DateInput(attrs={"type": "date"}), help_text="Empty: the first day of its lines."
    )
    ends_on = forms.DateField(required=False, widget=forms.DateInput(attrs={"type": "date"}), help_text="Included. Empty: the last day.")
    columns = PairsField(required=False, help_text=f"Generic layout only: amount_usd = Cost. Fields: {', '.join(FIELDS)}.")
    models = PairsField(required=False, help_text="Where names differ: name on the file = name in the gateway.")

    class Meta:
        model = Statement
        fields = ("provider_slug", "layout", "time_zone", "starts_on", "ends_on", "columns")

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > FILE_BYTES_MAX:
            raise forms.ValidationError(f"The file is larger than {FILE_BYTES_MAX} bytes.")
        return file

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                self.statement = reconcile_statement(self._order(cleaned))
            except StatementInvalid as error:
                self.add_error("file", str(error))
        return cleaned

    def _order(self, cleaned: dict[str, Any]) -> StatementOrder:
        return StatementOrder(
            provider_slug=cleaned["provider_slug"],
            content=cleaned["file"].read(),
            file_name=cleaned["file"].name,
            layout=cleaned["layout"],
            time_zone=cleaned["time_zone"],
            columns=cleaned["columns"],
            models=cleaned["models"],
            starts_on=cleaned["starts_on"],
            ends_on=cleaned["ends_on"],
            user_id=self.user_id,
        )


@admin.register(Statement)
class StatementAdmin(FinanceAdmin):
    form = StatementForm
    list_display = ("what", "uploaded_at", "starts_on", "ends_on", "billed", "booked", "variance", "differences")
    list_filter = ("provider_slug", "layout")
    fields = ("provider_slug", "layout", "file", "time_zone", "starts_on", "ends_on", "columns", "models")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("<int:statement_id>/change/", view(self.report_view), name="usage_statement_change"),
            path("<int:statement_id>/report/", view(self.file_view), name="usage_statement_report"),
            *super().get_urls(),
        ]

    def get_form(self, request: HttpRequest, obj: Statement | None = None, change: bool = False, **kwargs: Any) -> Any:
        """A form class of this request, which knows who uploads."""
        form: Any = super().get_form(request, obj, change, **kwargs)
        form.user_id = request.user.pk
        return form

    def save_model(self, request: HttpRequest, obj: Statement, form: Any, change: bool) -> None:
        """The form has stored it."""
        for name in ("pk", "summary", "uploaded_at"):
            setattr(obj, name, getattr(form.statement, name))
        self.message_user(request, f"Compared with the ledger. Variance: ${dollars(obj.summary['variance_nano'])}.", messages.SUCCESS)

    def response_add(self, request: HttpRequest, obj: Statement, post_url_continue: str | None = None) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:usage_statement_change", args=[obj.pk]))

    def report_view(self, request: HttpRequest, statement_id: int) -> HttpResponse:
        self.require_view(request)
        statement = get_object_or_404(Statement, pk=statement_id)
        finding = request.GET.get("finding", "")
        finding = finding if finding in StatementLine.Finding.values else ""
        lines = Paginator(findings(statement, finding), PAGE_LINES).get_page(request.GET.get("p"))
        summary = statement.summary
        context = {
            **self.admin_site.each_context(request),
            "title": str(statement),
            "opts": self.opts,
            "statement": statement,
            "billed": dollars(summary["billed_nano"]),
            "booked": dollars(summary["ledger_nano"]),
            "variance": dollars(summary["variance_nano"]),
            "split": [(cause, dollars(nano)) for cause, nano in summary["split_nano"].items()],
            "counts": [(value, label, summary["lines"].get(value, 0)) for value, label in StatementLine.Finding.choices],
            "finding": finding,
            "lines": lines,
            "rows": [(line, shown_finding(line)) for line in lines],
        }
        return TemplateResponse(request, "admin/usage/statement/report.html", context)

    def file_view(self, request: HttpRequest, statement_id: int) -> HttpResponse:
        self.require_view(request)
        statement = get_object_or_404(Statement, pk=statement_id)
        return report_response(statement, report_csv(findings(statement)))

    @admin.display(description="Statement")
    def what(self, statement: Statement) -> str:
        return str(statement)

    @admin.display(description="Billed ($)")
    def billed(self, statement: Statement) -> str | None:
        return dollars(statement.summary["billed_nano"])

    @admin.display(description="Booked ($)")
    def booked(self, statement: Statement) -> str | None:
        return dollars(statement.summary["ledger_nano"])

    @admin.display(description="Variance ($)")
    def variance(self, statement: Statement) -> str | None:
        return dollars(statement.summary["variance_nano"])

    @admin.display(description="Findings")
    def differences(self, statement: Statement) -> SafeString:
        found = sum(count for name, count in statement.summary["lines"].items() if name != StatementLine.Finding.MATCHED)
        href = reverse("admin:usage_statement_report", args=[statement.pk])
        badge = format_html(
            '<span class="badge badge-{}">{}</span>', "yellow" if found else "green", f"{found} differ" if found else "agrees"
        )
        return format_html('{} <a href="{}">CSV</a>', badge, href)
