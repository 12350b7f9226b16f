"""plan(snapshot, request, wishes): which targets may answer a request, in which order, and why the others may not."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from providers.upstream.errors import ModelNotAllowed, ModelUnknown, RoutingError
from providers.upstream.types import (
    Capability,
    ChatRequest,
    EmbeddingsRequest,
    HealthStatus,
    InferenceRequest,
    NameList,
    Plan,
    Policy,
    RouteSpec,
    Skipped,
    Snapshot,
    Target,
    TextPart,
    Wishes,
    allows,
)

__all__ = [
    "AUTO",
    "AUTO_ROUTE",
    "ModelNotAllowed",
    "ModelUnknown",
    "RoutingError",
    "is_barred",
    "names_for",
    "none_open",
    "plan",
    "with_wish",
]

AUTO = "auto"
SIMULATOR_KIND = "simulator"
AUTO_ROUTE = "default"
"""``auto`` asks for the caller's preference; a route of this name says what else that means."""
_NEAREST_MAX = 3
# No tokenizer in use averages more bytes of visible text per token than this.
_BYTES_PER_TOKEN_MAX = 8
_WIDE_BLANKS = ("\u00a0", "\u1680", *map(chr, range(0x2000, 0x200B)), "\u2028", "\u2029", "\u202f", "\u205f", "\u3000")


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A target with its place: lower ``tier`` and ``priority`` first, then the recommended, higher ``weight``, the address.

    ``wish`` is its position among the caller's wishes, lower first. ``granted`` means its route is allowed by name.
    """

    target: Target
    tier: int
    priority: int
    weight: int
    wish: int
    granted: bool


@dataclass(frozen=True, slots=True)
class _Pool:
    """What a name stands for: ``route`` when it is a route's, ``provider`` when it is an address, ``wish`` its rank as a wish."""

    targets: tuple[Target, ...]
    route: RouteSpec | None = None
    provider: str | None = None
    wish: int | None = None


def none_open(_target_id: int) -> float | None:
    return None


def plan(snapshot: Snapshot, request: InferenceRequest, wishes: Wishes, is_open: Callable[[int], float | None] = none_open) -> Plan:
    """The targets to try, best first, possibly none; everything left out is in ``skipped`` with its reason.

    ``is_open`` tells for how many seconds a target's circuit stays open. Raises ``ModelUnknown`` and ``ModelNotAllowed``.
    """
    pools = _pools(snapshot, wishes, _kind_of(request))
    policy = wishes.policy or next((pool.route.policy for pool in pools if pool.route and pool.route.policy), None)
    policy = policy or snapshot.routing.default_policy
    candidates = list(_candidates(pools, wishes))
    if not candidates:
        raise ModelUnknown(_asked_for(wishes), _nearest(snapshot, wishes))
    allowed = [candidate for candidate in candidates if _is_allowed(candidate, wishes)]
    if not allowed:
        raise ModelNotAllowed(_asked_for(wishes))
    ordered = sorted(allowed, key=lambda candidate: _ORDERS[policy](candidate, request))
    provider = wishes.provider or next((pool.provider for pool in pools if pool.provider), None)
    if provider is not None:
        ordered.sort(key=lambda candidate: candidate.target.provider.slug != provider)
    skipped = [
        Skipped(candidate.target.address, "not_allowed", "this caller may not use it")
        for candidate in candidates
        if not _is_allowed(candidate, wishes)
    ]
    targets, panic = _usable([candidate.target for candidate in ordered], request, is_open, skipped)
    return Plan(targets, tuple(skipped), policy, _why(targets, policy, provider, ordered, wished=len(wishes.preferred), panic=panic))


def names_for(snapshot: Snapshot, allowed: NameList | None, barred_tiers: frozenset[str] = frozenset()) -> tuple[tuple[str, str], ...]:
    """The names a caller may ask for with their owners, sorted: routes (owned by ``gateway``), then models (by provider).

    ``barred_tiers`` are those the caller has not subscribed to: what needs one of them is not listed.
    """
    routes = sorted(name for name, route in snapshot.routes.items() if allows(allowed, name) and _is_open(snapshot, route, barred_tiers))
    targets = sorted(snapshot.targets.values(), key=lambda target: (target.name, target.provider.priority, target.address))
    owners: dict[str, str] = {}
    for target in targets:
        if target.public_name not in routes and allows(allowed, *target.names) and not is_barred(target, barred_tiers):
            owners.setdefault(target.public_name, target.provider.slug)
    return (*((name, "gateway") for name in routes), *owners.items())


