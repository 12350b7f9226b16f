"""The data plane's guard: names are resolved once, and only addresses that passed are dialled."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp.abc import AbstractResolver, ResolveResult

from providers.upstream.egress.classes import is_literal
from providers.upstream.egress.policy import EgressPolicy

DNS_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class _Answers:
    expires_at: float
    results: tuple[ResolveResult, ...]


class GuardedResolver(AbstractResolver):
    """Resolves once, refuses unless every answer passes, and hands out exactly the addresses it checked.

    Answers are kept for ``ttl_s``; the policy is asked anew each time, so a withdrawn permission works at once. Failures
    are not kept.
    """

    _MAX_HOSTS = 1000

    def __init__(self, policy_source: Callable[[], EgressPolicy], ttl_s: float = 30.0) -> None:
        self._policy_source = policy_source
        self._ttl_s = ttl_s
        self._answers: dict[tuple[str, int, int], _Answers] = {}

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """Raises ``OSError`` when the name does not resolve within a second, ``EgressDenied`` for a forbidden answer."""
        policy = self._policy_source()
        results = await self._lookup(host, port, family)
        for result in results:
            policy.check_address(host, port, result["host"])
        return list(results)

    async def close(self) -> None:
        self._answers.clear()

    async def _lookup(self, host: str, port: int, family: int) -> tuple[ResolveResult, ...]:
        loop = asyncio.get_running_loop()
        key = (host, port, family)
        kept = self._answers.get(key)
        if kept is not None and kept.expires_at > loop.time():
            return kept.results
        try:
            async with asyncio.timeout(DNS_TIMEOUT_S):
                infos = await loop.getaddrinfo(
                    host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG if not is_literal(host) else 0
                )
        except TimeoutError:
            raise OSError(None, "name resolution timed out") from None
        except UnicodeError:
            raise OSError(None, "the host name is malformed") from None
        results = tuple(_resolve_result(host, info) for info in infos)
        if len(self._answers) >= self._MAX_HOSTS:
            self._answers.clear()
        self._answers[key] = _Answers(loop.time() + self._ttl_s, results)
        return results


AddressInfo = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]


def _resolve_result(host: str, info: AddressInfo) -> ResolveResult:
    family, _, proto, _, address = info
    return ResolveResult(hostname=host, host=str(address[0]), port=int(address[1]), family=family, proto=proto, flags=socket.AI_NUMERICHOST)
