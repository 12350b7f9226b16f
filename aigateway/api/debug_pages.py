"""What Django's debug pages leave out (``DEFAULT_EXCEPTION_REPORTER`` and its filter). They are for loopback only, and still: addresses of
servers hold passwords."""

from __future__ import annotations

import re
from collections.abc import ItemsView
from typing import Any

from django.http import HttpRequest
from django.views.debug import ExceptionReporter, SafeExceptionReporterFilter

from providers.upstream.redaction import redact


class SecretsFilter(SafeExceptionReporterFilter):
    hidden_settings = re.compile("API|AUTH|TOKEN|KEY|SECRET|PASS|SIGNATURE|COOKIE|URL|RING|EMAIL|LOGGING|SESSION", re.IGNORECASE)

    def get_traceback_frame_variables(self, request: HttpRequest, tb_frame: Any) -> ItemsView[str, Any]:
        """Names only where the name or the text says secret; texts lose what this process knows to be one."""
        return {name: self._shown(name, value) for name, value in super().get_traceback_frame_variables(request, tb_frame)}.items()

    def _shown(self, name: str, value: Any) -> Any:
        if self.hidden_settings.search(name):
            return self.cleansed_substitute
        text = str(value) if isinstance(value, str | bytes) else repr(value)
        return value if redact(text) == " ".join(text.split()) else self.cleansed_substitute


class Reporter(ExceptionReporter):
    def get_traceback_data(self) -> dict[str, Any]:
        """What exceptions say, without what this process knows to be a secret."""
        found: dict[str, Any] = super().get_traceback_data()
        found["exception_value"] = redact(str(found.get("exception_value", "")))
        for frame in found.get("frames", ()):
            if frame.get("exc_cause") is not None:
                frame["exc_cause"] = redact(str(frame["exc_cause"]))
        return found
