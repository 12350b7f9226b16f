"""The what-if page beside the ledger. It asks with GET, because it changes nothing."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from providers import clock
from usage.admin_bases import PairsField
from usage.reports import month_around
from usage.whatif.replay import ReplayPolicy, ReplayPrices, WhatIfRefused, replay
from usage.whatif.serializers import WhatIfSerializer, shown_answer


class WhatIfForm(forms.Form):
    """Shaped for people; ``WhatIfSerializer`` checks what is asked."""

    start = forms.DateField(widget=forms.DateInput(attrs={"type": "date"}), help_text="First day.")
    end = forms.DateField(widget=forms.DateInput(attrs={"type": "date"}), help_text="First day no longer included.")
    provider = forms.CharField(required=False, max_length=50, help_text="Slug. Empty: all.")
    model = forms.CharField(required=False, max_length=150, help_text="Empty: all.")
    policy = forms.ChoiceField(
        choices=[
            (ReplayPolicy.AS_WAS, "Where they went"), (ReplayPolicy.PRIORITY, "By priority"), (ReplayPolicy.COST, "To the cheapest"),
            (ReplayPolicy.MAPPING, "As mapped below"),
        ],
    )  # fmt: skip
    mapping = PairsField(required=False, help_text="model = provider/model, one a line.")
    prices = forms.ChoiceField(choices=[(ReplayPrices.OWN, "As booked"), (ReplayPrices.CURRENT, "Of today")])
    change_percent = forms.DecimalField(required=False, max_digits=7, decimal_places=4, help_text="On every cost; -10 is ten per cent off.")

    def answer(self) -> dict[str, Any] | None:
        """``None`` with the reason among the form's errors."""
        sent = {name: value for name, value in self.cleaned_data.items() if value not in (None, "", {})}
        asked = WhatIfSerializer(data={**sent, "start": str(sent["start"]), "end": str(sent["end"])})
        if not asked.is_valid():
            for name, errors in asked.errors.items():
                self.add_error(name if name in self.fields else None, [str(error) for error in errors])
            return None
        try:
            return shown_answer(replay(asked.question()))
        except WhatIfRefused as error:
            self.add_error(None, str(error))
            return None


class WhatIfPage(admin.ModelAdmin):  # type: ignore[type-arg]
    """Adds the page to the admin of the ledger; who may view all of that may ask."""

    def get_urls(self) -> list[URLPattern]:
        return [path("what-if/", self.admin_site.admin_view(self.what_if_view), name="usage_what_if"), *super().get_urls()]

    def what_if_view(self, request: HttpRequest) -> HttpResponse:
        if not request.user.has_perm("usage.view_ledgerentry"):
            raise PermissionDenied
        month = month_around(clock.database_now())
        form = WhatIfForm(request.GET) if request.GET else WhatIfForm(initial={"start": month.start, "end": month.end})
        answer = form.answer() if form.is_bound and form.is_valid() else None
        context = {**self.admin_site.each_context(request), "title": "What if", "opts": self.opts, "form": form, "answer": answer}
        return TemplateResponse(request, "admin/usage/what_if.html", context)
