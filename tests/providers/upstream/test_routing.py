"""Names, order, filters and explanations of plans."""

from __future__ import annotations

from dataclasses import replace

import pytest

from providers.upstream.routing import ModelNotAllowed, ModelUnknown, names_for, plan
from providers.upstream.types import (
    Capability,
    HealthStatus,
    ImagePart,
    Message,
    NameList,
    Policy,
    PriceCard,
    Role,
    RouteChoice,
    RouteSpec,
    RoutingSettings,
    Snapshot,
    Target,
    TextPart,
    Wishes,
)
from tests.providers.upstream import rig

OPENAI = rig.provider(id=1, slug="openai", priority=10)
AZURE = rig.provider(id=2, slug="azure", priority=20)
ANTHROPIC = rig.provider(id=3, slug="anthropic", priority=30)


def priced(dollars_per_mtok: int) -> PriceCard:
    return PriceCard(id=1, input_nano_per_mtok=dollars_per_mtok * 10**9, output_nano_per_mtok=dollars_per_mtok * 10**9)


GPT = rig.target(OPENAI, id=1, name="gpt-4o", price=priced(5))
GPT_AZURE = rig.target(AZURE, id=2, name="gpt-4o", price=priced(4))
MINI = rig.target(OPENAI, id=3, name="gpt-4o-mini", price=priced(1))
CLAUDE = rig.target(ANTHROPIC, id=4, name="claude-sonnet", price=priced(3))
LLAMA = rig.target(AZURE, id=5, name="meta/llama", price=priced(2))
EVERYTHING = (GPT, GPT_AZURE, MINI, CLAUDE, LLAMA)


def snapshot(*targets: Target, routes: tuple[RouteSpec, ...] = (), policy: Policy = Policy.PREFERENCE) -> Snapshot:
    chosen = targets or EVERYTHING
    by_name: dict[str, tuple[int, ...]] = {}
    for one in chosen:
        by_name[one.name] = (*by_name.get(one.name, ()), one.id)
    return Snapshot(
        version=1,
        targets={one.id: one for one in chosen},
        targets_by_name=by_name,
        routes={route.name: route for route in routes},
        routing=RoutingSettings(default_policy=policy),
    )


def route(name: str, *choices: tuple[int, int, int], policy: Policy | None = None) -> RouteSpec:
    return RouteSpec(name, policy, tuple(RouteChoice(*choice) for choice in choices))


def order(made) -> list[int]:
    return [one.id for one in made.targets]


def ids(wishes: Wishes, *targets: Target, request=None, **built) -> list[int]:
    return order(plan(snapshot(*targets, **built), request or rig.chat_request(), wishes))


# --------------------------------------------------------------------------- names


def test_a_model_name_stands_for_all_its_deployments_by_priority_of_their_providers() -> None:
    assert ids(Wishes("gpt-4o")) == [1, 2]


def test_an_address_puts_its_provider_first_and_the_same_model_elsewhere_behind() -> None:
    assert ids(Wishes("azure/gpt-4o")) == [2, 1]


def test_without_fall_back_only_the_named_provider_may_answer() -> None:
    assert ids(Wishes("azure/gpt-4o", allow_fallback=False)) == [2]
    assert ids(Wishes("gpt-4o", provider="azure", allow_fallback=False)) == [2]


def test_a_wished_provider_comes_first() -> None:
    assert ids(Wishes("gpt-4o", provider="azure")) == [2, 1]


def test_a_route_name_wins_over_a_model_name() -> None:
    assert ids(Wishes("gpt-4o"), routes=(route("gpt-4o", (4, 1, 1)),)) == [4]


def test_a_model_name_may_contain_a_slash() -> None:
    assert ids(Wishes("meta/llama")) == [5]
    assert ids(Wishes("azure/meta/llama")) == [5]


@pytest.mark.parametrize("name", ["GPT-4o", "gpt-4o ", "gpt-4о", "openai/gpt-4o/", "openai/claude-sonnet", "nobody/gpt-4o", ""])
def test_B12_near_misses_reach_nothing(name) -> None:
    with pytest.raises(ModelUnknown):
        ids(Wishes(name))


def test_an_unknown_name_is_answered_with_the_nearest_names() -> None:
    with pytest.raises(ModelUnknown) as unknown:
        ids(Wishes("gpt-4"))
    assert unknown.value.nearest[:2] == ("gpt-4o", "gpt-4o-mini")