def is_barred(target: Target, barred_tiers: frozenset[str]) -> bool:
    return target.provider.preset is not None and target.provider.preset.required_tier in barred_tiers


def _is_open(snapshot: Snapshot, route: RouteSpec, barred_tiers: frozenset[str]) -> bool:
    """Whether one of its targets is within the caller's subscriptions; a route without targets waits for some."""
    targets = _route_pool(snapshot, route).targets
    return not targets or not all(is_barred(target, barred_tiers) for target in targets)


# --------------------------------------------------------------------------- names


def _kind_of(request: InferenceRequest) -> Capability:
    return Capability.EMBEDDINGS if isinstance(request, EmbeddingsRequest) else Capability.CHAT


def _pools(snapshot: Snapshot, wishes: Wishes, kind: Capability) -> list[_Pool]:
    """What the name asked for means, in tiers: exactly one pool for a name, several for ``auto``."""
    if wishes.model != AUTO:
        pool = _resolve(snapshot, wishes.model)
        alone = _named(snapshot, f"{wishes.provider}/{wishes.model}") if wishes.provider else ()
        if alone:
            pool = _Pool((*alone, *(pool.targets if pool is not None else ())))
        return [pool] if pool is not None else []
    wished = [_resolve(snapshot, name) if slug is None else _of_provider(snapshot, slug, name) for slug, name in wishes.preferred]
    routes = [_route_pool(snapshot, snapshot.routes[name]) for name in (AUTO, AUTO_ROUTE) if name in snapshot.routes][:1]
    asked_by_name = [target for target in snapshot.targets.values() if not target.address_only]
    everything = _Pool(_not_invented([target for target in asked_by_name if kind in target.capabilities]))
    pools = [_Pool(pool.targets, pool.route, wish=rank) for rank, pool in enumerate(wished) if pool is not None]
    return [*pools, *routes, everything]


def _not_invented(targets: list[Target]) -> tuple[Target, ...]:
    """Beside real providers the simulator stands in for its own models only: nobody who says ``auto`` gets invented answers."""
    real_names = {target.name for target in targets if target.provider.kind != SIMULATOR_KIND}
    return tuple(target for target in targets if not real_names or target.provider.kind != SIMULATOR_KIND or target.name in real_names)


def _resolve(snapshot: Snapshot, name: str) -> _Pool | None:
    """Route, then ``provider/model``, then model name: exact, because near misses must not reach another model."""
    route = snapshot.routes.get(name)
    if route is not None:
        return _route_pool(snapshot, route)
    slug, _, model = name.partition("/")
    addressed = [target for target in _named(snapshot, model) if target.provider.slug == slug]
    if addressed:
        return _Pool((*addressed, *(t for t in _named(snapshot, model) if t not in addressed)), provider=slug)
    named = _named(snapshot, name)
    return _Pool(named, provider=slug if named[0].address_only else None) if named else None


def _of_provider(snapshot: Snapshot, slug: str, model: str) -> _Pool | None:
    """The model at this provider only."""
    found = (*_named(snapshot, model), *_named(snapshot, f"{slug}/{model}"))
    targets = tuple(target for target in found if target.provider.slug == slug and target.name == model)
    return _Pool(targets) if targets else None


def _route_pool(snapshot: Snapshot, route: RouteSpec) -> _Pool:
    return _Pool(tuple(snapshot.targets[choice.target_id] for choice in route.choices if choice.target_id in snapshot.targets), route)


def _named(snapshot: Snapshot, name: str) -> tuple[Target, ...]:
    return tuple(snapshot.targets[i] for i in snapshot.targets_by_name.get(name, ()) if i in snapshot.targets)


def _candidates(pools: list[_Pool], wishes: Wishes) -> Iterator[_Candidate]:
    """Each target once, in its first pool. With a provider named, the others stay only as fall-backs of the same model."""
    only = wishes.provider or next((pool.provider for pool in pools if pool.provider), None)
    if only is not None:
        pools = _narrowed(pools, only, allow_fallback=wishes.allow_fallback)
    seen: set[int] = set()
    for tier, pool in enumerate(pools):
        places = {choice.target_id: choice for choice in pool.route.choices} if pool.route else {}
        for target in pool.targets:
            if target.id in seen:
                continue
            seen.add(target.id)
            place = places.get(target.id)
            yield _Candidate(
                target=target,
                tier=tier,
                priority=place.priority if place else target.provider.priority,
                weight=place.weight if place else target.provider.weight,
                wish=_wish(target, wishes) if pool.wish is None else pool.wish,
                granted=pool.route is not None and _names_allow(wishes, pool.route.name),
            )


