"""Which addresses the gateway may dial (faults.md, "Egress"), and the two clients' guards that enforce it.

Everything that opens a socket to a provider goes through here: ``GuardedResolver`` for aiohttp (data plane),
``guarded_session`` for requests (control plane).
"""

from __future__ import annotations

from providers.upstream.egress.classes import AddressClass, canonical, classify, host_name, is_literal
from providers.upstream.egress.policy import THIS_MACHINE, EgressPolicy, is_this_machine
from providers.upstream.egress.resolver import DNS_TIMEOUT_S, GuardedResolver
from providers.upstream.egress.session import Bounds, guarded_session
from providers.upstream.egress.urls import BASE_QUERY, host_and_port, join_url, origin_of

__all__ = [
    "BASE_QUERY",
    "DNS_TIMEOUT_S",
    "THIS_MACHINE",
    "AddressClass",
    "Bounds",
    "EgressPolicy",
    "GuardedResolver",
    "canonical",
    "classify",
    "guarded_session",
    "host_and_port",
    "host_name",
    "is_literal",
    "is_this_machine",
    "join_url",
    "origin_of",
]