def test_B09_nearest_names_give_away_only_what_the_caller_may_use() -> None:
    with pytest.raises(ModelUnknown) as unknown:
        ids(Wishes("gpt-4", allowed_models=NameList.of({"claude-sonnet", "gpt-4o-mini"})))
    assert unknown.value.nearest == ("gpt-4o-mini",)


@pytest.mark.parametrize("provider", ["anthropic", "nobody"])
def test_a_provider_without_the_model_is_unknown_rather_than_replaced(provider) -> None:
    with pytest.raises(ModelUnknown) as unknown:
        ids(Wishes("gpt-4o", provider=provider))
    assert unknown.value.name == f"{provider}/gpt-4o"


def test_names_for_lists_routes_then_models_with_their_owners() -> None:
    listed = names_for(snapshot(routes=(route("fast", (3, 1, 1)),)), None)
    assert listed == (
        ("fast", "gateway"),
        ("claude-sonnet", "anthropic"),
        ("gpt-4o", "openai"),
        ("gpt-4o-mini", "openai"),
        ("meta/llama", "azure"),
    )
    assert names_for(snapshot(), NameList.of({"gpt-4o"})) == (("gpt-4o", "openai"),)


# --------------------------------------------------------------------------- auto


def test_auto_takes_wishes_in_their_order_then_everything_by_priority() -> None:
    wishes = Wishes(preferred=((None, "claude-sonnet"), ("azure", "gpt-4o")))
    assert ids(wishes) == [4, 2, 1, 3, 5]


def test_auto_takes_the_route_named_auto_before_everything_else() -> None:
    assert ids(Wishes(), routes=(route("auto", (5, 2, 1), (4, 1, 1)),)) == [4, 5, 1, 3, 2]
    assert ids(Wishes(), routes=(route("default", (4, 1, 1)),))[0] == 4


def test_auto_wishes_may_name_a_route() -> None:
    wishes = Wishes(preferred=((None, "smart"), (None, "gpt-4o-mini")))
    assert ids(wishes, routes=(route("smart", (4, 1, 1)),))[:2] == [4, 3]


def test_auto_leaves_out_deployments_that_do_not_chat() -> None:
    embedder = rig.target(OPENAI, id=9, name="embed", capabilities=frozenset({Capability.EMBEDDINGS}))
    assert ids(Wishes(), GPT, embedder) == [1]


def test_auto_with_a_provider_stays_with_it_and_its_models() -> None:
    assert ids(Wishes(provider="azure")) == [2, 5, 1]
    assert ids(Wishes(provider="azure", allow_fallback=False)) == [2, 5]


def test_a_wish_that_no_longer_exists_is_passed_over() -> None:
    assert ids(Wishes(preferred=((None, "gone"), (None, "claude-sonnet"))))[0] == 4


# --------------------------------------------------------------------------- order


def test_a_preference_moves_a_deployment_to_the_front_of_its_pool() -> None:
    assert ids(Wishes("gpt-4o", preferred=(("azure", "gpt-4o"),))) == [2, 1]


def test_the_priority_policy_ignores_preferences() -> None:
    assert ids(Wishes("gpt-4o", preferred=(("azure", "gpt-4o"),), policy=Policy.PRIORITY)) == [1, 2]


def test_priorities_and_weights_of_a_route_win_over_those_of_providers() -> None:
    choices = ((1, 5, 1), (4, 1, 1), (2, 5, 9))
    assert ids(Wishes("fast"), routes=(route("fast", *choices),)) == [4, 2, 1]


def test_equal_places_are_ordered_by_address_so_the_order_is_stable() -> None:
    same = [rig.target(replace(OPENAI, id=i, slug=slug), id=i, name="m") for i, slug in ((1, "c"), (2, "a"), (3, "b"))]
    assert ids(Wishes("m"), *same) == [2, 3, 1]


def test_the_cost_policy_takes_the_cheapest_for_this_request() -> None:
    assert ids(Wishes(policy=Policy.COST)) == [3, 5, 4, 2, 1]


