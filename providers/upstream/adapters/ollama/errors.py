"""What Ollama's errors mean: ``{"error": "text"}`` with little but the text to go by (wire.md, section 7)."""

from __future__ import annotations

from providers.upstream.adapters.error_rules import Rule, rule
from providers.upstream.errors import ContextTooLong, Overloaded, UnsupportedRequest

ERRORS: tuple[Rule, ...] = (
    # Rows without a status hold for error lines inside a stream as well, which have none.
    rule(UnsupportedRequest, (), (), ("does not support", "doesn't support")),
    rule(ContextTooLong, (), (), ("exceeds the context length", "exceeds maximum context length", "prompt too long")),
    rule(Overloaded, (), (), ("requires more system memory", "out of memory", "server busy", "unable to allocate")),
)
