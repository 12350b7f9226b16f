"""Compares a ledger with a provider's bill, line by line. Pure: lists in, verdict out."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

CLOCK_SLACK_S = 0.1
MEASURED = "measured"


@dataclass(frozen=True, slots=True)
class Posted:
    """What the ledger says of one attempt, all its lines together. Amounts are nano-dollars, times seconds since 1970."""

    request_id: str
    attempt_no: int
    model: str
    measured: bool
    cost_nano: int
    upstream_id: str
    error_code: str
    dispatched_s: float
    posted_s: float
    tokens: tuple[int, int, int, int]

    @property
    def name(self) -> str:
        return f"{self.request_id} #{self.attempt_no}"


@dataclass(frozen=True, slots=True)
class Billed:
    """One line of the provider's bill. ``tokens``: input, cached, output, reasoning, each counted once."""

    id: str
    model: str
    cost_nano: int
    outcome: str
    started_s: float
    tokens: tuple[int, int, int, int]


@dataclass(slots=True)
class Verdict:
    """``faults`` is empty when the ledger is right. The counts say how much was compared."""

    measured_equal: int = 0
    estimated_covering: int = 0
    estimated_unbilled: int = 0
    ledger_nano: int = 0
    bill_nano: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = (
            f"{self.measured_equal} measured lines equal the bill, {self.estimated_covering} estimated lines cover it, "
            f"{self.estimated_unbilled} estimated lines were not billed; ledger {self.ledger_nano} nano-dollars, bill {self.bill_nano}"
        )
        return "\n".join([("RIGHT: " if not self.faults else "WRONG: ") + counts, *(f"  {fault}" for fault in self.faults)])


def reconcile(posted: list[Posted], billed: list[Billed], holds: Mapping[tuple[str, int], int]) -> Verdict:
    """Every billed call stands on the ledger exactly once: measured ones equal to the last digit, estimated ones at no
    less than the bill and no more than the hold. An estimate may stand for a call the provider did not bill."""
    verdict = Verdict(ledger_nano=sum(line.cost_nano for line in posted), bill_nano=sum(line.cost_nano for line in billed))
    _check_unique("ledger attempt", (line.name for line in posted), verdict)
    _check_unique("answer id on the ledger", (line.upstream_id for line in posted if line.upstream_id), verdict)
    _check_unique("bill id", (line.id for line in billed), verdict)
    left = {line.id: line for line in billed}
    nameless: list[Posted] = []
    for line in posted:
        hold = holds.get((line.request_id, line.attempt_no))
        if hold is None or line.cost_nano > hold:
            verdict.faults.append(f"{line.name} costs {line.cost_nano}, held were {hold}")
        if line.upstream_id:
            _compare(line, left.pop(line.upstream_id, None), verdict)
        elif line.measured:
            verdict.faults.append(f"{line.name} is measured but names no answer")
        else:
            nameless.append(line)
    _cover(nameless, list(left.values()), verdict)
    return verdict


def _check_unique(what: str, names: Iterable[str], verdict: Verdict) -> None:
    seen: dict[str, int] = defaultdict(int)
    for name in names:
        seen[name] += 1
    verdict.faults += [f"{what} {name} stands there {count} times" for name, count in seen.items() if count > 1]


def _compare(line: Posted, bill: Billed | None, verdict: Verdict) -> None:
    if bill is None and line.measured:
        verdict.faults.append(f"{line.name} is measured, but {line.upstream_id} is not on the bill")
    elif bill is None:
        verdict.estimated_unbilled += 1
    elif line.measured and (line.cost_nano, line.tokens) != (bill.cost_nano, bill.tokens):
        verdict.faults.append(f"{line.name} posts {line.cost_nano} for {line.tokens}, {bill.id} bills {bill.cost_nano} for {bill.tokens}")
    elif line.measured:
        verdict.measured_equal += 1
    elif line.cost_nano < bill.cost_nano:
        verdict.faults.append(f"{line.name} estimates {line.cost_nano}, {_shown(bill)}")
    else:
        verdict.estimated_covering += 1


