"""The command: a folder in, lines and an exit code out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.conformance.judge import judge_folder
from tests.conformance.report import failures, lines, markdown


def main(words: Sequence[str] | None = None) -> int:
    """1 when an exchange failed, or when there is none; ``words`` are those of the command line unless given."""
    arguments = argparse.ArgumentParser(prog="python -m tests.conformance", description="Judges the adapters by recorded exchanges.")
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--markdown", action="store_true", help="the table of docs/conformance.md instead of lines")
    chosen = arguments.parse_args(words)
    if not chosen.folder.is_dir():
        sys.stderr.write(f"{chosen.folder} is no folder\n")
        return 1
    verdicts = judge_folder(chosen.folder)
    if not verdicts:
        sys.stderr.write(f"no exchange in {chosen.folder}\n")
        return 1
    sys.stdout.write("\n".join((markdown if chosen.markdown else lines)(verdicts)) + "\n")
    return 1 if failures(verdicts) else 0
