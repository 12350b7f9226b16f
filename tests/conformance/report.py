"""Verdicts as lines for people and as a table for the documentation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tests.conformance.verdict import Outcome, Verdict

_BAD = (Outcome.FAILED, Outcome.MALFORMED)


def failures(verdicts: Iterable[Verdict]) -> list[Verdict]:
    return [verdict for verdict in verdicts if verdict.outcome in _BAD]


def lines(verdicts: list[Verdict]) -> Iterator[str]:
    """One line per provider and api, what is explained, the failing files with their first difference, a total."""
    for (provider, api), group in _groups(verdicts, lambda verdict: (verdict.provider, verdict.api)):
        counts = _Counts.of(group)
        yield f"{provider} {api} {counts.passed}/{counts.judged}{counts.note}"
    for verdict in verdicts:
        if verdict.outcome is Outcome.EXPLAINED:
            yield f"explained: {verdict.name} {verdict.reason}"
    for verdict in failures(verdicts):
        yield f"{verdict.outcome.value}: {verdict.name}\n    {verdict.difference}"
    counts = _Counts.of(verdicts)
    yield f"total {counts.passed}/{counts.judged}{counts.note}, {len(failures(verdicts))} failed"


def markdown(verdicts: list[Verdict]) -> Iterator[str]:
    yield "| provider | kind | passed / total | explained | not offered |"
    yield "|---|---|---|---|---|"
    for (provider, kind), group in _groups(verdicts, lambda verdict: (verdict.provider, verdict.kind)):
        counts = _Counts.of(group)
        share = f"{counts.passed} / {counts.judged}" if counts.judged else "-"
        yield f"| {provider} | {kind} | {share} | {counts.explained or '-'} | {counts.not_offered or '-'} |"
    counts = _Counts.of(verdicts)
    yield f"| **all** | | **{counts.passed} / {counts.judged}** | **{counts.explained}** | **{counts.not_offered}** |"


@dataclass(frozen=True, slots=True)
class _Counts:
    """``judged`` holds neither what is explained nor what is not offered; what of these failed is a failure all the same."""

    passed: int
    judged: int
    explained: int
    not_offered: int

    @classmethod
    def of(cls, group: list[Verdict]) -> _Counts:
        explained = sum(verdict.outcome is Outcome.EXPLAINED for verdict in group)
        not_offered = sum(not verdict.is_offered for verdict in group)
        passed = sum(verdict.outcome is Outcome.PASSED for verdict in group)
        return cls(passed, len(group) - explained - not_offered, explained, not_offered)

    @property
    def note(self) -> str:
        aside = [f"explained: {self.explained}"] if self.explained else []
        aside += [f"API not offered, checked as error or foreign answer only: {self.not_offered}"] if self.not_offered else []
        return f" ({'; '.join(aside)})" if aside else ""


def _groups(verdicts: list[Verdict], key: Callable[[Verdict], tuple[str, str]]) -> Iterator[tuple[tuple[str, str], list[Verdict]]]:
    found: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in verdicts:
        found.setdefault(key(verdict), []).append(verdict)
    yield from sorted(found.items())
