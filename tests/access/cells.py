"""The cells of the matrix: what was expected, what was answered, and how many there were."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field


@dataclass
class Cells:
    counted: int = 0
    unexpected: list[str] = field(default_factory=list)

    def check(self, cell: str, answered: object, expected: object) -> None:
        self.counted += 1
        if answered != expected:
            self.unexpected.append(f"{cell}: {answered}, expected {expected}")

    def verdict(self, name: str) -> None:
        """Every cell as expected; the count is what docs/security.md tells (``pytest -s``)."""
        sys.stdout.write(f"\n{name}: {self.counted} cells, {len(self.unexpected)} unexpected\n")
        shown = "\n".join(self.unexpected[:60])
        assert not self.unexpected, f"{len(self.unexpected)} of {self.counted} cells:\n{shown}"
