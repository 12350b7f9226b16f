"""What gives rights is written in one file, and whoever makes or changes keys says for whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.architecture import source

WRITERS = ("aigateway/access/accounts.py",)
"""The one file that gives rights. A new way of giving them is a function there, or calls one."""
FIRST_START = ("aigateway/process/bootstrap.py",)
RIGHTS = {"groups", "user_permissions", "permissions", "user_set"}
CHANGES = {"add", "set", "remove", "clear"}
RAISING = {"is_superuser", "is_staff"}
KEY_ACTIONS = {"create_api_key", "update_api_key", "revoke_api_key"}


def _calls() -> Iterator[tuple[str, ast.Call]]:
    for path in source.app_files():
        for node in ast.walk(source.tree(path)):
            if isinstance(node, ast.Call):
                yield source.name(path), node


def _gives_rights(call: ast.Call) -> bool:
    called = call.func
    if not isinstance(called, ast.Attribute):
        return False
    of_list = called.attr in CHANGES and isinstance(called.value, ast.Attribute) and called.value.attr in RIGHTS
    return of_list or called.attr == "create_superuser"


def test_C01_rights_are_given_in_one_file() -> None:
    assert {name for name, call in _calls() if _gives_rights(call)} <= {*WRITERS, *FIRST_START}


def test_C01_nobody_sets_the_marks_of_power_by_hand() -> None:
    set_by_hand = {
        source.name(path)
        for path in source.app_files()
        for node in ast.walk(source.tree(path))
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Attribute) and target.attr in RAISING
    }
    assert set_by_hand <= set(WRITERS)


def test_C01_every_write_of_a_key_names_the_actor() -> None:
    def name_of(call: ast.Call) -> str:
        return call.func.id if isinstance(call.func, ast.Name) else call.func.attr if isinstance(call.func, ast.Attribute) else ""

    without = [name for name, call in _calls() if name_of(call) in KEY_ACTIONS and "actor" not in {each.arg for each in call.keywords}]
    assert without == []
