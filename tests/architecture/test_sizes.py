"""A function fits on a screen, a file fits in a head."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from tests.architecture import source

FUNCTION_LINES_MAX = 60
FUNCTION_LINES_MEDIAN_MAX = 8
FUNCTION_LINES_P99_MAX = 40
FILE_LINES_P90_MAX = 270
FILE_LINES_MAX = 400
LONGER_FILES = {"models.py": 500, "admin.py": 500}


def _file_lines(path: Path) -> int:
    return len(path.read_text().splitlines())


@pytest.mark.parametrize("files", [source.app_files, source.test_files])
def test_no_file_is_longer_than_a_head_holds(files) -> None:
    long = {source.name(path): _file_lines(path) for path in files() if _file_lines(path) > LONGER_FILES.get(path.name, FILE_LINES_MAX)}
    assert long == {}


@pytest.mark.parametrize("files", [source.app_files, source.test_files])
def test_no_function_is_longer_than_a_screen(files) -> None:
    long = {
        f"{source.name(path)}:{function.name}": function.end_lineno - function.lineno + 1
        for path in files()
        for function in source.functions(path)
        if function.end_lineno - function.lineno + 1 > FUNCTION_LINES_MAX
    }
    assert long == {}


def test_the_usual_function_is_short() -> None:
    lengths = [function.end_lineno - function.lineno + 1 for path in source.app_files() for function in source.functions(path)]
    assert statistics.median(lengths) <= FUNCTION_LINES_MEDIAN_MAX
    assert statistics.quantiles(lengths, n=100)[-1] <= FUNCTION_LINES_P99_MAX


def test_the_usual_file_is_short() -> None:
    lengths = [_file_lines(path) for path in source.app_files()]
    assert statistics.quantiles(lengths, n=10)[-1] <= FILE_LINES_P90_MAX
