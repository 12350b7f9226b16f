"""The database backend that ``settings.DATABASES`` names for PostgreSQL; Django looks for ``base.DatabaseWrapper``."""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql import base
from psycopg import Error
from psycopg_pool import ConnectionPool


class DatabaseWrapper(base.DatabaseWrapper):
    """Looks at a connection when the pool hands it out, and replaces all idle ones where it is dead: what ended one of them (a
    restart, a failover) ended the others.

    ``CONN_HEALTH_CHECKS`` stays off. It makes the pool look by itself, which replaces dead connections one by one and waits 1, 2,
    4 s between (psycopg_pool 3.3, ``AttemptWithBackoff``): nobody is answered before the pool's own timeout is over.
    """

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
