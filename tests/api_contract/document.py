"""The OpenAPI document as a client gets it, and the cases schemathesis makes of it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as how
from hypothesis import strategies as st

CASES = int(os.environ.get("AIGATEWAY_TEST_CONTRACT_CASES") or 5000)
SEED = int(os.environ.get("AIGATEWAY_TEST_CONTRACT_SEED") or 7)
INFERENCE = ("/v1/", "/api/v1/ai/generate")
"""Answered by the door; all else by REST framework."""


@cache
def document() -> dict[str, Any]:
    made = SchemaGenerator(urlconf=settings.ROOT_URLCONF).get_schema(request=None, public=True)
    read: dict[str, Any] = json.loads(OpenApiJsonRenderer().render(made))
    return read


def operations(*, inference: bool) -> list[str]:
    """``GET /api/v1/ai/models`` for each operation of one of the two planes."""
    return [
        f"{method.upper()} {path}"
        for path, item in document()["paths"].items()
        if path.startswith(INFERENCE) == inference
        for method in item
    ]  # fmt: skip


def cases_of_each(*, inference: bool) -> int:
    """What one operation gets, so that both planes together have at least ``CASES``."""
    return math.ceil(CASES / sum(len(item) for item in document()["paths"].values()))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a request brings along beside what the document describes."""

    who: str
    accept: str
    repeat: str
    request_id: str


def surroundings(principals: tuple[str, ...]) -> st.SearchStrategy[Surroundings]:
    return st.builds(
        Surroundings,
        who=st.sampled_from(principals),
        accept=st.sampled_from(("", "", "application/json", "*/*", "text/html")),
        repeat=st.sampled_from(("", "", "", "once", "x" * 256)),
        request_id=st.sampled_from(("", "abc-1", "\tbad id")),
    )


def every_case(operation: Any, known: dict[str, object], principals: tuple[str, ...]) -> st.SearchStrategy[tuple[Any, Surroundings]]:
    """Positive and negative data alike, with addresses that name something in half of the cases."""
    from schemathesis import GenerationMode

    made = [operation.as_strategy(generation_mode=GenerationMode.POSITIVE, path_parameters=known or None)]
    if _can_be_wrong(operation):
        made.append(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    return st.tuples(st.one_of(made), surroundings(principals))


def _can_be_wrong(operation: Any) -> bool:
    return bool(operation.body) or any(True for _ in operation.iter_parameters())


def run(cases: st.SearchStrategy[Any], count: int, judge: Callable[[Any], None]) -> None:
    """Hands ``count`` cases to ``judge``, the same ones each time."""

    @seed(SEED)
    @how(
        max_examples=count,
        database=None,
        deadline=None,
        derandomize=False,
        phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
    )
    @given(cases)
    def hand_over(case: Any) -> None:
        judge(case)

    hand_over()


def loaded() -> Iterator[Any]:
    """The operations as schemathesis sees them."""
    import schemathesis

    schema = schemathesis.openapi.from_dict(document())
    for result in schema.get_all_operations():
        yield result.ok()
