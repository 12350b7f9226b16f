"""CPU time of a process and everything it started, read from /proc."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def tree_cpu_s(pid: int) -> float:
    """User and system seconds of ``pid``, its living descendants, and the dead ones they waited for.

    Living threads are read from ``schedstat`` (nanoseconds) where the kernel has it, else in ticks of ``stat``.
    """
    return sum(_process_cpu_s(each) for each in [pid, *descendants(pid)])


def descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields:
                children[int(fields[1])].append(int(entry.name))
    found: list[int] = []
    queue = [pid]
    while queue:
        queue += children[queue.pop()]
        found += [each for each in queue if each not in found]
    return found


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def _process_cpu_s(pid: int) -> float:
    fields = _stat(pid)
    if not fields:
        return 0.0
    waited_for_s = (int(fields[13]) + int(fields[14])) / TICKS_PER_S
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        own_s = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except OSError:
        own_s = (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    return own_s + waited_for_s


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on (state, ppid, ...); empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
