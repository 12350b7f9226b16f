"""What each process gets of the environment: everybody who may read ``/proc/PID/environ`` reads it there."""

from __future__ import annotations

from collections.abc import Mapping

from providers.environment import key_variables

FIRST_START = frozenset({"AIGATEWAY_ADMIN_PASSWORD", "AIGATEWAY_BOOTSTRAP_KEY"})
"""Read by the process that seeds the database, and by no other; so are provider keys."""
OF_STRANGERS = frozenset({"HOME", "LANG", "LC_ALL", "PATH", "PYTHONHOME", "PYTHONPATH", "TMPDIR", "TZ", "VIRTUAL_ENV"})


def after_first_start(environ: Mapping[str, str]) -> dict[str, str]:
    """For processes of the gateway: all but what only a first start needs."""
    unneeded = FIRST_START | key_variables()
    return {name: value for name, value in environ.items() if name not in unneeded}


def of_strangers(environ: Mapping[str, str]) -> dict[str, str]:
    """For programs that know nothing of the gateway: enough to run."""
    return {name: value for name, value in environ.items() if name in OF_STRANGERS or name.startswith("COVERAGE_")}