def test_cost_counts_input_output_and_the_fee_per_request() -> None:
    cheap_input = rig.target(OPENAI, id=1, price=PriceCard(id=1, input_nano_per_mtok=1 * 10**9, output_nano_per_mtok=50 * 10**9))
    cheap_output = rig.target(AZURE, id=2, price=PriceCard(id=2, input_nano_per_mtok=20 * 10**9, output_nano_per_mtok=1 * 10**9))
    fee = rig.target(ANTHROPIC, id=3, price=PriceCard(id=3, input_nano_per_mtok=0, output_nano_per_mtok=0, request_nano=10**9))
    short, long = rig.chat_request(body_bytes=100), rig.chat_request(body_bytes=30_000, max_output_tokens=10)
    assert ids(Wishes("gpt-4o", policy=Policy.COST), cheap_input, cheap_output, fee, request=short) == [2, 1, 3]
    assert ids(Wishes("gpt-4o", policy=Policy.COST), cheap_input, cheap_output, fee, request=long) == [1, 2, 3]


def test_the_policy_of_the_request_wins_over_the_routes_and_that_over_the_global_one() -> None:
    routes = (route("fast", (1, 1, 1), (3, 2, 1), policy=Policy.COST),)
    assert plan(snapshot(routes=routes), rig.chat_request(), Wishes("fast")).policy is Policy.COST
    assert plan(snapshot(routes=routes), rig.chat_request(), Wishes("fast", policy=Policy.PRIORITY)).policy is Policy.PRIORITY
    assert plan(snapshot(policy=Policy.PRIORITY), rig.chat_request(), Wishes("gpt-4o")).policy is Policy.PRIORITY


# --------------------------------------------------------------------------- filters


def skipped(made) -> dict[str, str]:
    return {one.address: one.reason for one in made.skipped}


def test_a_name_that_is_not_allowed_is_refused_as_such() -> None:
    with pytest.raises(ModelNotAllowed):
        ids(Wishes("gpt-4o", allowed_models=NameList.of({"claude-sonnet"})))


def test_forbidden_targets_of_a_route_are_skipped() -> None:
    routes = (route("fast", (1, 1, 1), (4, 2, 1)),)
    made = plan(snapshot(routes=routes), rig.chat_request(), Wishes("fast", allowed_models=NameList.of({"claude-sonnet"})))
    assert (order(made), skipped(made)) == ([4], {"openai/gpt-4o": "not_allowed"})


@pytest.mark.parametrize("allowed", ["fast", "openai/gpt-4o"])
def test_a_route_or_an_address_may_be_allowed_by_name(allowed) -> None:
    assert ids(Wishes("fast", allowed_models=NameList.of({allowed})), routes=(route("fast", (1, 1, 1)),)) == [1]


def test_an_allowed_route_does_not_allow_its_models_by_their_own_names() -> None:
    with pytest.raises(ModelNotAllowed):
        ids(Wishes("gpt-4o", allowed_models=NameList.of({"fast"})), routes=(route("fast", (1, 1, 1)),))


def test_a_missing_capability_is_named() -> None:
    blind = replace(GPT, capabilities=frozenset({Capability.CHAT}))
    request = rig.chat_request(messages=(Message(Role.USER, (ImagePart(url="https://x/y.png"),)),), stream=True)
    made = plan(snapshot(blind, GPT_AZURE), request, Wishes("gpt-4o"))
    assert order(made) == [2]
    assert (made.skipped[0].reason, made.skipped[0].detail) == ("no_capability", "cannot do stream, vision")


def test_M07_an_unpriced_target_is_skipped_and_an_explicit_zero_is_a_price() -> None:
    unpriced, free = replace(GPT, price=None), replace(GPT_AZURE, price=PriceCard(id=1, input_nano_per_mtok=0, output_nano_per_mtok=0))
    made = plan(snapshot(unpriced, free), rig.chat_request(), Wishes("gpt-4o"))
    assert (order(made), skipped(made)) == ([2], {"openai/gpt-4o": "unpriced"})


def test_a_provider_without_its_key_is_skipped_unless_it_needs_none() -> None:
    keyless = replace(GPT, provider=replace(OPENAI, credentials=()))
    local = replace(GPT_AZURE, provider=replace(AZURE, credentials=(), needs_credential=False))
    made = plan(snapshot(keyless, local), rig.chat_request(), Wishes("gpt-4o"))
    assert (order(made), skipped(made)) == ([2], {"openai/gpt-4o": "no_credential"})


def test_an_open_circuit_is_skipped_with_its_wait() -> None:
    made = plan(snapshot(), rig.chat_request(), Wishes("gpt-4o"), lambda target_id: 42.0 if target_id == 1 else None)
    assert order(made) == [2]
    assert (made.skipped[0].reason, "42 s" in made.skipped[0].detail) == ("circuit_open", True)


