"""One exchange in, one verdict out. Whatever the file holds, it becomes a verdict."""

from __future__ import annotations

from pathlib import Path

from providers.upstream.adapters import ADAPTERS, Adapter
from tests.conformance.answers import judge_error, judge_foreign, judge_stream, judge_whole
from tests.conformance.exchange import Exchange, Malformed, files_of, read
from tests.conformance.explained import explanation_of
from tests.conformance.lists import judge_count, judge_models, judge_vectors
from tests.conformance.requests import judge_request
from tests.conformance.route import Operation, Way, way_of
from tests.conformance.verdict import Difference, Outcome, Refused, Verdict


def judge_folder(folder: Path) -> list[Verdict]:
    return [judge_file(path, folder) for path in files_of(folder)]


def judge_file(path: Path, folder: Path) -> Verdict:
    try:
        exchange = read(path, folder)
    except Malformed as error:
        return Verdict(str(path.relative_to(folder)), "?", "?", "?", Outcome.MALFORMED, difference=str(error))
    return judge(exchange)


def judge(exchange: Exchange) -> Verdict:
    way = way_of(exchange)
    is_offered = way.operation is not Operation.NOT_OFFERED
    outcome, difference, reason = Outcome.PASSED if is_offered else Outcome.NOT_OFFERED, "", ""
    try:
        if way.wire not in ADAPTERS:
            raise Difference("adapter", f"one that speaks {way.wire.value}", "none")
        _judge_answer(exchange, way, ADAPTERS[way.wire])
        reason = explanation_of(exchange, way)
        if reason:
            outcome = Outcome.EXPLAINED
        else:
            judge_request(exchange, way, ADAPTERS[way.wire])
    except Difference as found:
        outcome, difference = Outcome.FAILED, str(found)
    except Refused as refusal:
        outcome, reason = Outcome.EXPLAINED, str(refusal)
    except Exception as crash:  # noqa: BLE001 - a crash of an adapter, or of this tool, is a failure of that file and of no other
        place = crash.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place else "?"
        outcome, difference = Outcome.FAILED, f"crash: {type(crash).__name__}: {str(crash)[:200]} ({where})"
    return Verdict(
        exchange.name,
        exchange.provider or "?",
        exchange.api or "?",
        exchange.kind,
        outcome,
        is_offered,
        difference=difference,
        reason=reason,
    )


def _judge_answer(exchange: Exchange, way: Way, adapter: Adapter) -> None:
    if not exchange.is_success:
        judge_error(exchange, adapter)
        return
    match way.operation:
        case Operation.CHAT if exchange.is_stream:
            judge_stream(exchange, adapter)
        case Operation.CHAT:
            judge_whole(exchange, adapter)
        case Operation.MODELS:
            judge_models(exchange, adapter)
        case Operation.EMBEDDINGS:
            judge_vectors(exchange, way, adapter)
        case Operation.COUNT_TOKENS:
            judge_count(exchange, adapter)
        case _:
            judge_foreign(exchange, adapter)
