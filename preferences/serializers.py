"""What goes over the wire for preferences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from preferences.models import DEFAULT_CONTEXT


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses unknown fields: a misspelt one must not be silently ignored."""

    def to_internal_value(self, data: Any) -> Any:
        unknown = sorted(set(data) - set(self.fields)) if isinstance(data, Mapping) else []
        if unknown:
            raise serializers.ValidationError({name: ["Unknown field."] for name in unknown})
        return super().to_internal_value(data)


class PreferenceWriteSerializer(StrictSerializer):
    context = serializers.CharField(default=DEFAULT_CONTEXT, max_length=200, help_text="`default`, `writing`, or any slug of your own.")  # type: ignore[assignment]
    provider = serializers.CharField(required=False, max_length=200, help_text="Slug of the provider; may be left out.")
    model = serializers.CharField(max_length=400, help_text="The model's name, or `provider/name`.")


class PreferenceUsageSerializer(serializers.Serializer[Any]):
    """The caller's own use of the preferred model, whatever the context. Unknown amounts are null."""

    requests = serializers.IntegerField()
    input_tokens = serializers.IntegerField(allow_null=True)
    output_tokens = serializers.IntegerField(allow_null=True)
    cost_usd = serializers.CharField(help_text="Exact decimal with nine places.")
    last_used_at = serializers.DateTimeField(allow_null=True)


class PreferenceSerializer(serializers.Serializer[Any]):
    context = serializers.CharField()  # type: ignore[assignment]
    provider = serializers.CharField(help_text="Slug.")
    provider_name = serializers.CharField()
    model = serializers.CharField()
    model_name = serializers.CharField(help_text="Display name.")
    available = serializers.BooleanField(help_text="Can it serve your request now? If not, another model answers, and says so.")
    unavailable_reason = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    usage = PreferenceUsageSerializer(allow_null=True, help_text="Null when the model was not used in the period of the statistics.")


class EffectiveDefaultSerializer(serializers.Serializer[Any]):
    """What serves a request with `model=auto` in a context without a preference of its own."""

    source = serializers.ChoiceField(choices=[("preference", "preference"), ("gateway", "gateway")])  # type: ignore[assignment]
    provider = serializers.CharField(allow_null=True)
    provider_name = serializers.CharField(allow_null=True)
    model = serializers.CharField(help_text="`auto` when the gateway chooses by its policy.")
    model_name = serializers.CharField()
    policy = serializers.CharField(allow_null=True, help_text="The gateway's policy, when the gateway chooses.")
    available = serializers.BooleanField(help_text="False: the gateway chooses another model, and the answer says so.")
    unavailable_reason = serializers.CharField(allow_blank=True)


class PreferenceListSerializer(serializers.Serializer[Any]):
    count = serializers.IntegerField()
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = PreferenceSerializer(many=True)
    effective_default = EffectiveDefaultSerializer()


class PreferenceListQuerySerializer(StrictSerializer):
    context = serializers.CharField(required=False, max_length=50, help_text="Only this context.")  # type: ignore[assignment]
    page = serializers.IntegerField(required=False, min_value=1)
    page_size = serializers.IntegerField(required=False, min_value=1, max_value=500)


class PreferenceDeleteQuerySerializer(StrictSerializer):
    all = serializers.BooleanField(default=False, help_text="`true` deletes every preference instead of the default one.")
