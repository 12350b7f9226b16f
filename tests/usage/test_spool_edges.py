"""The spool at its edges: nothing in it, little written at once, files that vanish, rows that are none. Needs no database."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import msgspec
import pytest

from tests.usage.world import reserve_order, settlement
from usage.posting import closing_row
from usage.spool import SUFFIX, Spool
from usage.sql.rows import ClosingRow


def row(cost_nano: int = 1) -> ClosingRow:
    return closing_row(settlement(reserve_order(1), cost_nano))


def test_I17_a_spool_grows_is_emptied_and_can_be_used_again(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "spool"
    own = Spool(folder, uuid.uuid4())
    assert own.adopt() == []
    own.add([])
    assert not folder.exists()
    first, second, third = row(1), row(2), row(3)
    own.add([first])
    own.add([second])
    assert oct(folder.stat().st_mode & 0o777) == "0o700"
    assert own.adopt() == [], "what this process wrote it posts itself"
    own.clear()
    assert [*folder.iterdir()] == []
    own.clear()
    own.add([third])
    own.release()
    own.release()
    following = Spool(folder, uuid.uuid4())
    assert following.adopt() == [third]
    following.release()
    assert Spool(folder, uuid.uuid4()).adopt() == [third], "taken over means kept in the own file, until posted"
    assert len([*folder.glob(f"*{SUFFIX}")]) == 1


def test_I17_every_row_is_on_disk_before_add_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    sync, write = os.fsync, os.write
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(os.fstat(handle).st_size), sync(handle))[1])
    monkeypatch.setattr(os, "write", lambda handle, view: write(handle, bytes(view)[:7]))  # a file system that takes little at once
    own = Spool(tmp_path, uuid.uuid4())
    own.add([row(1), row(2)])
    (path,) = tmp_path.iterdir()
    assert path.read_bytes().count(b"\n") == 2
    assert len(synced) == 2, "the folder, so that the name is kept, and the file"
    assert synced[-1] == path.stat().st_size


def test_a_file_another_process_took_meanwhile_is_nothing_to_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / f"{uuid.uuid4().hex}{SUFFIX}"
    monkeypatch.setattr(Path, "glob", lambda *_: [gone])
    assert Spool(tmp_path, uuid.uuid4()).adopt() == []


def test_I17_what_a_release_without_calls_of_tools_wrote_is_taken_over(tmp_path: Path) -> None:
    told = msgspec.structs.replace(row(7), provider_tool_calls=3)
    written = msgspec.json.encode(told)
    older = msgspec.json.encode({name: value for name, value in msgspec.json.decode(written).items() if name != "provider_tool_calls"})
    (tmp_path / f"{uuid.uuid4().hex}{SUFFIX}").write_bytes(older + b"\n" + written + b"\n")
    assert Spool(tmp_path, uuid.uuid4()).adopt() == [msgspec.structs.replace(told, provider_tool_calls=None), told]


def test_rows_of_a_strange_form_are_left_out(tmp_path: Path) -> None:
    (tmp_path / f"{uuid.uuid4().hex}{SUFFIX}").write_bytes(b'{"attempt_id": 1}\n\xff\xfe\n\n')
    assert Spool(tmp_path, uuid.uuid4()).adopt() == []
    assert [*tmp_path.iterdir()] == []
