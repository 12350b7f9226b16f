"""S02: sockets to elsewhere are opened in the egress room, by the two clients behind it, and nowhere else."""

from __future__ import annotations

import ast

from tests.architecture import source

NETWORK = {
    "socket", "ssl", "http.client", "urllib.request", "urllib3", "requests", "aiohttp", "httpx", "httpcore", "smtplib", "ftplib",
    "telnetlib",
    "imaplib", "poplib", "xmlrpc.client", "websockets", "redis", "pycurl", "socketserver", "asyncio.streams",
}  # fmt: skip
MAY = {
    "providers/upstream/egress/policy.py": {"socket"},  # binds, to know this machine's addresses
    "providers/upstream/egress/resolver.py": {"socket", "aiohttp"},
    "providers/upstream/egress/session.py": {"socket", "ssl", "http.client", "urllib3", "requests"},
    "providers/upstream/transport/client.py": {"aiohttp", "ssl"},
    "providers/upstream/transport/stream.py": {"aiohttp"},
    "providers/upstream/transport/failures.py": {"aiohttp", "ssl"},
    "providers/upstream/tls.py": {"ssl"},
    "providers/client.py": {"requests", "urllib3"},
    "providers/own_services.py": {"socket"},  # resolves
    "aigateway/alerts.py": {"smtplib"},  # the exceptions of Django's mail
    "aigateway/env.py": {"socket"},  # resolves this machine's own name
    "usage/ledger/front.py": {"socket"},  # this machine's name
    "usage/ledger/writer.py": {"socket"},  # the same
}
"""What each file may name. Processes of our own and our own Redis are below, by folder."""
OWN = ("aigateway/process/", "aigateway/management/", "usage/limits/", "providers/simulator/", "aigateway/checks.py")
OPENERS = {"create_connection", "open_connection", "open_unix_connection", "sock_connect", "urlopen"}


def networked() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in source.app_files():
        for node in ast.walk(source.tree(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            used = {top for name in names for top in NETWORK if name == top or name.startswith(f"{top}.")}
            if used:
                found.setdefault(source.name(path), set()).update(used)
    return found


def test_S02_no_other_module_names_a_library_that_opens_sockets() -> None:
    beyond = {name: used - MAY.get(name, set()) for name, used in networked().items() if not name.startswith(OWN)}
    assert {name: used for name, used in beyond.items() if used} == {}


def test_S02_what_is_excused_is_still_needed() -> None:
    assert {name: used - networked().get(name, set()) for name, used in MAY.items() if used - networked().get(name, set())} == {}


def test_S02_nobody_else_opens_one_through_the_event_loop() -> None:
    opened = [
        f"{source.name(path)}:{node.lineno}"
        for path in source.app_files()
        if not source.name(path).startswith(OWN)
        for node in ast.walk(source.tree(path))
        if isinstance(node, ast.Attribute) and node.attr in OPENERS
    ]
    assert opened == []