def _shown(bill: Billed) -> str:
    return f"{bill.id} ({bill.model}, {bill.outcome}) bills {bill.cost_nano} for {bill.tokens}"


def _cover(nameless: list[Posted], unnamed: list[Billed], verdict: Verdict) -> None:
    """Calls whose answer never told its id: each bill line needs an estimate of its own that can stand for it."""
    fits = {
        bill.id: [
            number
            for number, line in enumerate(nameless)
            if line.model == bill.model
            and line.dispatched_s - CLOCK_SLACK_S <= bill.started_s <= line.posted_s + CLOCK_SLACK_S
            and line.cost_nano >= bill.cost_nano
        ]
        for bill in unnamed
    }
    taken: dict[int, str] = {}
    for bill in unnamed:
        if _place(bill.id, fits, taken, set()):
            verdict.estimated_covering += 1
        else:
            verdict.faults.append(f"not on the ledger: {_shown(bill)}")
    verdict.estimated_unbilled += len(nameless) - len(taken)


def _place(bill_id: str, fits: Mapping[str, list[int]], taken: dict[int, str], tried: set[int]) -> bool:
    """One augmenting step of a bipartite matching."""
    for number in fits[bill_id]:
        if number not in tried:
            tried.add(number)
            if number not in taken or _place(taken[number], fits, taken, tried):
                taken[number] = bill_id
                return True
    return False


def posted_from_csv(text: str) -> tuple[list[Posted], list[str]]:
    """Attempts of a ledger export, and what is wrong with its control total."""
    rows = list(csv.DictReader(io.StringIO(text)))
    lines = [row for row in rows if not row["control_lines"]]
    [control] = [row for row in rows if row["control_lines"]]
    total = sum((Decimal(row["cost_usd"]) for row in lines), Decimal(0))
    faults = []
    if (len(lines), total) != (int(control["control_lines"]), Decimal(control["control_total_usd"])):
        said = f"{control['control_lines']} lines, {control['control_total_usd']}"
        faults.append(f"the control total says {said}; there are {len(lines)}, {total}")
    by_attempt: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for row in lines:
        by_attempt[row["request_id"], row["attempt_no"]].append(row)
    for attempt, group in by_attempt.items():
        kinds = [row["kind"] for row in group]
        if len(set(kinds)) < len(kinds):
            faults.append(f"attempt {attempt} has lines {kinds}")
    return [_posted(group) for group in by_attempt.values()], faults


def _posted(rows: list[dict[str, str]]) -> Posted:
    last = rows[-1]
    buckets = ("input_tokens", "cache_read_tokens", "output_tokens", "reasoning_tokens")
    tokens = [int(last[bucket] or 0) for bucket in buckets]
    return Posted(
        request_id=last["request_id"],
        attempt_no=int(last["attempt_no"]),
        model=last["model"],
        measured=last["basis"] == MEASURED,
        cost_nano=int(sum((Decimal(row["cost_usd"]) for row in rows), Decimal(0)).scaleb(9)),
        upstream_id=last["upstream_id"],
        error_code=last["error_code"],
        dispatched_s=_seconds(last["dispatched_at"]),
        posted_s=_seconds(last["posted_at"]),
        tokens=(tokens[0], tokens[1], tokens[2], tokens[3]),
    )


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def billed_from_json(lines: Iterable[Mapping[str, object]]) -> list[Billed]:
    return [
        Billed(
            id=str(line["id"]),
            model=str(line["model"]),
            cost_nano=int(str(line["cost_nano"])),
            outcome=str(line["outcome"]),
            started_s=float(str(line["started_s"])),
            tokens=(
                int(str(line["input_tokens"])),
                int(str(line["cached_tokens"])),
                int(str(line["output_tokens"])),
                int(str(line["reasoning_tokens"])),
            ),
        )
        for line in lines
    ]
