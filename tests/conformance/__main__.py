"""Runs recorded exchanges against the adapters: ``python -m tests.conformance FOLDER [--markdown]``.

Exits with 1 when one failed or the folder holds none. The format of a recording is described in docs/conformance.md.
"""

from __future__ import annotations

import os
import sys
import tempfile

import django


def main() -> int:
    """Whatever the environment says about the gateway is not heeded: the verdicts must not depend on it, nor touch its state."""
    for name in [*os.environ]:
        if name.startswith("AIGATEWAY_") or name in ("DATABASE_URL", "REDIS_URL"):
            del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="aigateway-conformance-") as scratch:
        os.environ |= {"DJANGO_SETTINGS_MODULE": "aigateway.settings", "AIGATEWAY_VAR": scratch}
        django.setup()
        from tests.conformance import tool  # what it imports reads the settings

        return tool.main()


if __name__ == "__main__":
    sys.exit(main())
