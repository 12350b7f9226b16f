"""Whether this process was told to stop: readiness says so at once, and what the end of the drain cuts off says why (I18)."""

from __future__ import annotations


class Stopping:
    """Set once, by the signal, and never taken back."""

    _begun = False

    def begin(self) -> None:
        self._begun = True

    @property
    def begun(self) -> bool:
        return self._begun


PROCESS = Stopping()
