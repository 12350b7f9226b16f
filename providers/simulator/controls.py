"""How the simulator is told to misbehave: per request by a directive in the text, for everybody by its settings.

A directive is ``[sim latency_ms=200 tokens=40 fault=http_500]`` in the last user message, in ``user``, or in a value of
``metadata``. All values are bounded; an unknown or impossible one is answered with a 400 that names it.
"""

from __future__ import annotations

import random
import re
from collections import OrderedDict
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

LONGEST_MS = 600_000
LONGEST_TOKENS = 100_000
LARGEST_EVENT_BYTES = 512 * 1024 * 1024
DIRECTIVES_REMEMBERED = 10_000

_DIRECTIVE = re.compile(r"\[sim((?:\s+[a-z_]+=[^\s\]]+)+)\s*\]\s*")

Milliseconds = Annotated[int, Meta(ge=0, le=LONGEST_MS)]
Count = Annotated[int, Meta(ge=0, le=LONGEST_TOKENS)]


class Fault(StrEnum):
    """What can go wrong on demand. ``http_*``, ``quota``, ``too_long`` and ``blocked`` (the prompt offends) answer with the error
    body of the wire format in use; ``content_filter`` takes the answer away halfway."""

    HTTP_400 = "http_400"
    HTTP_401 = "http_401"
    HTTP_402 = "http_402"
    HTTP_403 = "http_403"
    HTTP_404 = "http_404"
    HTTP_429 = "http_429"
    HTTP_500 = "http_500"
    HTTP_503 = "http_503"
    HTTP_529 = "http_529"
    QUOTA = "quota"
    TOO_LONG = "too_long"
    BLOCKED = "blocked"
    CONTENT_FILTER = "content_filter"
    REFUSE = "refuse"
    RESET_BEFORE_ANSWER = "reset_before_answer"
    RESET_MID_STREAM = "reset_mid_stream"
    EOF_NO_FINISH = "eof_no_finish"
    STALL = "stall"
    SLOW_FIRST_BYTE = "slow_first_byte"
    TRUNCATED_JSON = "truncated_json"
    HTML_200 = "html_200"
    ERROR_IN_200 = "error_in_200"
    EMPTY_ANSWER = "empty_answer"
    NO_USAGE = "no_usage"
    CUMULATIVE_USAGE = "cumulative_usage"
    DOUBLED_USAGE = "doubled_usage"
    REDIRECT = "redirect"
    GZIP = "gzip"
    HUGE_EVENT = "huge_event"


