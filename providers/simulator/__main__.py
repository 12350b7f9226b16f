"""``python -m providers.simulator``: the simulator without Django."""

from __future__ import annotations

import argparse
import sys

from providers.simulator.running import add_arguments, run


def main() -> None:
    parser = argparse.ArgumentParser(prog="simulator", description="A fake provider over real HTTP, with its own bill.")
    add_arguments(parser)
    run(parser.parse_args(), _announce)


def _announce(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
