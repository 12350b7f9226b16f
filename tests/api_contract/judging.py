"""Holds an answer against the document: no 500, no undocumented status, type, header or field."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

FRAMING = {"content-type", "content-length", "date", "server", "connection", "transfer-encoding", "keep-alive"}
"""Of HTTP itself; OpenAPI describes the first and none of the others."""


@dataclass
class Findings:
    """What is not as the document says, once per kind, with the first request that showed it."""

    found: dict[str, str] = field(default_factory=dict)
    cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter)

    def note(self, kind: str, example: str) -> None:
        self.found.setdefault(kind, example[:600])

    def judge(self, case: Any, response: Any) -> None:
        """``response`` is one of schemathesis."""
        self.cases += 1
        self.statuses[response.status_code] += 1
        asked = f"{response.request.method} {response.request.url} {response.request.headers} {response.request.body!r}"
        if response.status_code >= 500 and response.status_code != 503:
            self.note(f"{response.status_code}", f"{asked} -> {response.content!r}")
        for header in _undocumented_headers(case, response):
            self.note(f"header {header} on {response.status_code}", asked)
        for complaint in _complaints(case, response):
            self.note(complaint, f"{asked} -> {response.content[:300]!r}")

    def __str__(self) -> str:
        return "\n".join(f"{kind}: {example}" for kind, example in sorted(self.found.items()))


def _undocumented_headers(case: Any, response: Any) -> set[str]:
    described = case.operation.definition.raw["responses"].get(str(response.status_code), {})
    return set(response.headers) - FRAMING - {name.lower() for name in described.get("headers", {})}


def _complaints(case: Any, response: Any) -> list[str]:
    from schemathesis.core.failures import FailureGroup
    from schemathesis.specs.openapi import checks

    try:
        case.validate_response(
            response,
            checks=[
                checks.status_code_conformance,
                checks.content_type_conformance,
                checks.response_headers_conformance,
                checks.response_schema_conformance,
            ],
        )
    except FailureGroup as group:
        return [f"{type(failure).__name__} on {response.status_code}: {failure.message[:200]}" for failure in group.exceptions]
    return []
