"""How a start is waited for: as long as its processes live and something moves, however long that takes.

A busy machine takes minutes for what a quiet one does in seconds, so no number of seconds says that a start has failed. What
says so: a process that ended, or a long time in which no awaited process used the processor or wrote to its log and
``/readyz`` said nothing new.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from aigateway.process import children, probe

LOOK_S = 0.5
FIRST_LINE_S = 5.0
LINE_PAUSE_MAX_S = 60.0
STALLED_S = 120.0
BETWEEN_LOOKS_MAX_S = 5.0
"""What is more was a pause of this process too (a suspended machine, a stopped container) and says nothing about the others."""
ASK_AGAIN_S = 30.0
"""A process that took the question and hangs is not the only one that can answer."""


class StartFailed(Exception):
    """The gateway could not start. The message is for the person at the terminal."""


class HasFileno(Protocol):
    def fileno(self) -> int: ...


Wait = Callable[[float, Sequence[HasFileno]], bool]
"""Sleeps for so many seconds or until something can be read; returns whether a stop was asked for."""


class Asker:
    """Asks ``/readyz`` until it says yes, and never waits for an answer."""

    def __init__(self, host: str, port: int) -> None:
        self.said = "/readyz has not answered yet"
        self._host = host
        self._port = port
        self._question: probe.Question | None = None
        self._asked_at = 0.0

    @property
    def pending(self) -> list[HasFileno]:
        """What becomes readable with the answer."""
        return [self._question] if self._question else []

    def is_ready(self, now: float) -> bool:
        """Reads the answer when there is one, else sees to it that there is a question."""
        if self._question and self._question.is_answered():
            ready, self.said = self._question.answer()
            self.close()
            return ready
        if self._question and now - self._asked_at > ASK_AGAIN_S:
            self.close()
        if self._question is None:
            self._ask(now)
        return False

    def close(self) -> None:
        if self._question:
            self._question.close()
            self._question = None

    def _ask(self, now: float) -> None:
        self._asked_at = now
        try:
            self._question = probe.Question(self._host, self._port)
        except OSError as error:
            self.said = f"/readyz: {error}"


class Patience:
    """When to say that a start is waited for, and when to give it up. ``now`` is monotonic, in seconds."""

    def __init__(self, now: float) -> None:
        self.waited_s = 0.0
        self.still_s = 0.0
        self._began_at = self._looked_at = now
        self._line_due_s = FIRST_LINE_S
        self._seen: object = None

    def look(self, now: float, movement: object) -> None:
        """``movement`` is equal to the one before when nothing moved in between."""
        between_s, self._looked_at = now - self._looked_at, now
        self.waited_s = now - self._began_at
        self.still_s = self.still_s + min(between_s, BETWEEN_LOOKS_MAX_S) if movement == self._seen else 0.0
        self._seen = movement

    @property
    def is_over(self) -> bool:
        return self.still_s > STALLED_S

    def is_line_due(self) -> bool:
        """True after 5 s, and again after pauses that double up to a minute."""
        if self.waited_s < self._line_due_s:
            return False
        self._line_due_s = self.waited_s + min(self.waited_s, LINE_PAUSE_MAX_S)
        return True


def await_ready(
    everybody: Sequence[children.Child],
    awaited: Sequence[children.Child],
    asker: Asker,
    wait: Wait,
    tell: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Returns when ``/readyz`` says yes or ``wait`` that a stop was asked for. Raises ``StartFailed``.

    ``awaited`` are the processes that make ``/readyz`` say yes; any of ``everybody`` may end the start by ending.
    """
    patience = Patience(clock())
    while True:
        for child in everybody:
            if child.exit_code() is not None:
                raise StartFailed(f"{child.name} ended with {child.exit_code()} while starting.\n{child.last_lines()}")
        now = clock()
        if asker.is_ready(now):
            return
        patience.look(now, (asker.said, [child.movement() for child in awaited]))
        if patience.is_over:
            raise StartFailed(_stalled(patience, awaited, asker.said))
        if patience.is_line_due():
            tell(f"Waiting for {', '.join(map(_worked, awaited))}: {asker.said} ({patience.waited_s:.0f} s).")
        if wait(LOOK_S, asker.pending):
            return


def _worked(child: children.Child) -> str:
    used_s = child.processor_s()
    return child.name if used_s is None else f"{child.name} ({used_s:.1f} s of processor time)"


def _stalled(patience: Patience, awaited: Sequence[children.Child], said: str) -> str:
    names = ", ".join(child.name for child in awaited)
    logs = "\n".join(child.last_lines() for child in awaited)
    return (
        f"not ready after {patience.waited_s:.0f} s, and nothing moved in the last {patience.still_s:.0f} s: "
        f"{names} used no processor time and logged nothing; {said}.\n{logs}"
    )