def _narrowed(pools: list[_Pool], slug: str, *, allow_fallback: bool) -> list[_Pool]:
    """Nothing at all when the provider has none of the models: another one instead would not be what was asked for."""
    own_names = {target.name for pool in pools for target in pool.targets if target.provider.slug == slug}
    return [
        replace(pool, targets=tuple(t for t in pool.targets if t.provider.slug == slug or (allow_fallback and t.name in own_names)))
        for pool in pools
    ]


def _wish(target: Target, wishes: Wishes) -> int:
    for position, (slug, name) in enumerate(wishes.preferred):
        if name in (target.public_name if slug is None else target.name, target.address) and slug in (None, target.provider.slug):
            return position
    return len(wishes.preferred)


def _asked_for(wishes: Wishes) -> str:
    return f"{wishes.provider}/{wishes.model}" if wishes.provider else wishes.model


def _nearest(snapshot: Snapshot, wishes: Wishes) -> tuple[str, ...]:
    """Valid names that look alike; names this caller may not use are not given away."""
    targets = [target for target in snapshot.targets.values() if _names_allow(wishes, *target.names)]
    names = {target.public_name for target in targets} | {name for name in snapshot.routes if _names_allow(wishes, name)}
    if "/" in _asked_for(wishes):
        names |= {target.address for target in targets}
    return tuple(difflib.get_close_matches(_asked_for(wishes)[:200], sorted(names), n=_NEAREST_MAX, cutoff=0.4))


def _names_allow(wishes: Wishes, *names: str) -> bool:
    return allows(wishes.allowed_models, *names)


def _is_allowed(candidate: _Candidate, wishes: Wishes) -> bool:
    """By the model's own names, or because its route as a whole is allowed."""
    return candidate.granted or _names_allow(wishes, *candidate.target.names)


# --------------------------------------------------------------------------- order

_Key = tuple[int | str, ...]


def _by_priority(candidate: _Candidate, _request: InferenceRequest) -> _Key:
    return (candidate.tier, candidate.priority, not candidate.target.recommended, -candidate.weight, candidate.target.address)


def _by_preference(candidate: _Candidate, request: InferenceRequest) -> _Key:
    return (candidate.wish, *_by_priority(candidate, request))


def _by_cost(candidate: _Candidate, request: InferenceRequest) -> _Key:
    cost = _worst_cost_nano(candidate.target, request)
    return (cost is None, cost or 0, *_by_priority(candidate, request))


_ORDERS: Mapping[Policy, Callable[[_Candidate, InferenceRequest], _Key]] = {
    Policy.PRIORITY: _by_priority,
    Policy.PREFERENCE: _by_preference,
    Policy.COST: _by_cost,
}


def _worst_cost_nano(target: Target, request: InferenceRequest) -> int | None:
    """The most this request can cost there, in nano-dollars: a token is at least one byte. ``None`` without a price."""
    price = target.price
    if price is None:
        return None
    output_tokens = target.output_cap_tokens(request.max_output_tokens) * request.choices
    per_million = request.body_bytes * price.input_nano_per_mtok + output_tokens * price.output_nano_per_mtok
    return per_million // 1_000_000 + price.request_nano


# --------------------------------------------------------------------------- filters


def _usable(
    targets: Iterable[Target], request: InferenceRequest, is_open: Callable[[int], float | None], skipped: list[Skipped]
) -> tuple[tuple[Target, ...], bool]:
    """The targets that can take the call now, and whether all of them are ill (panic mode: trying beats refusing)."""
    fit: list[Target] = []
    needed = request.required_capabilities()
    for target in targets:
        reason = _unfit(target, needed, is_open)
        if reason is None:
            fit.append(target)
        else:
            skipped.append(Skipped(target.address, *reason))
    small = _too_small(fit, request)
    wide = [target for target in fit if target.id not in small]
    if wide:  # a guess never refuses a request: without a larger window the provider itself decides
        skipped += [
            Skipped(target.address, "context_too_small", f"its window holds {target.context_window_tokens} tokens")
            for target in fit
            if target.id in small
        ]
        fit = wide
    healthy = [target for target in fit if target.provider.health is not HealthStatus.RED]
    if not healthy:
        return tuple(fit), bool(fit)
    skipped += [Skipped(target.address, "unhealthy", "its last health check failed") for target in fit if target not in healthy]
    return tuple(healthy), False


