"""Every wire format has a room, and all rooms have the same files: who knows one knows all."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path

import pytest

from aigateway.dialects.base import Dialect
from providers.upstream.adapters import ADAPTERS
from providers.upstream.adapters.base import Adapter, StreamParser
from tests.architecture import source

ADAPTERS_ROOT = source.ROOT / "providers/upstream/adapters"
DIALECTS_ROOT = source.ROOT / "aigateway/dialects"

ADAPTER_FILES: Mapping[str, str] = {
    "adapter": "the Adapter class: paths and headers of every call, and which file does the rest",
    "answer": "a whole answer -> the canonical one, and what it shares with the events of a stream",
    "embeddings": "both ways of an embeddings call",
    "errors": "what this service's errors mean beyond the common rules",
    "message": "what answers and streams share, where it is too much for answer",
    "models": "a model list -> what it says about each model",
    "profiles": "what services that speak this wire do differently, as data",
    "request": "the canonical request -> a body, refusing what the wire cannot say",
    "schema": "JSON schemas as this wire takes them",
    "stream": "the events of a stream -> canonical deltas",
    "templates": "turns as one prompt, by family of models",
    "turns": "the turns of a conversation, where they are too much for request",
    "usage": "reported counts -> disjoint buckets",
    "variants": "a body -> the variant of it that one service takes",
}
ADAPTER_ALWAYS = {"adapter", "answer", "request", "stream", "usage"}

DIALECT_FILES: Mapping[str, str] = {
    "answer": "a canonical answer and its usage -> this format's objects",
    "dialect": "the Dialect classes, one for each operation",
    "embeddings": "a body that asks for vectors -> the canonical request",
    "errors": "a refusal as this format's clients expect it",
    "extras": "fields beyond the canonical request, and what each means for a translation",
    "listing": "what a caller may ask for, as this format's clients list it",
    "mistral": "what Mistral's clients read otherwise in OpenAI's chat",
    "request": "a client's body -> the canonical request",
    "shapes": "what clients send, as types",
    "stream": "canonical deltas -> this format's events",
    "turns": "the turns of a client's conversation -> canonical ones",
}
DIALECT_ALWAYS = {"answer", "dialect", "request", "shapes", "stream", "turns"}


def _rooms(root: Path) -> list[Path]:
    return sorted(door.parent for door in root.glob("*/__init__.py"))


ADAPTER_ROOMS, DIALECT_ROOMS = _rooms(ADAPTERS_ROOT), _rooms(DIALECTS_ROOT)
in_every_room = pytest.mark.parametrize("room", [*ADAPTER_ROOMS, *DIALECT_ROOMS], ids=source.name)


def _files(room: Path) -> set[str]:
    return {path.relative_to(room).with_suffix("").as_posix() for path in room.rglob("*.py")} - {"__init__"}


def test_every_adapter_comes_out_of_a_room_of_its_own() -> None:
    rooms = [type(adapter).__module__.split(".")[-2] for adapter in ADAPTERS.values()]
    assert sorted(rooms) == [room.name for room in ADAPTER_ROOMS]


@pytest.mark.parametrize(
    ("rooms", "always", "known"),
    [(ADAPTER_ROOMS, ADAPTER_ALWAYS, ADAPTER_FILES), (DIALECT_ROOMS, DIALECT_ALWAYS, DIALECT_FILES)],
    ids=["adapters", "dialects"],
)
def test_every_room_has_the_same_files(rooms: list[Path], always: set[str], known: Mapping[str, str]) -> None:
    missing = {room.name: always - _files(room) for room in rooms}
    strange = {room.name: _files(room) - set(known) for room in rooms}
    assert {name: files for name, files in missing.items() if files} == {}
    assert {name: files for name, files in strange.items() if files} == {}, "say in the list above what such a file is"
    assert set().union(*map(_files, rooms)) == set(known), "the list names no file that no room has"


@in_every_room
def test_a_door_names_what_other_rooms_import_and_does_nothing_else(room: Path) -> None:
    door = room / "__init__.py"
    body = source.tree(door).body[1:]  # after the docstring
    imported = [name for node in body for name in source.imported_modules(node, door) if name != "__future__"]
    assert [name for name in imported if not name.startswith(f"{source.module(door)}.")] == []
    rest = [node for node in body if not isinstance(node, ast.ImportFrom)]
    assert [ast.unparse(node).partition(" = ")[0] for node in rest] == ["__all__"]


@in_every_room
def test_the_file_that_says_who_does_what_holds_classes_alone(room: Path) -> None:
    """``adapter.py`` and ``dialect.py`` say which file does what: no function stands in them."""
    head = room / ("adapter.py" if room in ADAPTER_ROOMS else "dialect.py")
    loose = [node.name for node in source.tree(head).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert loose == []
    assert any(isinstance(node, ast.ClassDef) for node in source.tree(head).body)


def test_the_order_inside_of_a_room_is_a_contract_for_every_room() -> None:
    contracts = tomllib.loads((source.ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    ordered = {container for contract in contracts for container in contract.get("containers", ()) if contract.get("exhaustive")}
    assert {source.module(room / "__init__.py") for room in (*ADAPTER_ROOMS, *DIALECT_ROOMS)} - ordered == set()


def _heirs(base: type) -> Iterator[type]:
    for heir in base.__subclasses__():
        yield heir
        yield from _heirs(heir)


@pytest.mark.parametrize(
    ("base", "file", "rooms"),
    [(Adapter, "adapter", ADAPTER_ROOMS), (StreamParser, "stream", ADAPTER_ROOMS), (Dialect, "dialect", DIALECT_ROOMS)],
    ids=["adapters", "stream parsers", "dialects"],
)
def test_every_class_of_a_kind_stands_in_the_file_of_that_name(base: type, file: str, rooms: list[Path]) -> None:
    modules = [source.module(path) for room in rooms for path in sorted(room.rglob("*.py"))]
    for module in modules:
        import_module(module)
    found = {heir.__module__ for heir in _heirs(base)} & set(modules)
    assert sorted(found) == [source.module(room / f"{file}.py") for room in rooms]
