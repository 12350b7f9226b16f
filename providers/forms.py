"""Admin forms. They show the rules of ``actions`` next to the fields; the actions check again when they save."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError

from providers import actions, clock, price_actions, price_text
from providers.audit import Actor
from providers.catalog import CHOICES, KINDS
from providers.fields import percent_of, ppm_of
from providers.models import Deployment, Price, Provider, Route
from providers.price_rules import PRICE_FIGURES
from providers.serializers import SUPERUSER_FIELDS
from providers.upstream.types import Capability, JsonObject, Secret


class RuleForm(forms.ModelForm):  # type: ignore[type-arg]
    """A model form that asks an action whether the instance may be saved. The admin sets ``actor`` per request."""

    actor: ClassVar[Actor] = Actor(None, is_superuser=False)

    def check_rules(self) -> None:
        """Raises ``ValidationError`` by field."""

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if self.errors:
            return
        try:
            self.check_rules()
        except ValidationError as error:
            self._show(error)

    def _show(self, error: ValidationError) -> None:
        by_field = error.message_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: error.messages}
        for field, messages in by_field.items():
            self.add_error(field if field in self.fields else None, messages)


class ProviderForm(RuleForm):
    kind = forms.ChoiceField(
        choices=CHOICES,
        initial="openai",
        help_text="What kind of service it is. Address and wire format follow from it.",
        widget=forms.Select(attrs={"data-base-urls": json.dumps({slug: kind.base_url for slug, kind in KINDS.items()})}),
    )
    label = forms.CharField(label="Name", max_length=100, required=False, help_text="How people see it. Empty: the name of the kind.")
    base_url = forms.CharField(
        label="Base URL",
        max_length=300,
        required=False,
        help_text="With the API version, for example https://api.openai.com/v1. Empty: the address of the kind.",
        widget=forms.TextInput(attrs={"class": "vTextField", "inputmode": "url", "spellcheck": "false"}),
    )
    api_key = forms.CharField(
        label="API key",
        required=False,
        strip=True,
        max_length=actions.SECRET_CHARS_MAX,
        help_text="Encrypted when saved and never shown again. Empty: the stored key stays.",
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "off", "class": "vTextField", "spellcheck": "false"}),
    )
    discount_percent = forms.DecimalField(
        label="Discount (%)",
        min_value=Decimal(0),
        max_value=Decimal(100),
        decimal_places=4,
        required=False,
        help_text="What your contract takes off every list price of this provider. New calls only; recorded ones keep their cost.",
    )

    class Meta:
        model = Provider
        fields = ("label", "kind", *(name for name in actions.PROVIDER_FIELDS if name not in ("slug", "label", "kind", "discount_ppm")))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["discount_percent"].initial = percent_of(self.instance.discount_ppm)
        if self.instance.pk is None:
            self.fields["api_key"].help_text = "Encrypted when saved and never shown again. Servers of your own may need none."
        if not self.actor.is_superuser:
            for name in SUPERUSER_FIELDS:
                self.fields.pop(name, None)
        if self.instance.pk is not None and "kind" in self.fields:
            self.fields["kind"].disabled = not self.actor.is_superuser

    @property
    def secret(self) -> Secret | None:
        """The key typed in, if any."""
        key = self.cleaned_data.get("api_key")
        return Secret(key) if key else None

    def check_rules(self) -> None:
        self.instance.discount_ppm = ppm_of(self.cleaned_data.get("discount_percent") or Decimal(0))
        if self.instance.pk is None:
            actions.prepare_new(self.instance, self.actor, self.secret)
            return
        actions.prepare_update(self.instance, self.actor)
        if self.secret is not None:
            actions.check_secret(self.secret, self.actor)


class DeploymentForm(RuleForm):
    capabilities = forms.MultipleChoiceField(
        choices=[(each.value, each.value.replace("_", " ")) for each in Capability],
        initial=[Capability.CHAT.value, Capability.STREAM.value],
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text="A request that needs more is never sent to this model.",
    )

    class Meta:
        model = Deployment
        fields = (
            "provider", "name", "upstream_model", "display_name", "description", "enabled", "recommended", "capabilities",
            "max_output_tokens", "context_window_tokens", "unpriced_ceiling_nano",
        )  # fmt: skip

    def check_rules(self) -> None:
        actions.check_deployment(self.instance)


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
        price_text.tiers_from_text,
        price_text.tiers_text,
        label="Prices for long input",
        help_text=f"One tier a line, for the whole of a call with more input tokens than that: <code>{price_text.TIERS_EXAMPLE}</code>",
    )
    windows = LinesField(
        price_text.windows_from_text,
        price_text.windows_text,
        label="Prices by time of day",
        help_text=f"One window a line, the end not included: <code>{price_text.WINDOWS_EXAMPLE}</code>",
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
        price_actions.check_card(self.instance)


class RouteForm(RuleForm):
    class Meta:
        model = Route
        fields = ("name", "policy", "enabled")

    def check_rules(self) -> None:
        actions.check_route(self.instance)