def _unfit(target: Target, needed: frozenset[Capability], is_open: Callable[[int], float | None]) -> tuple[str, str] | None:
    missing = needed - target.capabilities
    if missing:
        return "no_capability", "cannot do " + ", ".join(sorted(missing))
    if target.price is None:
        return "unpriced", "nobody set a price for it"
    if target.provider.credential_locked and not target.provider.credentials:
        return "credential_locked", "its provider's key cannot be opened: it belongs to another address, or the key ring lacks its key"
    if target.provider.needs_credential and not target.provider.credentials:
        return "no_credential", "its provider has no usable key"
    wait_s = is_open(target.id)
    if wait_s is not None:
        return "circuit_open", f"it failed repeatedly and is tried again in {wait_s:.0f} s"
    return None


def _too_small(targets: Iterable[Target], request: InferenceRequest) -> set[int]:
    """The ids of targets whose window the visible text alone overflows: images are no text, and a run of blanks may be a single
    token."""
    if not isinstance(request, ChatRequest):
        return set()
    windows = {target.id: target.context_window_tokens for target in targets if target.context_window_tokens is not None}
    doubtful = {key: window for key, window in windows.items() if request.body_bytes > window * _BYTES_PER_TOKEN_MAX}
    if not doubtful:
        return set()
    texts = [part.text for message in request.messages for part in message.parts if isinstance(part, TextPart)]
    visible_bytes = _visible_bytes("".join(texts))
    return {key for key, window in doubtful.items() if visible_bytes > window * _BYTES_PER_TOKEN_MAX}


def _visible_bytes(text: str) -> int:
    """Without splitting the text: a body of short words would hold the event loop."""
    visible = len(text.encode("utf-8", "replace").translate(None, b" \t\n\r\v\f"))
    return visible if text.isascii() else visible - sum(text.count(blank) * len(blank.encode()) for blank in _WIDE_BLANKS)


# --------------------------------------------------------------------------- explanation

_REASONS: Mapping[Policy, str] = {
    Policy.PRIORITY: "has the highest priority",
    Policy.COST: "costs least for this request",
    Policy.PREFERENCE: "is preferred",
}


def _why(targets: tuple[Target, ...], policy: Policy, provider: str | None, ordered: list[_Candidate], *, wished: int, panic: bool) -> str:
    if not targets:
        return "No target can take this request now."
    first = targets[0]
    is_wished = any(candidate.target.id == first.id and candidate.wish < wished for candidate in ordered)
    if provider is not None and first.provider.slug == provider:
        reason = "was asked for by name"
    elif len(ordered) == 1:
        reason = "is the only target"
    elif policy is Policy.PREFERENCE and not is_wished:
        reason = _REASONS[Policy.PRIORITY]
    else:
        reason = _REASONS[policy]
    spare = len(targets) - 1
    others = "" if not spare else f"; {spare} fall-back{'s' if spare > 1 else ''} behind it"
    alarm = "; every target is unhealthy, so health was ignored" if panic else ""
    return f"{first.address} {reason}{others}{alarm}."


def with_wish(plan: Plan, snapshot: Snapshot, request: InferenceRequest, wishes: Wishes) -> Plan:
    """The plan that says so when the model the caller prefers is not its first target, and why."""
    wished = _most_wanted(snapshot, request, wishes, plan.policy)
    if not plan.targets or not wished or wished == plan.targets[0].address:
        return replace(plan, wished=wished) if wished else plan
    reasons = {skipped.address: skipped.detail for skipped in plan.skipped}
    unmet = f"{wished} is preferred, but {reasons.get(wished, 'it is disabled or gone')}"
    return replace(plan, wished=wished, unmet=unmet, why=f"{plan.why} {unmet}.")


def _most_wanted(snapshot: Snapshot, request: InferenceRequest, wishes: Wishes, policy: Policy) -> str:
    """The address of the first wish, where it counts: for ``auto``, and under the policy ``preference`` for a model asked for by
    its name. A provider named in the request beats it, and a wish is for chatting."""
    slug, name = wishes.preferred[0] if wishes.preferred else (None, "")
    if slug is None or policy is Policy.COST or wishes.provider is not None or _kind_of(request) is not Capability.CHAT:
        return ""
    is_meant = wishes.model == AUTO or (policy is Policy.PREFERENCE and wishes.model == name and name not in snapshot.routes)
    return f"{slug}/{name}" if is_meant else ""