def ill(one: Target) -> Target:
    return replace(one, provider=replace(one.provider, health=HealthStatus.RED))


def test_unhealthy_targets_are_skipped_while_others_are_left() -> None:
    made = plan(snapshot(ill(GPT), GPT_AZURE), rig.chat_request(), Wishes("gpt-4o"))
    assert (order(made), skipped(made)) == ([2], {"openai/gpt-4o": "unhealthy"})


def test_U18_when_all_are_unhealthy_health_is_ignored_and_that_is_said() -> None:
    made = plan(snapshot(ill(GPT), ill(GPT_AZURE)), rig.chat_request(), Wishes("gpt-4o"))
    assert order(made) == [1, 2]
    assert "health was ignored" in made.why


def test_when_nothing_is_left_the_plan_is_empty_and_says_why() -> None:
    made = plan(snapshot(replace(GPT, price=None)), rig.chat_request(), Wishes("gpt-4o"))
    assert made.targets == ()
    assert made.why == "No target can take this request now."


def words(count: int) -> tuple[Message, ...]:
    return (Message(Role.USER, (TextPart("extraordinarily " * count),)),)


def test_a_window_that_is_certainly_too_small_is_skipped_if_a_larger_one_is_there() -> None:
    small, large = replace(GPT, context_window_tokens=100), replace(GPT_AZURE, context_window_tokens=100_000)
    made = plan(snapshot(small, large), rig.chat_request(messages=words(200), body_bytes=4000), Wishes("gpt-4o"))
    assert (order(made), skipped(made)) == ([2], {"openai/gpt-4o": "context_too_small"})


@pytest.mark.parametrize(
    "messages",
    [
        (Message(Role.USER, (TextPart("short"), ImagePart(data="A" * 4000, media_type="image/png"))),),
        (Message(Role.USER, (TextPart(" " * 4000),)),),
    ],
    ids=["image", "blanks"],
)
def test_bytes_that_are_no_text_exclude_nothing(messages) -> None:
    small = replace(GPT, context_window_tokens=100)
    assert ids(Wishes("gpt-4o"), small, GPT_AZURE, request=rig.chat_request(messages=messages, body_bytes=4100)) == [1, 2]


def test_the_only_window_is_tried_however_small() -> None:
    small = replace(GPT, context_window_tokens=100)
    assert ids(Wishes("gpt-4o"), small, request=rig.chat_request(messages=words(200), body_bytes=4000)) == [1]


@pytest.mark.parametrize(
    ("wishes", "why"),
    [
        (Wishes("claude-sonnet"), "anthropic/claude-sonnet is the only target."),
        (Wishes("azure/gpt-4o"), "azure/gpt-4o was asked for by name; 1 fall-back behind it."),
        (Wishes("gpt-4o"), "openai/gpt-4o has the highest priority; 1 fall-back behind it."),
        (Wishes(preferred=((None, "claude-sonnet"),)), "anthropic/claude-sonnet is preferred; 4 fall-backs behind it."),
        (Wishes(policy=Policy.COST), "openai/gpt-4o-mini costs least for this request; 4 fall-backs behind it."),
    ],
)
def test_the_plan_says_why_in_one_sentence(wishes, why) -> None:
    assert plan(snapshot(), rig.chat_request(), wishes).why == why


SIMULATED = rig.target(rig.provider(id=9, slug="simulator", kind="simulator", priority=1000), id=90, name="sim-small", price=priced(1))


def test_auto_never_answers_from_the_simulator_beside_real_providers() -> None:
    assert ids(Wishes("auto"), GPT, SIMULATED) == [1]


def test_auto_is_the_simulator_while_there_is_nothing_else() -> None:
    assert ids(Wishes("auto"), SIMULATED) == [90]


def test_the_simulator_stands_in_for_its_own_models_by_name_and_for_auto() -> None:
    elsewhere = rig.target(AZURE, id=91, name="sim-small", price=priced(1))
    assert ids(Wishes("auto"), SIMULATED, elsewhere) == [91, 90]
    assert ids(Wishes("sim-small"), GPT, SIMULATED, elsewhere) == [91, 90]


def test_recommended_models_come_first_at_the_same_priority() -> None:
    assert ids(Wishes("auto"), MINI, replace(GPT, recommended=True)) == [1, 3]
