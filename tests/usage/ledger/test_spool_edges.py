"""The spool at its edges: nothing in it, little written at once, files that vanish, rows that are none. Needs no database."""

from __future__ import annotations

import fcntl
import os
import uuid
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from tests.usage.world import reserve_order, settlement
from usage.ledger.posting import closing_row
from usage.ledger.spool import SUFFIX, Spool
from usage.ledger.sql.rows import ClosingRow

pytestmark = pytest.mark.both_databases


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


def test_I17_a_file_another_process_took_over_while_this_one_opened_it_spoils_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several processes start at once after a crash: the lock is free again, but the file is gone."""
    rows = [left_behind(tmp_path, cost) for cost in (1, 2, 3)]
    second = sorted(tmp_path.iterdir())[1]
    lock = fcntl.flock

    def lock_too_late(handle: int, how: int) -> None:
        lock(handle, how)
        if second.exists() and os.fstat(handle).st_ino == second.stat().st_ino:
            second.unlink()

    monkeypatch.setattr(fcntl, "flock", lock_too_late)
    own = Spool(tmp_path, uuid.uuid4())
    assert len([each for each in own.adopt() if each in rows]) == 2
    own.release()
    assert len(Spool(tmp_path, uuid.uuid4()).adopt()) == 2


def test_I17_what_was_read_counts_though_the_file_is_gone_by_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, read = left_behind(tmp_path, 1), Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (read(path), path.unlink())[0])
    assert Spool(tmp_path, uuid.uuid4()).adopt() == [kept]


def test_I17_a_file_nobody_can_read_stays_and_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [left_behind(tmp_path, cost) for cost in (1, 2, 3)]
    second = sorted(tmp_path.iterdir())[1]
    read = Path.read_bytes

    def fail(path: Path) -> bytes:
        if path == second:
            raise OSError(5, "Input/output error")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", fail)
    with capture_logs() as said:
        assert len([each for each in Spool(tmp_path, uuid.uuid4()).adopt() if each in rows]) == 2
    assert second.exists()
    told = [each for each in said if each["log_level"] == "error"]
    assert told == [{"event": "settlements on disk could not be read", "file": second.name, "error": "OSError", "log_level": "error"}]


def left_behind(folder: Path, cost_nano: int) -> ClosingRow:
    """By a process that is dead."""
    kept = row(cost_nano)
    dead = Spool(folder, uuid.uuid4())
    dead.add([kept])
    dead.release()
    return kept


def test_what_is_taken_over_is_told_of_and_so_is_what_cannot_be(tmp_path: Path) -> None:
    left_behind(tmp_path, 1)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes() + b"torn")
    with capture_logs() as said:
        Spool(tmp_path, uuid.uuid4()).adopt()
    assert said == [
        {"event": "a torn row of a spool was left out", "file": path.name, "log_level": "warning"},
        {"event": "settlements of a dead process taken over", "count": 1, "log_level": "warning"},
    ]


def test_the_file_is_its_owners_alone_and_no_handle_of_it_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    closed: list[int] = []
    open_file, close_file = os.open, os.close
    monkeypatch.setattr(os, "open", lambda *how: opened.append(open_file(*how)) or opened[-1])
    monkeypatch.setattr(os, "close", lambda handle: (closed.append(handle), close_file(handle))[1])
    left_behind(tmp_path, 1)
    own = Spool(tmp_path, uuid.uuid4())
    own.adopt()
    (path,) = tmp_path.iterdir()
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    assert Spool(tmp_path, uuid.uuid4()).adopt() == [], "locked while its owner lives"
    path.unlink()
    own.clear()
    own.add([row()])
    own.release()
    assert sorted(opened) == sorted(closed)


def test_rows_of_a_strange_form_are_left_out(tmp_path: Path) -> None:
    (tmp_path / f"{uuid.uuid4().hex}{SUFFIX}").write_bytes(b'{"attempt_id": 1}\n\xff\xfe\n\n')
    assert Spool(tmp_path, uuid.uuid4()).adopt() == []
    assert [*tmp_path.iterdir()] == []
