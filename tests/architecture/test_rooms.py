"""Rooms have walls: one comes in by the door, a file does not repeat the name of its room, and the page shows what is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.architecture import draw, source
from tests.architecture.rooms import GATHERERS, HALLS, Room, files, floors, rooms

WITHOUT_DOOR = ("aigateway/api", "providers/simulator")
"""Settings name what is in the first, and its parts must load alone; of the second, only its lists of models is anybody's business."""
TOUR_FILES_MAX = 10
ROOMS = [room for hall in HALLS for room in rooms(hall)]
PACKAGES = [room for room in ROOMS if not room.path.endswith(".py") and room.path not in HALLS]


def _door(room: Room) -> set[str]:
    """The names in ``__all__``, and the room's own name for whoever wants all of it."""
    for node in source.tree(source.ROOT / room.path / "__init__.py").body:
        if isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets):
            return {str(name) for name in ast.literal_eval(node.value)}
    return set()


def _burglars(room: Room, file: Path, imports: Iterable[ast.AST]) -> Iterator[str]:
    """Imports in a file outside the room that go past its door."""
    package, door = room.path.replace("/", "."), _door(room)
    for node in imports:
        if isinstance(node, ast.Import):
            yield from (f"{source.name(file)}:{node.lineno} {alias.name}" for alias in node.names if alias.name.startswith(package + "."))
        elif isinstance(node, ast.ImportFrom) and node.module == package:
            yield from (f"{source.name(file)}:{node.lineno} {alias.name}" for alias in node.names if alias.name not in door)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(package + "."):
            yield f"{source.name(file)}:{node.lineno} {node.module}"


def _gathers(file: Path) -> bool:
    """Whether a file stands directly in an app, or among its commands, to bring the rooms together."""
    parts = file.relative_to(source.ROOT).with_suffix("").parts
    return parts[1] in GATHERERS


@pytest.mark.parametrize("room", [room for room in PACKAGES if room.path not in WITHOUT_DOOR], ids=lambda room: room.path)
def test_other_rooms_come_in_by_the_door(room: Room) -> None:
    inside = set(files(source.ROOT / room.path))
    outside = (file for file in source.app_files() if file not in inside and not _gathers(file))
    assert [found for file in outside for found in _burglars(room, file, source.imports(file))] == []


def test_whoever_goes_past_a_door_is_seen() -> None:
    ledger = next(room for room in ROOMS if room.path == "usage/ledger")
    file = source.ROOT / "usage" / "rest.py"
    for line in ("import usage.ledger.posting", "from usage.ledger import posting", "from usage.ledger.posting import apply_batch"):
        assert [*_burglars(ledger, file, ast.parse(line).body)] != []
    assert [*_burglars(ledger, file, ast.parse("from usage.ledger import Ledger").body)] == []


@pytest.mark.parametrize("room", [room for room in PACKAGES if room.path not in WITHOUT_DOOR], ids=lambda room: room.path)
def test_a_room_names_its_door_and_nothing_else(room: Room) -> None:
    body = source.tree(source.ROOT / room.path / "__init__.py").body
    named = ast.Expr | ast.Import | ast.ImportFrom | ast.Assign
    assert [type(node).__name__ for node in body if not isinstance(node, named)] == []


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.path)
def test_every_room_says_in_one_line_what_it_is_for(room: Room) -> None:
    assert 15 < len(room.purpose) < 140


def test_no_file_repeats_the_name_of_its_folder() -> None:
    repeated = [
        source.name(file)
        for file in source.app_files()
        if re.match(rf"({file.parent.name}|{file.parent.name.removesuffix('s')})_", file.stem)
    ]
    assert repeated == []


def test_every_app_has_floors() -> None:
    assert [len(floors(hall)) > 1 for hall in HALLS] == [True] * len(HALLS)


def test_the_page_shows_the_rooms_as_they_are() -> None:
    """After a change: ``python -m tests.architecture.draw``."""
    page = draw.PAGE.read_text()
    assert page == draw.drawn_page(page)


def _tours() -> dict[str, list[str]]:
    """The files of each tour in the order of its steps."""
    sections = re.split(r"^## ", draw.PAGE.read_text(), flags=re.MULTILINE)
    return {
        section.splitlines()[0]: re.findall(r"^\d+\. `([\w/]+\.py)`", section, flags=re.MULTILINE)
        for section in sections
        if section.startswith("Tour")
    }


def test_the_tours_visit_ten_files_at_most_and_none_twice() -> None:
    tours = _tours()
    assert len(tours) == 2
    for visited in tours.values():
        assert 5 <= len(visited) <= TOUR_FILES_MAX
        assert len(set(visited)) == len(visited)
        assert [file for file in visited if not (source.ROOT / file).exists()] == []
