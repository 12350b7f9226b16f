"""Admin forms: they show the rules of ``actions`` next to the fields; the actions check again when they save."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from django import forms

from providers import actions
from providers.admin_bases import RuleForm
from providers.catalog import CHOICES, KINDS
from providers.credentials import SECRET_CHARS_MAX
from providers.fields import percent_of, ppm_of
from providers.models import Deployment, Provider, Route
from providers.serializers import SUPERUSER_FIELDS
from providers.upstream.types import Capability, Secret


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
        max_length=SECRET_CHARS_MAX,
        help_text="Encrypted when saved and never shown again. Empty: the stored key stays, unless the address changes.",
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "off", "class": "vTextField", "spellcheck": "false"}),
    )
    share_names = forms.BooleanField(
        label="Fail-over by name",
        required=False,
        help_text=(
            "Its models answer for names that other providers serve as well: first, or as a fall-back, by priority. "
            "Otherwise clients ask for those as provider/name."
        ),
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
        else:
            self.fields.pop("share_names", None)
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
        actions.prepare_update(self.instance, self.actor, self.secret)


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
            "provider", "name", "upstream_model", "display_name", "description", "enabled", "recommended", "address_only", "capabilities",
            "max_output_tokens", "context_window_tokens", "unpriced_ceiling_nano",
        )  # fmt: skip

    def check_rules(self) -> None:
        actions.check_deployment(self.instance)


class RouteForm(RuleForm):
    class Meta:
        model = Route
        fields = ("name", "policy", "enabled")

    def check_rules(self) -> None:
        actions.check_route(self.instance)
