"""Serializers for bodies that must be exactly right."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class StrictMixin:
    """Refuses fields it does not know, so that a misspelt one is never silently ignored."""

    fields: Any

    def to_internal_value(self, sent: Any) -> Any:
        if isinstance(sent, dict):
            writable = {name for name, field in self.fields.items() if not field.read_only}
            unknown = sorted(str(name) for name in sent if name not in writable)
            if unknown:
                raise serializers.ValidationError({name: ["Unknown or read-only field."] for name in unknown})
        return super().to_internal_value(sent)  # type: ignore[misc]


class StrictSerializer(StrictMixin, serializers.Serializer[Any]):
    """A serializer for bodies that must be exactly right."""
