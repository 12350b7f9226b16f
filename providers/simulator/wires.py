"""What the wire formats have in common, as the server sees them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from providers.simulator.answers import Answer
from providers.simulator.catalogue import SimulatedModel
from providers.simulator.controls import Fault
from providers.simulator.questions import Question, Refusal

EVENT_STREAM = "text/event-stream; charset=utf-8"


class Event(NamedTuple):
    """One event of a stream as it is sent. ``output_tokens`` counts up to its end, reasoning apart."""

    raw: bytes
    output_tokens: int
    is_content: bool


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UsageReport:
    """How usage appears in an answer: not at all, or in a stream on every event, or in a stream twice at the end."""

    present: bool = True
    on_every_event: bool = False
    twice: bool = False


class WireFormat(Protocol):
    """One provider's way of asking and answering. No method does I/O."""

    name: str
    stream_type: str
    """Content type of a stream."""
    headers: Mapping[str, str]
    """Sent with every success."""
    padding: tuple[bytes, bytes]
    """Beginning and end of a valid event without content, with room for any number of letters between them."""

    def key_of(self, headers: Mapping[str, str]) -> str | None:
        """The credential the client presents."""

    def parse(self, body: bytes, headers: Mapping[str, str]) -> Question:
        """Raises ``Refusal``."""

    def answer_id(self, answer: Answer) -> str: ...

    def whole(self, answer: Answer, question: Question, usage: UsageReport) -> bytes: ...

    def events(self, answer: Answer, question: Question, usage: UsageReport) -> Iterator[Event]: ...

    def failure(self, fault: Fault, retry_after: str) -> ErrorAnswer:
        """The provider's own error for one of the ``http_*`` faults, ``quota`` and ``blocked``."""

    def refusal(self, refusal: Refusal) -> ErrorAnswer: ...

    def bad_key(self, key: str | None) -> ErrorAnswer: ...

    def error_in_200(self) -> tuple[bytes, bytes]:
        """An error sent with status 200: as a whole body and as a stream event."""

    def models(self, models: tuple[SimulatedModel, ...], query: Mapping[str, str]) -> bytes:
        """The list, or the page of it that ``query`` asks for. Raises ``Refusal``."""

    def model(self, model: SimulatedModel) -> bytes: ...
