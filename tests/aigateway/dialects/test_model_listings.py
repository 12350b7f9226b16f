"""What a caller may ask for, in the words of either client (R105)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aigateway.dialects.anthropic_messages import anthropic_listing, anthropic_model
from aigateway.dialects.model_listings import Reach, find_model, listed_models
from aigateway.dialects.openai_chat import openai_listing, openai_model
from aigateway.errors import GatewayError
from providers.upstream.errors import ModelUnknown
from providers.upstream.types import NameList, RouteSpec, Snapshot
from tests.aigateway.samples import target

TARGETS = (
    target(id=1, name="a", display_name="Model A", context_window_tokens=1000, max_output_tokens=100),
    target(id=2, name="org/b"),
    target(id=3, name="c"),
)
SNAPSHOT = Snapshot(
    version=1,
    targets={one.id: one for one in TARGETS},
    targets_by_name={one.name: (one.id,) for one in TARGETS},
    routes={"best": RouteSpec("best", None, ())},
)
ALL = listed_models(SNAPSHOT, Reach())


def page(**query: str) -> Any:
    return json.loads(anthropic_listing(ALL, query))


def names(listing: Any) -> list[str]:
    return [model["id"] for model in listing["data"]]


def test_openais_listing_has_routes_and_models() -> None:
    listing = json.loads(openai_listing(ALL))
    assert names(listing) == ["best", "a", "c", "org/b"]
    assert (listing["data"][0]["id"], listing["data"][0]["object"], listing["data"][0]["owned_by"]) == ("best", "model", "gateway")
    assert listing["data"][1]["owned_by"] == "acme"


def test_anthropics_listing_has_figures_and_says_that_the_date_is_unknown() -> None:
    listing = page()
    assert (listing["has_more"], listing["first_id"], listing["last_id"]) == (False, "best", "org/b")
    assert listing["data"][1] == {
        "type": "model",
        "id": "a",
        "display_name": "Model A",
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": 1000,
        "max_tokens": 100,
    }
    assert listing["data"][0]["max_tokens"] is None


def test_pages_follow_each_other_both_ways() -> None:
    first = page(limit="3")
    assert (names(first), first["has_more"]) == (["best", "a", "c"], True)
    assert (names(page(limit="3", after_id="c")), page(after_id="c")["has_more"]) == (["org/b"], False)
    back = page(limit="1", before_id="c")
    assert (names(back), back["has_more"]) == (["a"], True)
    empty = page(after_id="org/b")
    assert (empty["data"], empty["first_id"], empty["has_more"]) == ([], None, False)


@pytest.mark.parametrize(
    ("query", "param"),
    [({"limit": "0"}, "limit"), ({"limit": "1001"}, "limit"), ({"limit": "x"}, "limit"), ({"after_id": "z"}, "after_id")],
)
def test_a_wrong_page_is_refused_by_name(query: dict[str, str], param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        page(**query)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize("name", ["org/b", "acme/org/b", "best"])
def test_one_model_is_found_by_name_or_address(name: str) -> None:
    model = find_model(SNAPSHOT, Reach(), name)
    assert json.loads(openai_model(model))["id"] == json.loads(anthropic_model(model))["id"] == name


@pytest.mark.parametrize("name", ["nope", "acme/nope", "b"])
def test_an_unknown_model_is_not_found(name: str) -> None:
    with pytest.raises(ModelUnknown):
        find_model(SNAPSHOT, Reach(), name)


@pytest.mark.parametrize(("allowed", "found"), [({"a"}, True), ({"acme/a"}, True), ({"c"}, False)])
def test_a_model_the_caller_may_not_use_does_not_exist(allowed: set[str], found: bool) -> None:
    if found:
        assert find_model(SNAPSHOT, Reach(NameList.of(allowed)), "acme/a").max_output_tokens == 100
        return
    for name in ("a", "acme/a"):
        with pytest.raises(ModelUnknown):
            find_model(SNAPSHOT, Reach(NameList.of(allowed)), name)
