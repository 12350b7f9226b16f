"""The rooms of the house as the imports lay them: what each is for, and on which floor it stands.

A room is a file or a package directly below a hall (an app, or a package that is itself only a collection of rooms). Its floor
is one above the highest room that it imports.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.architecture import source

HALLS = (
    "aigateway",
    "aigateway/dialects",
    "usage",
    "preferences",
    "providers",
    "providers/upstream",
    "providers/upstream/adapters",
)
GATHERERS = ("admin", "apps", "asgi", "management", "tasks", "urls")
"""What only gathers, on top or at start: pages, paths, tasks and commands of all others. They come in by any file."""
NO_ROOMS = ("__init__.py", "__pycache__", "apps.py", "migrations", "static")


@dataclass(frozen=True, slots=True)
class Room:
    """``path`` is relative to the project's root: ``usage/exports`` or ``usage/money.py``."""

    path: str
    purpose: str
    imports: frozenset[str]

    @property
    def name(self) -> str:
        return Path(self.path).stem


@cache
def rooms(hall: str) -> tuple[Room, ...]:
    paths = [path for path in sorted((source.ROOT / hall).iterdir()) if _is_room(path)]
    return tuple(Room(source.name(path), _purpose(path), _imported_rooms(path, paths)) for path in paths)


def floors(hall: str) -> list[list[Room]]:
    """The top floor first. Raises ``ValueError`` where rooms import each other in a circle."""
    left = {room.path: room for room in rooms(hall)}
    built: list[list[Room]] = []
    while left:
        next_floor = [room for room in left.values() if not room.imports & set(left)]
        if not next_floor:
            raise ValueError(f"{', '.join(left)} import each other")
        built.append(next_floor)
        for room in next_floor:
            del left[room.path]
    return built[::-1]


def files(path: Path) -> Iterator[Path]:
    """The file itself, or those of a package without the rooms of halls inside it."""
    if path.is_file():
        yield path
        return
    yield from (file for file in sorted(path.rglob("*.py")) if "migrations" not in file.parts)


def _is_room(path: Path) -> bool:
    is_package = path.is_dir() and any(path.rglob("*.py"))
    return path.name not in NO_ROOMS and (is_package or path.suffix == ".py")


def _purpose(path: Path) -> str:
    """The first sentence of what the room says of itself."""
    file = path / "__init__.py" if path.is_dir() else path
    said = ast.get_docstring(source.tree(file)) if file.exists() else None
    first_paragraph = " ".join((said or "").split("\n\n")[0].split())
    sentence, stop, _ = first_paragraph.replace("``", "`").partition(". ")
    return sentence + ("." if stop else "")


def _imported_rooms(path: Path, among: list[Path]) -> frozenset[str]:
    names = {source.module(room / "__init__.py" if room.is_dir() else room): source.name(room) for room in among}
    found = set()
    for file in files(path):
        for node in source.imports(file):
            for target in source.imported_modules(node, file):
                found |= {room for module, room in names.items() if target == module or target.startswith(module + ".")}
    return frozenset(found - {source.name(path)})
