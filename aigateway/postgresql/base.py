"""The database backend that ``settings.DATABASES`` names for PostgreSQL; Django looks for ``base.DatabaseWrapper``."""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql import base
from psycopg import Error
from psycopg_pool import ConnectionPool


class DatabaseWrapper(base.DatabaseWrapper):
    """Looks at a connection when the pool hands it out. ``CONN_HEALTH_CHECKS`` is off: the pool's own look is this one, but it
    replaces dead connections one by one and waits longer each time (psycopg_pool 3.3: 1, 2, 4 s), so that a pool of ten keeps
    everybody out for half a minute after a restart or failover. What ended one connection ended all that were idle."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)
        pool: ConnectionPool | None = self.pool
        if pool is None or _is_alive(connection):
            return connection
        pool.putconn(connection)
        pool.drain()
        return super().get_new_connection(conn_params)


def _is_alive(connection: Any) -> bool:
    try:
        ConnectionPool.check_connection(connection)
    except Error:
        return False
    return True
