"""A row of any model, its required fields filled in by their type: so that a new model needs no line here."""

from __future__ import annotations

import uuid
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db import models
from django.utils import timezone


def one_row(model: type[models.Model], **given: Any) -> models.Model:
    """The first row there is that has what is ``given``, else a new one."""
    found = model._default_manager.filter(**given).order_by("pk").first()
    if found is not None:
        return found
    missing = {field.name: _value(field) for field in model._meta.concrete_fields if field.name not in given and _is_required(field)}
    return model._default_manager.create(**missing, **given)


def _is_required(field: Any) -> bool:
    automatic = getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False)
    without_default = field.default is models.NOT_PROVIDED and field.db_default is models.NOT_PROVIDED
    return without_default and not field.null and not isinstance(field, models.AutoField) and not automatic


def _value(field: Any) -> Any:
    if isinstance(field, models.ForeignKey):
        return one_row(field.remote_field.model)
    if field.choices:
        return next(value for value, _ in field.flatchoices if value != "")
    return next(value for kinds, value in _VALUES if isinstance(field, kinds))


_VALUES: tuple[tuple[Any, Any], ...] = (
    (models.BooleanField, False),
    (models.DateTimeField, timezone.now()),
    (models.DateField, timezone.now().date()),
    (models.DecimalField, Decimal(1)),
    (models.IntegerField, 1),
    (models.FloatField, 1.0),
    (models.UUIDField, uuid.UUID(int=1)),
    (models.BinaryField, b"0" * 32),
    (models.JSONField, {}),
    (models.DurationField, timedelta(seconds=1)),
    (models.GenericIPAddressField, "127.0.0.1"),
    ((models.CharField, models.TextField), "sample"),
)
