"""Prices over the wire: US dollars as exact decimal strings, per million tokens; a null bucket costs what its fallback costs."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from rest_framework import serializers

from providers.fields import dollars, nano_from_dollars
from providers.models import Deployment, Price, PriceProposal
from providers.prices import actions
from providers.prices.changes import changes
from providers.rates import PRICE_FIGURES, RATES, REQUIRED_RATES
from providers.strict import StrictSerializer
from providers.upstream.types import JsonObject

_WIRE_NAMES = {name: name.removesuffix("_nano_per_mtok").removesuffix("_nano") for name in PRICE_FIGURES}


class DollarsField(serializers.DecimalField):
    """Dollars over the wire, integer nano-dollars inside."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_digits=18, decimal_places=9, min_value=Decimal(0), **kwargs)

    def to_representation(self, value: Any) -> Any:
        return dollars(value)

    def to_internal_value(self, sent: Any) -> Any:
        amount = super().to_internal_value(sent)
        super().run_validators(amount)
        return nano_from_dollars(amount)

    def run_validators(self, value: Any) -> None:
        """The bounds are those of the dollars, which ``to_internal_value`` checked."""


class RatesSerializer(StrictSerializer):
    """Prices per million tokens."""

    def get_fields(self) -> dict[str, Any]:
        rates = {
            _WIRE_NAMES[name]: DollarsField(source=name)
            if name in REQUIRED_RATES
            else DollarsField(source=name, required=False, allow_null=True)
            for name in RATES
        }
        return {**super().get_fields(), **rates}

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Every bucket, also of stored JSON that leaves out the empty ones."""
        known = {**dict.fromkeys(RATES), **instance} if isinstance(instance, Mapping) else instance
        shown: dict[str, Any] = super().to_representation(known)
        return shown


class TierSerializer(RatesSerializer):
    """The rates of a whole call with more input tokens than ``above_input_tokens``."""

    above_input_tokens = serializers.IntegerField()


class WindowSerializer(RatesSerializer):
    """The rates from ``start`` to ``end`` (not included, past midnight where it is not after the start)."""

    start = serializers.CharField(help_text="HH:MM")
    end = serializers.CharField(help_text="HH:MM")
    zone = serializers.CharField(default="UTC", help_text="IANA name, the same in every window of a price.")
    context_tiers = TierSerializer(many=True, required=False)

    def to_representation(self, instance: Any) -> dict[str, Any]:
        return super().to_representation({"context_tiers": [], **instance})


class PriceSerializer(RatesSerializer):
    """US dollars per million tokens as exact decimal strings; a null bucket costs what its fallback costs."""

    currency = serializers.SerializerMethodField()
    request = DollarsField(source="request_nano", help_text="Per call.")
    tool_call = DollarsField(source="tool_call_nano", allow_null=True, help_text="Per call of a tool the provider runs; null: unknown.")
    context_tiers = TierSerializer(many=True)
    windows = WindowSerializer(many=True)
    valid_from = serializers.DateTimeField()

    def get_currency(self, _: Price) -> str:
        return "USD"


class NewPriceSerializer(RatesSerializer):
    """A price to add. Amounts are in ``native_currency`` and converted to dollars once, at ``usd_rate``."""

    model = serializers.PrimaryKeyRelatedField(source="deployment", queryset=Deployment.objects.filter(provider__deleted_at=None))
    request = DollarsField(source="request_nano", required=False, help_text="Per call.")
    tool_call = DollarsField(
        source="tool_call_nano",
        required=False,
        allow_null=True,
        help_text="Per call of a tool the provider runs itself, such as web search. Null: requests for such tools are refused.",
    )
    context_tiers = TierSerializer(many=True, required=False)
    windows = WindowSerializer(many=True, required=False)
    native_currency = serializers.CharField(required=False, max_length=3, help_text="ISO 4217; default USD.")
    usd_rate = serializers.DecimalField(required=False, max_digits=18, decimal_places=9, help_text="Dollars for one unit of the currency.")
    usd_rate_on = serializers.DateField(required=False, allow_null=True, help_text="The day of the rate.")
    source = serializers.CharField(max_length=200, help_text="Where you read the price.")  # type: ignore[assignment]
    valid_from = serializers.DateTimeField(required=False, help_text="Default: now.")

    def price(self) -> Price:
        """The price as an unsaved row: saving is an action."""
        return Price(**self.validated_data)


class StoredPriceSerializer(PriceSerializer):
    """A row of the price book with where it came from."""

    id = serializers.IntegerField()
    model = serializers.IntegerField(source="deployment_id")
    address = serializers.CharField(source="deployment", help_text="`provider/model`.")
    source = serializers.CharField()  # type: ignore[assignment]
    native_currency = serializers.CharField(help_text="What the amounts were typed in.")
    usd_rate = serializers.DecimalField(max_digits=18, decimal_places=9)
    usd_rate_on = serializers.DateField(allow_null=True)


class FigureChangeSerializer(serializers.Serializer[Any]):
    """One figure of both prices in dollars; null has no price of its own there."""

    figure = serializers.CharField()
    ours = serializers.CharField(allow_null=True)
    proposed = serializers.CharField(allow_null=True)
    percent = serializers.CharField(allow_null=True, help_text="Null where there is nothing to compare with.")


class PriceProposalSerializer(serializers.ModelSerializer[PriceProposal]):
    """A price an import found that differs from ours. Only changed figures are listed."""

    model = serializers.IntegerField(source="deployment_id")
    address = serializers.CharField(source="deployment")
    source = serializers.SerializerMethodField()  # type: ignore[assignment]
    begins_at = serializers.SerializerMethodField(help_text="Null: when it is approved.")
    changes = serializers.SerializerMethodField()

    class Meta:
        model = PriceProposal
        fields = ("id", "model", "address", "status", "source", "begins_at", "found_at", "decided_at", "changes")
        read_only_fields = fields

    def get_source(self, proposal: PriceProposal) -> str:
        return str(proposal.figures.get("source", ""))

    def get_begins_at(self, proposal: PriceProposal) -> str | None:
        begins: str | None = proposal.figures.get("valid_from")
        return begins

    def get_changes(self, proposal: PriceProposal) -> list[JsonObject]:
        ours = actions.card_of(proposal.current) if proposal.current else None
        return [
            {"figure": row.figure, "ours": dollars(row.ours), "proposed": dollars(row.theirs), "percent": row.percent}
            for row in changes(ours, proposal.figures)
            if row.is_changed
        ]


class PriceDecisionSerializer(StrictSerializer):
    decision = serializers.ChoiceField(choices=["approve", "reject"])
