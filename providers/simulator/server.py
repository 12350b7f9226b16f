"""The simulator's HTTP side: routes, keys, settings, and the doors to bill and journal."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from providers.simulator.answers import Answer, answer, emptied, filtered, without_call_ids
from providers.simulator.bill import Bill, as_csv
from providers.simulator.catalogue import MODELS, MODELS_BY_NAME
from providers.simulator.controls import Behaviour, Controls, Fault, InvalidDirective, Settings
from providers.simulator.delivery import Exchange, Written, reset
from providers.simulator.journal import Entry, Journal
from providers.simulator.questions import Refusal, UnknownModel, decode_object
from providers.simulator.routes import OPENAI, Route, Routes, wire_of
from providers.simulator.routes import Door as Asked
from providers.simulator.schemas import InvalidSchema
from providers.simulator.wires import ErrorAnswer, WireFormat

BODY_BYTES_MAX = 32 * 1024 * 1024
KEEPALIVE_S = 300.0
LONGEST_WAIT_S = 60.0
REQUEST_ID_CHARACTERS = 200

Door = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def fingerprint(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:12]


class Simulator(web.Server):
    """Answers requests; ``controls``, ``bill`` and ``journal`` may be used directly by code in the same event loop."""

    def __init__(self, settings: Settings, bill: Bill, require_key: str | None = None) -> None:
        super().__init__(
            self.respond,
            request_factory=self._request,
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=KEEPALIVE_S,
            lingering_time=0,
        )
        self.controls = Controls(settings)
        self.bill = bill
        self.journal = Journal()
        self._require_key = require_key
        self._routes = Routes()
        self._refuse_until_s = 0.0
        self._numbers: dict[RequestHandler, int] = {}
        self._doors: dict[tuple[str, str], Door] = {
            ("POST", "/v1/chat/completions"): self._chat,
            ("GET", "/healthz"): self._healthz,
            ("GET", "/_sim/settings"): self._show_settings,
            ("PUT", "/_sim/settings"): self._replace_settings,
            ("GET", "/_sim/bill"): self._show_bill,
            ("GET", "/_sim/bill.csv"): self._show_bill_csv,
            ("DELETE", "/_sim/bill"): self._clear_bill,
            ("GET", "/_sim/journal"): self._show_journal,
            ("DELETE", "/_sim/journal"): self._clear_journal,
        }

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        door = self._doors.get((request.method, request.path))
        if door is not None:
            return await door(request)
        route = self._routes.find(request.method, request.path, request.query, request.headers)
        if route is None:
            return self._nothing_here(request)
        return await self._infer(request, route.wire) if route.door is Asked.INFER else await self._list(request, route)

    # ------------------------------------------------------------------ connections

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._numbers[handler] = self.journal.connected()
        if self._refuse_until_s > time.monotonic():
            reset(transport)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self.journal.disconnected(self._numbers.pop(handler))

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        return web.BaseRequest(message, payload, protocol, writer, task, self._loop, client_max_size=BODY_BYTES_MAX)

    # ------------------------------------------------------------------ inference

    async def _chat(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._infer(request, OPENAI)

    async def _infer(self, request: web.BaseRequest, wire: WireFormat) -> web.StreamResponse:
        headers = request.headers
        request_id = (headers.get("x-client-request-id") or headers.get("x-request-id") or "")[:REQUEST_ID_CHARACTERS]
        entry = self.journal.open(self._numbers.get(request.protocol, 0), request.path, request_id, time.time())
        key = wire.key_of(headers)
        if not self._accepts(key):
            return self._refused(entry, wire.bad_key(key))
        body = await request.read()
        try:
            exchange = self._exchange(request, wire, body, entry, fingerprint(key) if key else "")
        except Refusal as refusal:
            return self._refused(entry, wire.refusal(refusal))
        except (InvalidDirective, InvalidSchema) as error:
            return self._refused(entry, wire.refusal(Refusal(str(error), code="invalid_value")))
        return await exchange.deliver()

    def _exchange(self, request: web.BaseRequest, wire: WireFormat, body: bytes, entry: Entry, key: str) -> Exchange:
        question = wire.parse(body, request.headers)
        behaviour = self.controls.behaviour(question.directive)
        said = answer(question, behaviour.tokens, self.controls.settings.seed, behaviour.directive.calls)
        if behaviour.directive.signatures and question.has_unsigned_calls:
            raise Refusal("Function call is missing a thought_signature in functionCall parts.")
        said = _altered(said, behaviour)
        entry.id, entry.model, entry.stream = wire.answer_id(said), question.model.name, question.stream
        entry.fault = behaviour.fault or ""
        return Exchange(request, wire, question, behaviour, said, self.bill, self.journal, entry, key, Written())

    def _refused(self, entry: Entry, error: ErrorAnswer) -> web.Response:
        self.journal.finish(entry, "refused", error.status)
        return _error(error)

    def _accepts(self, key: str | None) -> bool:
        """Any key and none, as a local server does, unless one is required."""
        if self._require_key is None:
            return True
        return hmac.compare_digest((key or "").encode(), self._require_key.encode())

    # ------------------------------------------------------------------ models

    async def _list(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        """The list of models or one of them; the body of ``/api/show`` names it."""
        wire = route.wire
        key = wire.key_of(request.headers)
        if not self._accepts(key):
            return _error(wire.bad_key(key))
        try:
            if route.door is Asked.MODELS:
                return _json(wire.models(MODELS, request.query))
            name = route.model if route.door is Asked.MODEL else str(decode_object(await request.read()).get("model", ""))
            model = MODELS_BY_NAME.get(name)
            if model is None:
                raise UnknownModel(name, param="model")
            return _json(wire.model(model))
        except Refusal as refusal:
            return _error(wire.refusal(refusal))

    # ------------------------------------------------------------------ control

    async def _healthz(self, request: web.BaseRequest) -> web.StreamResponse:  # noqa: ARG002
        return _json(b'{"status":"ok"}')

    async def _show_settings(self, request: web.BaseRequest) -> web.StreamResponse:  # noqa: ARG002
        return _json(msgspec.json.encode(self.controls.settings))

    async def _replace_settings(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            settings = msgspec.json.decode(await request.read(), type=Settings)
        except msgspec.DecodeError as error:
            return _error(ErrorAnswer(400, msgspec.json.encode({"error": str(error)}), {"content-type": "application/json"}))
        self.configure(settings)
        return _json(msgspec.json.encode(settings))

    def configure(self, settings: Settings) -> None:
        self.controls.settings = settings
        self._refuse_until_s = time.monotonic() + settings.refuse_ms / 1000

    async def _show_bill(self, request: web.BaseRequest) -> web.StreamResponse:
        """``since`` (seconds since 1970) leaves out older lines; ``lines`` waits, at most ``wait_s``, until there are so many."""
        since_s, wanted = _number(request, "since"), _number(request, "lines")
        await _until(self.bill.grown, lambda: len(self.bill.lines(since_s)) >= wanted, _number(request, "wait_s"))
        return _json(msgspec.json.encode({"lines": self.bill.lines(since_s)}))

    async def _show_bill_csv(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text=as_csv(self.bill.lines(_number(request, "since"))), content_type="text/csv")

    async def _clear_bill(self, request: web.BaseRequest) -> web.StreamResponse:  # noqa: ARG002
        self.bill.clear()
        return web.Response(status=204)

    async def _show_journal(self, request: web.BaseRequest) -> web.StreamResponse:
        """``finished`` waits, at most ``wait_s``, until so many requests have ended."""
        wanted = _number(request, "finished")
        await _until(self.journal.grown, lambda: self.journal.finished >= wanted, _number(request, "wait_s"))
        return _json(msgspec.json.encode(self.journal.snapshot()))

    async def _clear_journal(self, request: web.BaseRequest) -> web.StreamResponse:  # noqa: ARG002
        self.journal.clear()
        return web.Response(status=204)

    def _nothing_here(self, request: web.BaseRequest) -> web.StreamResponse:
        wire = wire_of(request.headers)
        nowhere = Refusal(f"Invalid URL ({request.method} {request.path})")
        nowhere.status = 404
        return _error(wire.refusal(nowhere))


def _altered(said: Answer, behaviour: Behaviour) -> Answer:
    """The answer as the directive wants it."""
    if behaviour.fault is Fault.EMPTY_ANSWER:
        return emptied(said)
    if behaviour.fault is Fault.CONTENT_FILTER:
        return filtered(said)
    return said if behaviour.directive.call_ids else without_call_ids(said)


def _number(request: web.BaseRequest, name: str) -> float:
    """A number of the query string; 0 when it is missing or none."""
    try:
        return float(request.query.get(name, 0))
    except ValueError:
        return 0.0


async def _until(grown: asyncio.Event, is_enough: Callable[[], bool], wait_s: float) -> None:
    """Waits for ``is_enough``, looked at whenever ``grown`` is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(min(wait_s, LONGEST_WAIT_S)):
            while not is_enough():
                grown.clear()
                await grown.wait()


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, headers={"content-type": "application/json"})


def _error(error: ErrorAnswer) -> web.Response:
    return web.Response(status=error.status, body=error.body, headers=error.headers)
