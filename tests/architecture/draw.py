"""``python -m tests.architecture.draw`` writes the drawing of the rooms into docs/architecture.md, from the imports as they are."""

from __future__ import annotations

import textwrap

from tests.architecture import source
from tests.architecture.rooms import HALLS, Room, floors

PAGE = source.ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- drawn by tests.architecture.draw: begin -->\n", "<!-- drawn by tests.architecture.draw: end -->\n"
INDENT = 6


def drawing() -> str:
    overview = "\n\n".join(_elevation(hall) for hall in HALLS)
    return "\n".join(["```", overview, "```", "", *(_hall(hall) for hall in HALLS)])


def _elevation(hall: str) -> str:
    """The floors of a hall as lines of text, the top floor first."""
    built = floors(hall)
    width = 100 - INDENT
    lines = [line for floor in built for line in textwrap.wrap("  ".join(room.name for room in floor), width, break_on_hyphens=False)]
    return "\n".join([hall, *(" " * INDENT + line for line in lines)])


def drawn_page(page: str) -> str:
    """The page with the drawing of today. Raises ``ValueError`` when it has no place for one."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no place for the drawing")
    return f"{before}{BEGIN}\n{drawing()}\n{END}{after}"


def _hall(hall: str) -> str:
    lines = [f"### `{hall}/`", "", "| floor | room | what for |", "|---:|---|---|"]
    built = floors(hall)
    for number, floor in zip(range(len(built), 0, -1), built, strict=True):
        lines += [f"| {number} | `{_shown(room)}` | {room.purpose} |" for room in floor]
    return "\n".join([*lines, ""])


def _shown(room: Room) -> str:
    is_file = room.path.endswith(".py")
    return f"{room.name}.py" if is_file else f"{room.name}/"


if __name__ == "__main__":
    PAGE.write_text(drawn_page(PAGE.read_text()))