class Directive(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request's wishes; ``None`` leaves it to the server's settings.

    ``latency_ms`` passes before the status line, ``first_byte_ms`` between it and the first body byte, ``chunk_ms``
    between content events. ``after`` is how many content events precede a fault in a stream. ``wait_ms`` is the length of
    ``stall`` (without it: until the client leaves) and ``slow_first_byte``. ``times`` applies the fault only to the first
    so many requests carrying this very directive. ``calls`` is how many tools are called at once; ``call_ids=0``
    calls them without ids where the wire format knows that. ``signatures=1`` refuses an earlier call that comes back without
    its signature. ``split_bytes`` writes bodies in pieces of that size, ``cut_bytes`` is where ``truncated_json`` cuts (without
    it: in the middle). ``id`` only makes a directive distinct.
    """

    latency_ms: Milliseconds | None = None
    first_byte_ms: Milliseconds | None = None
    chunk_ms: Milliseconds | None = None
    tokens: Annotated[int, Meta(ge=1, le=LONGEST_TOKENS)] | None = None
    fault: Fault | None = None
    after: Count = 3
    wait_ms: Milliseconds | None = None
    retry_after: Annotated[str, Meta(max_length=100)] = "1"
    size_bytes: Annotated[int, Meta(ge=1, le=LARGEST_EVENT_BYTES)] | None = None
    status: Annotated[int, Meta(ge=300, le=399)] = 307
    location: Annotated[str, Meta(pattern=r"^(/|http://(127\.0\.0\.1|localhost)[:/])[!-~]*$", max_length=200)] = "/elsewhere"
    times: Annotated[int, Meta(ge=1)] | None = None
    calls: Annotated[int, Meta(ge=1, le=16)] = 1
    call_ids: bool = True
    signatures: bool = False
    split_bytes: Annotated[int, Meta(ge=1, le=65_536)] | None = None
    cut_bytes: Count | None = None
    id: str | None = None


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What holds for every request that says nothing itself. ``PUT /_sim/settings`` replaces all of it.

    ``fault_rate`` is the share of requests that fail, drawn from ``faults`` by weight in an order fixed by ``seed``.
    ``after`` and ``wait_ms`` are as in a directive. For ``refuse_ms`` from now every new connection is reset as it is
    accepted; connections already open go on.
    """

    latency_ms: Milliseconds = 0
    first_byte_ms: Milliseconds = 0
    chunk_ms: Milliseconds = 0
    tokens: Annotated[int, Meta(ge=1, le=LONGEST_TOKENS)] = 32
    fault_rate: Annotated[float, Meta(ge=0, le=1)] = 0.0
    faults: dict[Fault, Annotated[int, Meta(ge=1, le=1_000_000)]] = msgspec.field(default_factory=lambda: {Fault.HTTP_500: 1})
    after: Count = 3
    wait_ms: Milliseconds | None = None
    refuse_ms: Milliseconds = 0
    seed: int = 0


class Behaviour(msgspec.Struct, frozen=True):
    """What one request gets: the directive over the settings, every value decided."""

    latency_s: float
    first_byte_s: float
    chunk_s: float
    tokens: int
    fault: Fault | None
    directive: Directive

    @property
    def after(self) -> int:
        return self.directive.after

    @property
    def wait_s(self) -> float | None:
        return None if self.directive.wait_ms is None else self.directive.wait_ms / 1000


class InvalidDirective(ValueError):
    """The directive cannot be obeyed; the message says which part and why."""


def find_directive(text: str) -> tuple[str, str]:
    """The words of the first directive in ``text`` (empty without one), and the text without it."""
    if "[sim " not in text:
        return "", text
    found = _DIRECTIVE.search(text)
    return (found[1].strip(), text[: found.start()] + text[found.end() :]) if found else ("", text)


def parse_directive(words: str) -> Directive:
    try:
        return msgspec.convert(dict(word.split("=", 1) for word in words.split()), Directive, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidDirective(f"Cannot obey [sim {words}]: {error}") from error


class Controls:
    """The server's settings, and the order in which random faults come."""

    def __init__(self, settings: Settings) -> None:
        self._seen: OrderedDict[str, int] = OrderedDict()
        self.settings = settings

    @property
    def settings(self) -> Settings:
        return self._settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self._settings = settings
        self._random = random.Random(settings.seed)  # noqa: S311 - repeatable on purpose
        self._plain = Behaviour(
            settings.latency_ms / 1000, settings.first_byte_ms / 1000, settings.chunk_ms / 1000, settings.tokens, None,
            Directive(after=settings.after, wait_ms=settings.wait_ms),
        )  # fmt: skip

    def behaviour(self, words: str) -> Behaviour:
        """What a request with this directive gets. Raises ``InvalidDirective``."""
        if words:
            return self._directed(words, parse_directive(words))
        if self._settings.fault_rate and self._random.random() < self._settings.fault_rate:
            faults = self._settings.faults
            return msgspec.structs.replace(self._plain, fault=self._random.choices(list(faults), list(faults.values()))[0])
        return self._plain

    def _directed(self, words: str, directive: Directive) -> Behaviour:
        settings = self._settings
        return Behaviour(
            latency_s=_first(directive.latency_ms, settings.latency_ms) / 1000,
            first_byte_s=_first(directive.first_byte_ms, settings.first_byte_ms) / 1000,
            chunk_s=_first(directive.chunk_ms, settings.chunk_ms) / 1000,
            tokens=_first(directive.tokens, settings.tokens),
            fault=directive.fault if self._still_applies(words, directive) else None,
            directive=directive,
        )

    def _still_applies(self, words: str, directive: Directive) -> bool:
        if directive.times is None:
            return True
        seen = self._seen.pop(words, 0)
        self._seen[words] = seen + 1
        if len(self._seen) > DIRECTIVES_REMEMBERED:
            self._seen.popitem(last=False)
        return seen < directive.times


def _first(wish: int | None, default: int) -> int:
    return default if wish is None else wish
