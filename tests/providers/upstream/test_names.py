"""Typed lists of names: every form people write, what they mean, and how they match."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.upstream.types import NameList, NamesInvalid, allows, split_names, understood

KNOWN = ("gpt-4o", "openai/gpt-4o", "gpt-4o-mini", "openai/gpt-4o-mini", "Qwen/Qwen3", "together/Qwen/Qwen3", "fast")


FORMS = (
    "gpt-4o, fast",
    "gpt-4o\nfast",
    " gpt-4o ,\n\n fast,",
    '["gpt-4o", "fast"]',
    ["gpt-4o", "fast"],
    ["gpt-4o,fast"],
    "'gpt-4o', \"fast\"",
    ['["gpt-4o"]', "fast"],
)
MEANT = {
    "GPT-4O": "gpt-4o",
    "OpenAI/gpt-4o": "openai/gpt-4o",
    "qwen/qwen3": "Qwen/Qwen3",
    "openai/*": "openai/*",
    "*": "*",
    "*Qwen3": "*Qwen3",
}
NEAR = {"gpt-4": "gpt-4o", "openai": "openai/*", "opnai/*": "openai/gpt-4o", "fats": "fast", "zzz": None}


@pytest.mark.parametrize("typed", FORMS)
def test_C04_a_list_is_understood_in_every_form_people_write_it(typed: str | list[str]) -> None:
    assert split_names(typed) == ["gpt-4o", "fast"]


@pytest.mark.parametrize("typed", ["[", '["a"', "[1]", '["a", ["b"]]', "[" * 100_000])
def test_C04_what_begins_like_JSON_and_is_none_is_refused(typed: str) -> None:
    with pytest.raises(NamesInvalid, match="JSON"):
        split_names(typed)


@pytest.mark.parametrize(("typed", "meant"), MEANT.items())
def test_C04_names_in_another_case_become_the_names_that_exist_and_patterns_stay(typed: str, meant: str) -> None:
    assert understood([typed], KNOWN) == [meant]


@pytest.mark.parametrize(("typed", "near"), NEAR.items())
def test_C04_what_matches_nothing_is_refused_with_the_nearest_names(typed: str, near: str | None) -> None:
    with pytest.raises(NamesInvalid) as refused:
        understood(["fast", typed], KNOWN)
    assert f"'{typed}' matches nothing" in str(refused.value)
    assert ("Nearest" in str(refused.value)) is (near is not None)
    assert near is None or near in str(refused.value)


def test_C04_names_that_are_stored_already_stay_valid_whatever_became_of_them() -> None:
    assert understood(["gone", "fast"], KNOWN, kept=["gone"]) == ["gone", "fast"]


def test_two_names_that_differ_by_case_only_are_not_guessed_between() -> None:
    with pytest.raises(NamesInvalid, match="Nearest: "):
        understood(["FAST"], ("fast", "Fast"))
    assert understood(["Fast"], ("fast", "Fast")) == ["Fast"]


@pytest.mark.parametrize(
    ("listed", "allowed", "refused"),
    [
        (["openai/*"], ("gpt-4o", "openai/gpt-4o"), ("gpt-4o", "azure/gpt-4o")),
        (["OpenAI/*"], ("x", "openai/x"), ("openai", "openai")),
        (["*-mini"], ("gpt-4o-mini", "a/gpt-4o-mini"), ("gpt-4o", "a/gpt-4o")),
        (["a*b*c"], ("aXbYc", "n"), ("acb", "n")),
        (["aa*aa"], ("aaaa", "n"), ("aaa", "n")),
        (["fast"], ("fast", "n"), ("FAST", "n")),
        (["a.c"], ("a.c", "n"), ("abc", "n")),
        (["a[bc]*"], ("a[bc]d", "n"), ("abd", "n")),
    ],
)
def test_C04_patterns_match_names_and_addresses_and_exact_names_exactly(
    listed: list[str], allowed: tuple[str, str], refused: tuple[str, str]
) -> None:
    names = NameList.of(listed)
    assert allows(names, *allowed)
    assert not allows(names, *refused)
    assert not allows(names, *refused), "remembered"


@pytest.mark.parametrize("everything", [[], ["*"], ["a", "**"]])
def test_an_empty_list_and_a_star_allow_everything(everything: list[str]) -> None:
    assert NameList.of(everything) is None
    assert allows(NameList.of(everything), "anything")


@given(st.text(alphabet="ab*", max_size=8), st.text(alphabet="ab", max_size=12))
def test_patterns_mean_what_shell_patterns_mean(pattern: str, name: str) -> None:
    names = NameList.of([pattern])
    assert allows(names, name) == (fnmatchcase(name, pattern) or (pattern == "" and name == ""))


def test_C04_a_hostile_pattern_costs_no_more_than_its_length() -> None:
    names = NameList.of(["*a" * 150 + "b"])
    started = time.process_time()
    assert not allows(names, "a" * 20_000)
    assert time.process_time() - started < 0.5


def test_names_that_clients_choose_do_not_fill_the_memory() -> None:
    names = NameList.of(["app-*"])
    assert names is not None
    assert all(names.allows(f"app-{number}") for number in range(10_000))
    assert len(names._seen) <= 4_096
