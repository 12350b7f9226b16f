"""Model fields with a meaning: money in nano-dollars and sealed (encrypted) secrets."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any

from django import forms
from django.db import models

NANO_PER_DOLLAR = 1_000_000_000
EMPTY = "-"
"""What the admin shows for nothing."""


def dollars(nano: int | None) -> str | None:
    """Nano-dollars as an exact decimal string with nine places (``"0.000000001"``); ``None`` stays ``None``."""
    return None if nano is None else f"{Decimal(nano).scaleb(-9):.9f}"


def nano_from_dollars(amount: Decimal) -> int:
    """Exact conversion; raises ``ValueError`` for non-finite amounts and for anything finer than a nano-dollar."""
    if not amount.is_finite():
        raise ValueError("an amount of money must be finite")
    nano = amount.scaleb(9)
    if nano != nano.to_integral_value():
        raise ValueError("an amount of money has at most nine decimal places")
    return int(nano)


_PPM_PER_PERCENT = 10_000


def percent_of(ppm: int) -> str:
    """Millionths as an exact percentage: ``50000`` is ``"5"``."""
    return f"{(Decimal(ppm) / _PPM_PER_PERCENT).normalize():f}"


def ppm_of(percent: Decimal) -> int:
    """The millionths of a percentage with at most four decimal places."""
    return int(percent * _PPM_PER_PERCENT)


def divide_half_even(amount: int, divisor: int) -> int:
    """The exact quotient of integers, rounded once to the nearest, ties to even. ``divisor`` is positive."""
    quotient, rest = divmod(amount, divisor)
    return quotient + (2 * rest > divisor or (2 * rest == divisor and quotient % 2 == 1))


class DollarFormField(forms.DecimalField):
    """Shows and accepts dollars, hands out integer nano-dollars."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("max_digits", 18)
        kwargs.setdefault("decimal_places", 9)
        kwargs.setdefault("min_value", Decimal(0))
        super().__init__(**kwargs)

    def prepare_value(self, value: Any) -> Any:
        return f"{Decimal(value).scaleb(-9).normalize():f}" if isinstance(value, int) else value

    def clean(self, value: Any) -> int | None:
        amount = super().clean(value)
        return None if amount is None else nano_from_dollars(amount)

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), data)


class NanoDollarField(models.BigIntegerField):  # type: ignore[type-arg]
    """An amount in integer nano-dollars (1e-9 USD), up to 9.2 billion dollars; people see and type dollars."""

    def formfield(self, **_: Any) -> forms.Field | None:
        return DollarFormField(
            required=not self.blank,
            label=str(self.verbose_name).capitalize(),
            help_text=self.help_text,
            initial=self.default if self.has_default() else None,
        )


class DollarsOnReadOnlyPages:
    """For admin pages and inlines: who may only read sees dollars as well. By itself the admin shows the column, nano-dollars."""

    def get_fieldsets(self, request: Any, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)  # type: ignore[misc]  # of the admin class it is mixed into
        amounts = self._amounts(request, obj)
        return [
            (title, {**options, "fields": [*dict.fromkeys(amounts.get(name, name) for name in options["fields"])]})
            for title, options in fieldsets
        ]

    def get_readonly_fields(self, request: Any, obj: Any = None) -> Any:
        return (*super().get_readonly_fields(request, obj), *self._amounts(request, obj).values())  # type: ignore[misc]

    def _amounts(self, request: Any, obj: Any) -> dict[str, Callable[[models.Model], str]]:
        if obj is None or self.has_change_permission(request, obj):  # type: ignore[attr-defined]
            return {}
        columns = self.model._meta.fields  # type: ignore[attr-defined]
        return {field.name: _read_only(field) for field in columns if isinstance(field, NanoDollarField)}


@cache
def _read_only(field: NanoDollarField) -> Callable[[models.Model], str]:
    def shown(row: models.Model) -> str:
        return dollars(getattr(row, field.attname)) or EMPTY

    label = str(field.verbose_name)
    shown.__name__ = field.name  # where the admin looks for the help text
    shown.short_description = label if "$" in label else f"{label.removesuffix(' nano')} ($)"  # type: ignore[attr-defined]
    return shown


class SealedField(models.BinaryField):  # type: ignore[type-arg]
    """Ciphertext of a secret (``providers.secrets.seal``). Key rotation and its proof walk every field of this type.

    ``origin_field`` names the column that says where the secret may be sent, for secrets that are sent.
    """

    def __init__(self, *args: Any, origin_field: str = "", **kwargs: Any) -> None:
        self.origin_field = origin_field
        kwargs["editable"] = False
        super().__init__(*args, **kwargs)


def short_dollars(nano: int) -> str:
    """Exact dollars without needless zeros."""
    whole, _, fraction = f"{Decimal(nano).scaleb(-9):.9f}".partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"
