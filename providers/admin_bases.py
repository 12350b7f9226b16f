"""What admin pages of several rooms are built from."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.http import HttpRequest

from providers.audit import Actor


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


class ReadOnlyInline(admin.TabularInline):  # type: ignore[type-arg]
    """Rows to look at."""

    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
