"""The form of a price card. It shows the rules of ``prices`` next to the fields; the actions check again when they save."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from django import forms

from providers import clock
from providers.admin_bases import RuleForm
from providers.models import Price
from providers.prices import actions, text
from providers.rates import PRICE_FIGURES
from providers.upstream.types import JsonObject


class LinesField(forms.CharField):
    """A list of JSON objects that people type as lines."""

    def __init__(self, read: Callable[[str], list[JsonObject]], write: Callable[[list[JsonObject]], str], **kwargs: Any) -> None:
        self._read, self._write = read, write
        super().__init__(
            widget=forms.Textarea(attrs={"class": "vLargeTextField", "rows": 3, "spellcheck": "false"}), required=False, **kwargs
        )

    def prepare_value(self, value: Any) -> Any:
        return self._write(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> list[JsonObject]:
        return self._read(super().clean(value))

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), data)


class PriceForm(RuleForm):
    context_tiers = LinesField(
        text.tiers_from_text,
        text.tiers_text,
        label="Prices for long input",
        help_text=f"One tier a line, for the whole of a call with more input tokens than that: <code>{text.TIERS_EXAMPLE}</code>",
    )
    windows = LinesField(
        text.windows_from_text,
        text.windows_text,
        label="Prices by time of day",
        help_text=f"One window a line, the end not included: <code>{text.WINDOWS_EXAMPLE}</code>",
    )

    class Meta:
        model = Price
        fields = ("valid_from", *PRICE_FIGURES, "context_tiers", "windows", "native_currency", "usd_rate", "usd_rate_on", "source")
        help_texts: ClassVar = {
            "native_currency": "Type all amounts in this currency. They are converted to dollars once, at this rate.",
            "usd_rate": "Dollars for one unit of the currency.",
            "valid_from": "Empty: from now on.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("native_currency", "usd_rate", "valid_from"):
            self.fields[name].required = False
        self.initial["valid_from"] = None

    def clean_valid_from(self) -> datetime:
        """The instant of saving, not of opening the page: an import in between must not win."""
        chosen: datetime | None = self.cleaned_data["valid_from"]
        return chosen or clock.database_now()

    def clean_native_currency(self) -> str:
        return self.cleaned_data["native_currency"] or "USD"

    def clean_usd_rate(self) -> Decimal:
        rate: Decimal | None = self.cleaned_data["usd_rate"]
        return Decimal(1) if rate is None else rate

    def check_rules(self) -> None:
        actions.check_card(self.instance)
