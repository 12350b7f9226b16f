"""A plain nginx proxy in front of the simulator: what forwarding alone costs."""

from __future__ import annotations

import getpass
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.load.rig import Running, free_port, running

_CONFIGURATION = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    upstream simulator {{
        server {upstream};
        keepalive 256;
        keepalive_requests 1000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass http://simulator;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 600s;
        }}
    }}
}}
"""


def program() -> str | None:
    return shutil.which("nginx") or ("/usr/sbin/nginx" if os.access("/usr/sbin/nginx", os.X_OK) else None)


@contextmanager
def nginx(folder: Path, upstream_origin: str) -> Iterator[tuple[Running, str]]:
    """One nginx worker and its origin."""
    found = program()
    assert found is not None, "nginx is not installed"
    folder.mkdir()
    port = free_port()
    # As root the worker would otherwise become another user, who may not enter the scratch folder.
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    text = _CONFIGURATION.format(folder=folder, user=user, upstream=upstream_origin.removeprefix("http://"), port=port)
    (folder / "nginx.conf").write_text(text)
    command = [found, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    with running(command, folder / "nginx.log") as process:
        process.wait_for_url(f"http://127.0.0.1:{port}/healthz")
        yield process, f"http://127.0.0.1:{port}"
