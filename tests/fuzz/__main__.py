"""Runs a fuzz target: ``python -m tests.fuzz sse --runs 10000000 [--seed 1]``; what is found is printed and kept.

The runs are seeded mutations of the corpus, so a failure replays. A failing input
is written to ``tests/fuzz/corpus/<target>/`` by its SHA-256, so that the next ``make test`` replays it.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).with_name("corpus")
MAX_INPUT_BYTES = 400


def inputs(target: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / target).glob("*"))]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("target", choices=sorted(TARGETS))
    arguments.add_argument("--runs", type=int, default=100_000)
    arguments.add_argument("--seed", type=int, default=1)
    chosen = arguments.parse_args()
    started = time.monotonic()
    _mutate(chosen.target, TARGETS[chosen.target], chosen.runs, random.Random(chosen.seed))
    sys.stdout.write(f"{chosen.target}: {chosen.runs} runs, seed {chosen.seed}, {time.monotonic() - started:.0f} s, 0 failures\n")


def _mutate(name: str, target: Callable[[bytes], None], runs: int, dice: random.Random) -> None:
    pool = inputs(name) or [b""]
    for _ in range(runs):
        raw = _mutated(dice.choice(pool), dice)
        try:
            target(raw)
        except Exception:
            kept = CORPUS / name / hashlib.sha256(raw).hexdigest()[:16]
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(raw)
            sys.stderr.write(f"{name} failed; the input is kept in {kept.name}: {raw!r}\n")
            raise
        if len(pool) < 2000 and dice.random() < 0.001:
            pool.append(raw)


PIECES = (
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\r\r",
    b"data: ",
    b"data:",
    b"event: ",
    b"event",
    b":",
    b"\xe2\x80\xa8",
    b"\xef\xbb\xbf",
    b"id: 1",
    b"\x00",
)


def _mutated(raw: bytes, dice: random.Random) -> bytes:
    changed = bytearray(raw)
    for _ in range(dice.randrange(1, 6)):
        at = dice.randrange(len(changed) + 1)
        match dice.randrange(5):
            case 0:
                changed[at:at] = dice.choice(PIECES)
            case 1:
                changed[at:at] = dice.randbytes(dice.randrange(1, 9))
            case 2:
                del changed[at : at + dice.randrange(1, 9)]
            case 3 if at < len(changed):
                changed[at] = dice.randrange(256)
            case _:
                changed[at:at] = changed[: dice.randrange(1, 17)]
    return bytes(changed[:MAX_INPUT_BYTES])


if __name__ == "__main__":
    main()
