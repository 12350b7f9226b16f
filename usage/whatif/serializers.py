"""What goes over the wire for what-if questions. Prices are dollars per million tokens, amounts exact decimal strings in dollars."""

from __future__ import annotations

import json
from dataclasses import fields
from decimal import Decimal
from typing import Any

import msgspec
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from providers.fields import dollars, nano_from_dollars
from providers.upstream.types import PriceCard, Rates
from usage.reports import LineQuerySerializer
from usage.rest import NamesField
from usage.whatif.replay import LATENCY_CALLS_MIN, Answer, Question, ReplayPolicy, ReplayPrices

CARDS_MAX = 200
PRICE_MAX = Decimal(1_000_000)
_SUFFIX = "_nano_per_mtok"
RATES = {rate.name.removesuffix(_SUFFIX): rate.name for rate in fields(Rates)}
AMOUNTS = {**RATES, "request": "request_nano", "tool_call": "tool_call_nano"}
SIDES_HELP = f"Median of the model's own settled calls in the period; null: fewer than {LATENCY_CALLS_MIN}."


@extend_schema_field({"type": "object", "additionalProperties": {"type": "object", "additionalProperties": {"type": "string"}}})
class CardsField(serializers.Field):  # type: ignore[type-arg]
    """``{"provider/model": {"input": "1.25", "output": "10", "request": "0", "tool_call": "0.01"}}``; in a query its JSON.

    Buckets left out fall back; without ``tool_call`` calls of the provider's own tools have no price.
    """

    def to_internal_value(self, data: Any) -> dict[str, PriceCard]:
        if isinstance(data, str):
            try:
                data = json.loads(data)
            except (json.JSONDecodeError, RecursionError):
                raise serializers.ValidationError("This is not JSON.") from None
        if not isinstance(data, dict) or len(data) > CARDS_MAX:
            raise serializers.ValidationError(f"Send an object of at most {CARDS_MAX} price cards by model.")
        return {address: self._card(address, figures) for address, figures in data.items()}

    def _card(self, address: str, figures: Any) -> PriceCard:
        if not isinstance(figures, dict) or not {"input", "output"} <= figures.keys() <= set(AMOUNTS):
            raise serializers.ValidationError(f"{address}: name input and output, and of the rest only {', '.join(AMOUNTS)}.")
        nano = {name: self._nano(address, name, amount) for name, amount in figures.items()}
        return msgspec.convert({"id": 0, **{AMOUNTS[name]: amount for name, amount in nano.items()}}, PriceCard)

    def _nano(self, address: str, name: str, amount: Any) -> int:
        figure = serializers.DecimalField(max_digits=16, decimal_places=9, min_value=Decimal(0), max_value=PRICE_MAX)
        try:
            return nano_from_dollars(figure.run_validation(amount))
        except (serializers.ValidationError, ValueError):
            raise serializers.ValidationError(f"{address}: {name} is no price in dollars with at most nine decimals.") from None

    def to_representation(self, value: Any) -> Any:
        return value


class WhatIfSerializer(LineQuerySerializer):
    """The period and filters of a report, and what should have been otherwise."""

    policy = serializers.ChoiceField(choices=[*ReplayPolicy], default=ReplayPolicy.AS_WAS)
    mapping = NamesField(default=dict, help_text="With the policy mapping: model or provider/model to provider/model.")
    prices = serializers.ChoiceField(
        choices=[*ReplayPrices], default=ReplayPrices.OWN, help_text="For calls that stay where they were; those that move have today's."
    )
    cards = CardsField(default=dict, help_text=str(CardsField.__doc__))
    change_percent = serializers.DecimalField(
        max_digits=7, decimal_places=4, min_value=Decimal(-100), max_value=Decimal(999), default=Decimal(0), help_text="On every cost."
    )

    def question(self) -> Question:
        wanted = self.validated_data
        return Question(
            period=wanted["period"],
            only=wanted["only"],
            policy=ReplayPolicy(wanted["policy"]),
            mapping=wanted["mapping"],
            prices=ReplayPrices(wanted["prices"]),
            cards=wanted["cards"],
            change_ppm=int(wanted["change_percent"] * 10_000),
        )


class ShareSerializer(serializers.Serializer[Any]):
    model = serializers.CharField(help_text="provider/model")
    calls_before = serializers.IntegerField()
    calls_after = serializers.IntegerField()
    before_usd = serializers.CharField()
    after_usd = serializers.CharField()
    share_before_percent = serializers.CharField(allow_null=True, help_text="Of the replayed calls, two places, half to even.")
    share_after_percent = serializers.CharField(allow_null=True)
    latency_ms = serializers.IntegerField(allow_null=True, help_text=SIDES_HELP)
    latency_calls = serializers.IntegerField()


class LeftOutSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(help_text="usage_unknown, not_reproducible or no_price")
    calls = serializers.IntegerField()
    cost_usd = serializers.CharField()
    models = serializers.ListField(child=serializers.CharField())


class AnswerSerializer(serializers.Serializer[Any]):
    booked_usd = serializers.CharField(help_text="All of the period: replayed before, left out and adjustments.")
    replayed_calls = serializers.IntegerField()
    before_usd = serializers.CharField()
    after_usd = serializers.CharField()
    difference_usd = serializers.CharField(help_text="After less before; negative: saved.")
    adjustments_usd = serializers.CharField(help_text="By hand; not replayed.")
    latency_before_ms = serializers.IntegerField(allow_null=True)
    latency_after_ms = serializers.IntegerField(allow_null=True, help_text="Null where the latency of one of its models is unknown.")
    models = ShareSerializer(many=True)
    left_out = LeftOutSerializer(many=True)


def shown_answer(answer: Answer) -> dict[str, Any]:
    calls = sum(share.calls_before for share in answer.shares.values())
    return {
        "booked_usd": dollars(answer.booked_nano),
        "replayed_calls": calls,
        "before_usd": dollars(answer.before_nano),
        "after_usd": dollars(answer.after_nano),
        "difference_usd": dollars(answer.after_nano - answer.before_nano),
        "adjustments_usd": dollars(answer.adjustments_nano),
        "latency_before_ms": answer.latency_ms("before"),
        "latency_after_ms": answer.latency_ms("after"),
        "models": [
            {
                "model": address,
                "calls_before": share.calls_before,
                "calls_after": share.calls_after,
                "before_usd": dollars(share.before_nano),
                "after_usd": dollars(share.after_nano),
                "share_before_percent": _percent(share.calls_before, calls),
                "share_after_percent": _percent(share.calls_after, calls),
                "latency_ms": share.latency_ms,
                "latency_calls": share.latency_calls,
            }
            for address, share in sorted(answer.shares.items(), key=lambda each: (-each[1].after_nano, each[0]))
        ],
        "left_out": [
            {"reason": reason, "calls": out.calls, "cost_usd": dollars(out.cost_nano), "models": sorted(out.models)}
            for reason, out in sorted(answer.left_out.items())
        ],
    }


def _percent(part: int, whole: int) -> str | None:
    return f"{(Decimal(part) * 100 / whole).quantize(Decimal('0.01'))}" if whole else None
