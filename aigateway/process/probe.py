"""Asks a running gateway on this machine whether it is ready. Used by the supervisor and as the container's health check."""

from __future__ import annotations

import http.client
import os
import select
import sys

from aigateway import env

TIMEOUT_S = 5.0


def local_address(host: str) -> str:
    """Where to reach, from this machine, a server that listens on ``host``."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared with, not bound to


class Question:
    """A request to ``/readyz`` that is on its way. Raises ``OSError`` when nobody listens."""

    def __init__(self, host: str, port: int) -> None:
        self._connection = http.client.HTTPConnection(local_address(host), port, timeout=TIMEOUT_S)
        named = [name.lstrip(".") for name in env.allowed_hosts(host) if name != "*"]
        try:
            self._connection.request("GET", "/readyz", headers={"Host": named[0] if named else "localhost"})
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        """Readable once ``answer`` has something to read."""
        return self._connection.sock.fileno()

    def is_answered(self) -> bool:
        return bool(select.select([self], [], [], 0)[0])

    def answer(self) -> tuple[bool, str]:
        """Whether it was 200, and what it (or the connection) said; the text is for people. Waits ``TIMEOUT_S`` seconds at most."""
        try:
            response = self._connection.getresponse()
            body = response.read(2000).decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return False, f"/readyz: {error}"
        return response.status == http.HTTPStatus.OK, f"/readyz answered {response.status}: {body}"

    def close(self) -> None:
        self._connection.close()


def readiness(host: str, port: int) -> tuple[bool, str]:
    """Whether ``/readyz`` answers 200 within ``TIMEOUT_S`` seconds, and what it (or the connection) said; the text is for people."""
    try:
        question = Question(host, port)
    except OSError as error:
        return False, f"/readyz: {error}"
    try:
        return question.answer()
    finally:
        question.close()


def main() -> None:
    ready, said = readiness(os.environ.get("HOST") or "127.0.0.1", env.integer("PORT", 8000))
    sys.exit(0 if ready else said)


if __name__ == "__main__":
    main()
