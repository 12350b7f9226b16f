"""Whether this process was told to end: readiness says so at once, and what the end of the drain cuts off says why (I18)."""

from __future__ import annotations


class Stopping:
    """Set once, by a signal, and never taken back. ``replaced``: another process has taken its place, so the gateway stays ready."""

    _begun = False
    replaced = False

    def begin(self, *, replaced: bool = False) -> None:
        self.replaced = self.replaced or (replaced and not self._begun)
        self._begun = True

    @property
    def begun(self) -> bool:
        return self._begun


PROCESS = Stopping()
