"""Filters of lists whose values fit the columns they are compared with: anything else is refused by name (C09)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import django_filters
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django_filters.fields import IsoDateTimeField

ID_MAX: Final = 2**63 - 1
FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


class IdFilter(django_filters.NumberFilter):  # type: ignore[misc]
    """A primary key."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"decimal_places": 0, **kwargs})

    def get_max_validator(self) -> MaxValueValidator:
        return MaxValueValidator(ID_MAX)

    @property
    def field(self) -> Any:
        found = super().field
        if not any(isinstance(each, MinValueValidator) for each in found.validators):
            found.validators.append(MinValueValidator(1))
        return found


class InstantField(IsoDateTimeField):  # type: ignore[misc]
    """An instant both databases and every time zone can hold."""

    def clean(self, value: Any) -> datetime | None:
        try:
            instant: datetime | None = super().clean(value)
        except OverflowError:
            raise ValidationError(REFUSED) from None
        if instant is not None and not FIRST <= instant < LAST:
            raise ValidationError(REFUSED)
        return instant


class InstantFilter(django_filters.IsoDateTimeFilter):  # type: ignore[misc]
    field_class = InstantField


REFUSED: Final = f"Send an instant between {FIRST.year} and {LAST.year}."
