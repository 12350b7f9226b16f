"""The running gateway and simulator of ``tests.aigateway``; the scripted providers of ``tests.providers.upstream``."""

from tests.aigateway.conftest import gateway, new_simulator, simulator, start_gateway, user
from tests.providers.upstream.conftest import alpha, beta, ledger, transport

__all__ = ["alpha", "beta", "gateway", "ledger", "new_simulator", "simulator", "start_gateway", "transport", "user"]
