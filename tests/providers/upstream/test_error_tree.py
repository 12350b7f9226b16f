"""The tree of errors above the classes is drawn from them. After a change: ``python -m tests.providers.upstream.test_error_tree``."""

from __future__ import annotations

from pathlib import Path

from providers.upstream import errors

COLUMNS = (
    ("again", "retry_same"),
    ("next", "fail_over"),
    ("breaker", "trips_breaker"),
    ("billed", "may_have_billed"),
    ("key", "ejects_credential"),
)
NAME_WIDTH = 26
BEGIN, END = "::\n\n", '\n"""'


def tree() -> str:
    """One line a class in the order of the file: whose move it is, and its answers of yes."""
    head = "    " + " " * NAME_WIDTH + "whose move  " + "  ".join(title for title, _ in COLUMNS)
    return "\n".join([head, *_branch(errors.UpstreamError, 0), *_names(errors.RoutingError, 0)])


def _branch(error: type[errors.UpstreamError], depth: int) -> list[str]:
    marks = "  ".join(("x" if getattr(error, name) else "").ljust(len(title)) for title, name in COLUMNS)
    line = "    " + ("  " * depth + error.__name__).ljust(NAME_WIDTH) + error.category.value.ljust(12) + marks
    return [line.rstrip(), *(line for below in error.__subclasses__() for line in _branch(below, depth + 1))]


def _names(error: type[errors.RoutingError], depth: int) -> list[str]:
    return ["    " + "  " * depth + error.__name__, *(line for below in error.__subclasses__() for line in _names(below, depth + 1))]


def _drawn(text: str) -> str:
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}{tree()}{end}{after}"


def test_the_tree_above_the_classes_is_the_tree_of_the_classes() -> None:
    text = Path(errors.__file__).read_text()
    assert tree() in text
    assert _drawn(text) == text


if __name__ == "__main__":
    file = Path(errors.__file__)
    file.write_text(_drawn(file.read_text()))
