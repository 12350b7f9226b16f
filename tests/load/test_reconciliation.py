"""The comparison of ledger and bill finds what is wrong, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.load.reconciliation import Billed, Posted, posted_from_csv, reconcile

TOKENS = (10, 0, 20, 0)
LINE = Posted("req", 1, "sim-small", True, 500, "answer", "", 100.0, 101.0, TOKENS)
BILL = Billed("answer", "sim-small", 500, "complete", 100.1, TOKENS)
HOLDS = {("req", 1): 900, ("other", 1): 900}
NAMELESS = replace(LINE, request_id="other", measured=False, upstream_id="", cost_nano=700)


def test_equal_measured_lines_are_right() -> None:
    verdict = reconcile([LINE], [BILL], HOLDS)
    assert (verdict.faults, verdict.measured_equal, verdict.ledger_nano, verdict.bill_nano) == ([], 1, 500, 500)


def test_estimates_may_be_higher_than_the_bill_or_stand_alone() -> None:
    estimated = replace(LINE, measured=False, cost_nano=600)
    verdict = reconcile([estimated, NAMELESS], [BILL], HOLDS)
    assert (verdict.faults, verdict.estimated_covering, verdict.estimated_unbilled) == ([], 1, 1)


def test_an_estimate_without_an_id_covers_a_bill_line_of_its_time_and_model() -> None:
    assert reconcile([NAMELESS], [BILL], HOLDS).faults == []
    for misfit in (replace(BILL, model="sim-large"), replace(BILL, started_s=200.0), replace(BILL, cost_nano=701)):
        assert "not on the ledger" in reconcile([NAMELESS], [misfit], HOLDS).faults[0]


def test_estimates_are_handed_out_so_that_all_bill_lines_are_covered() -> None:
    small, large = replace(NAMELESS, cost_nano=500), replace(NAMELESS, request_id="req", cost_nano=800)
    cheap, dear = replace(BILL, id="a", cost_nano=400), replace(BILL, id="b", cost_nano=700)
    for order in ([small, large], [large, small]):
        assert reconcile(order, [cheap, dear], HOLDS).faults == []
    assert len(reconcile([large], [cheap, dear], HOLDS).faults) == 1


@pytest.mark.parametrize(
    ("posted", "billed", "said"),
    [
        ([replace(LINE, cost_nano=501)], [BILL], "bills 500"),
        ([replace(LINE, tokens=(10, 0, 21, 0))], [BILL], "bills 500"),
        ([], [BILL], "not on the ledger"),
        ([LINE], [], "not on the bill"),
        ([LINE, LINE], [BILL], "2 times"),
        ([LINE], [BILL, BILL], "2 times"),
        ([replace(LINE, measured=False, cost_nano=499)], [BILL], "estimates 499"),
        ([replace(LINE, cost_nano=901)], [replace(BILL, cost_nano=901)], "held were 900"),
        ([replace(LINE, upstream_id="")], [], "names no answer"),
    ],
)
def test_every_kind_of_error_is_found(posted: list[Posted], billed: list[Billed], said: str) -> None:
    assert any(said in fault for fault in reconcile(posted, billed, HOLDS).faults)


HEADER = (
    "kind,basis,request_id,attempt_no,model,cost_usd,upstream_id,error_code,dispatched_at,posted_at,"
    "input_tokens,cache_read_tokens,output_tokens,reasoning_tokens,control_lines,control_total_usd\n"
)
USAGE = "usage,measured,req,1,sim-small,0.000000500,answer,,1970-01-01T00:01:40+00:00,1970-01-01T00:01:41+00:00,10,0,20,,,\n"


def test_csv_lines_are_read_to_the_nano_dollar() -> None:
    posted, faults = posted_from_csv(HEADER + USAGE + "control,,,,,0.000000000,,,,,,,,,1,0.000000500\n")
    assert (posted, faults) == ([LINE], [])


def test_wrong_control_total_and_double_lines_are_found() -> None:
    _, faults = posted_from_csv(HEADER + USAGE + USAGE + "control,,,,,0.000000000,,,,,,,,,1,0.000000500\n")
    assert len(faults) == 2


def test_a_correction_belongs_to_its_attempt() -> None:
    estimate = USAGE.replace("measured", "estimated").replace("0.000000500", "0.000000900").replace("answer", "")
    correction = USAGE.replace("usage", "correction").replace("0.000000500", "-0.000000400")
    posted, faults = posted_from_csv(HEADER + estimate + correction + "control,,,,,0.000000000,,,,,,,,,2,0.000000500\n")
    assert (posted, faults) == ([LINE], [])
