"""One set of rules for tiers and windows, whoever typed them, and the lines people type them in."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from providers.prices.text import tiers_from_text, tiers_text, windows_from_text, windows_text
from providers.rates import RATES, TIERS_MAX, WINDOWS_MAX, check_parts

RATES_ONLY = {"input_nano_per_mtok": 3_000_000_000, "output_nano_per_mtok": 15_000_000_000}
TIER = {"above_input_tokens": 200_000, **RATES_ONLY}
WINDOW = {"start": "16:30", "end": "00:30", "zone": "UTC", **RATES_ONLY}


def refusals(context_tiers: object = (), windows: object = ()) -> dict[str, list[str]]:
    with pytest.raises(ValidationError) as caught:
        check_parts(context_tiers, windows)
    return caught.value.message_dict


def test_R505_good_parts_are_kept_in_one_form():
    late = {"start": "09:00", "end": "10:00", "cache_read_nano_per_mtok": None, **RATES_ONLY}
    tiers, windows = check_parts([TIER], [{**WINDOW, "context_tiers": [TIER]}, late])
    assert tiers == [TIER]
    assert windows == [{"start": "09:00", "end": "10:00", "zone": "UTC", **RATES_ONLY}, {**WINDOW, "context_tiers": [TIER]}]
    assert check_parts([], []) == ([], [])


@pytest.mark.parametrize(
    ("tiers", "told"),
    [
        ("above 5", "list of tiers"),
        ([5], "JSON object"),
        ([{**TIER, "above_input_tokens": 0}], "whole number"),
        ([{**TIER, "above_input_tokens": True}], "whole number"),
        ([{**TIER, "above_input_tokens": 1.5}], "whole number"),
        ([RATES_ONLY], "whole number"),
        ([TIER, TIER], "rise"),
        ([{**TIER, "above_input_tokens": 9}, {**TIER, "above_input_tokens": 8}], "rise"),
        ([{"above_input_tokens": 9, "input_nano_per_mtok": 1}], "Output has no price"),
        ([{**TIER, "input_nano_per_mtok": -1}], "no amount"),
        ([{**TIER, "input_nano_per_mtok": 1.0}], "no amount"),
        ([{**TIER, "input_nano_per_mtok": True}], "no amount"),
        ([{**TIER, "input_nano_per_mtok": 10**19}], "no amount"),
        ([{**TIER, "input": 1}], "no 'input'"),
        ([{**TIER, "above_input_tokens": number} for number in range(1, TIERS_MAX + 2)], f"at most {TIERS_MAX}"),
    ],
)
def test_R505_a_wrong_tier_is_named(tiers, told):
    assert told in refusals(context_tiers=tiers)["context_tiers"][0]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"start": "24:00"}, "HH:MM"),
        ({"start": "9:00"}, "HH:MM"),
        ({"end": "10:60"}, "HH:MM"),
        ({"end": "10:00\n"}, "HH:MM"),
        ({"end": None}, "HH:MM"),
        ({"start": "16:30", "end": "16:30"}, "whole day"),
        ({"zone": "Mars/Olympus"}, "no time zone"),
        ({"zone": "../../etc/passwd"}, "no time zone"),
        ({"zone": ""}, "no time zone"),
        ({"zone": 1}, "no time zone"),
        ({"output_nano_per_mtok": None}, "Output has no price in the window 16:30-00:30"),
        ({"days": "Mon"}, "no 'days'"),
        ({"context_tiers": [TIER, TIER]}, "In the window 16:30-00:30: Tiers rise"),
    ],
)
def test_M12_a_wrong_window_is_named(changes, told):
    assert told in refusals(windows=[{**WINDOW, **changes}])["windows"][0]


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [
        (("09:00", "10:00"), ("10:00", "11:00"), False),
        (("09:00", "10:01"), ("10:00", "11:00"), True),
        (("16:30", "00:30"), ("00:30", "08:00"), False),
        (("16:30", "00:31"), ("00:30", "08:00"), True),
        (("22:00", "02:00"), ("23:00", "01:00"), True),
        (("23:00", "01:00"), ("23:00", "01:00"), True),
        (("23:59", "00:00"), ("00:00", "23:59"), False),
    ],
)
def test_M12_windows_never_overlap_not_even_over_midnight(first, second, overlap):
    windows = [{**WINDOW, "start": start, "end": end} for start, end in (first, second)]
    if overlap:
        assert "overlap" in refusals(windows=windows)["windows"][0]
    else:
        assert len(check_parts([], windows)[1]) == 2


def test_M12_windows_of_one_price_share_one_zone():
    windows = [{**WINDOW, "start": "01:00", "end": "02:00"}, {**WINDOW, "zone": "Asia/Shanghai"}]
    assert "one time zone" in refusals(windows=windows)["windows"][0]


def test_both_fields_are_named_at_once_and_their_number_is_bounded():
    assert set(refusals(context_tiers=1, windows=1)) == {"context_tiers", "windows"}
    many = [
        {**WINDOW, "start": f"{minute // 60:02}:{minute % 60:02}", "end": f"{minute // 60:02}:{minute % 60 + 1:02}"} for minute in range(49)
    ]
    assert f"at most {WINDOWS_MAX}" in refusals(windows=many)["windows"][0]


# --------------------------------------------------------------------------- typed as text


def test_R505_people_type_tiers_and_windows_as_lines():
    assert tiers_from_text("above 200,000: input 6, output 22.50, cache read $0.60\n\n") == [
        {
            "above_input_tokens": 200_000,
            "input_nano_per_mtok": 6_000_000_000,
            "output_nano_per_mtok": 22_500_000_000,
            "cache_read_nano_per_mtok": 600_000_000,
        }
    ]
    assert windows_from_text("16:30 - 00:30: input 1, output 2\n16:30-00:30 UTC above 5: INPUT 3, Output 4, cache write 1h 9") == [
        {
            "start": "16:30",
            "end": "00:30",
            "zone": "UTC",
            "input_nano_per_mtok": 10**9,
            "output_nano_per_mtok": 2 * 10**9,
            "context_tiers": [
                {
                    "above_input_tokens": 5,
                    "input_nano_per_mtok": 3 * 10**9,
                    "output_nano_per_mtok": 4 * 10**9,
                    "cache_write_1h_nano_per_mtok": 9 * 10**9,
                }
            ],
        }
    ]


@pytest.mark.parametrize(
    ("read", "text", "told"),
    [
        (tiers_from_text, "over 5: input 1", "Line 1"),
        (tiers_from_text, "above 5: input 1\nabove x: input 2", "Line 2"),
        (tiers_from_text, "above 5: input one", "'input one' is no price"),
        (tiers_from_text, "above 5: video 1", "'video 1' is no price"),
        (tiers_from_text, "above 5: input 1, input 2", "input has two prices"),
        (tiers_from_text, "above 5: input 0.0000000001", "nine decimal places"),
        (tiers_from_text, "above 5: input -1", "is no price"),
        (windows_from_text, "9:00-10:00: input 1", "Line 1"),
        (windows_from_text, "09:00-10:00 above 5: input 1", "follows the line of its own window"),
        (windows_from_text, "09:00-10:00: input 1\n09:00-11:00 above 5: input 1", "Line 2: a tier follows"),
    ],
)
def test_a_wrong_line_is_named(read, text, told):
    with pytest.raises(ValidationError, match=told):
        read(text)


amounts = st.integers(0, 10**15)
rates = st.fixed_dictionaries(
    dict.fromkeys(RATES[:2], amounts), optional=dict.fromkeys(RATES[2:], amounts)
)  # fmt: skip
tiers = st.lists(rates, max_size=4).map(lambda rows: [{"above_input_tokens": 1000 * (place + 1), **row} for place, row in enumerate(rows)])


@given(
    tiers,
    st.lists(st.tuples(rates, tiers), max_size=4),
    st.sampled_from(["UTC", "Asia/Shanghai", "America/Argentina/Buenos_Aires", "Etc/GMT+5"]),
)
def test_what_is_shown_can_be_typed_again(some_tiers, spans, zone):
    windows = [
        {"start": f"0{place}:00", "end": f"0{place}:59", "zone": zone, **row, **({"context_tiers": own} if own else {})}
        for place, (row, own) in enumerate(spans)
    ]
    stored = check_parts(some_tiers, windows)
    assert check_parts(tiers_from_text(tiers_text(stored[0])), windows_from_text(windows_text(stored[1]))) == stored
