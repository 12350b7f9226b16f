"""What can go wrong between the gateway and a provider, as classes that answer the caller's questions.

``retry_same``: may the same target be asked again? ``fail_over``: may the next target be asked? ``trips_breaker``: does it
count against the target's health? ``may_have_billed``: can the provider have charged for the call although it failed?
``ejects_credential``: is this credential useless until someone mends it? ``category``: whose move is it?

::

                              whose move  again  next  breaker  billed  key
    UpstreamError             server             x     x
      ConnectFailed           transport          x     x
        ConnectTimeout        transport          x     x
        DnsFailed             transport          x     x
        TlsFailed             transport          x     x
      EgressDenied            policy             x
        OwnService            policy             x
        ClearText             policy             x
      PoolExhausted           overload           x
      ConnectionLost          transport   x      x     x        x
      FirstByteTimeout        transport          x     x        x
      IdleTimeout             transport          x     x        x
      AttemptTimeout          transport          x     x        x
      DeadlineExceeded        transport                x        x
      InvalidBody             server      x      x     x        x
      BodyTooLarge            server             x     x        x
      StreamTruncated         transport          x     x        x
      Redirected              server             x     x
      LoopDetected            policy             x
      ServerFailed            server      x      x     x
      Overloaded              overload    x      x     x
      RateLimited             throttle    x      x
      QuotaExhausted          quota              x     x                x
        BillingRefused        billing            x     x                x
      AuthRejected            auth               x                      x
      PermissionRefused       auth               x
      ModelNotFound           caller             x
      CallerFault             caller
        ContextTooLong        caller             x
        ForeignState          caller             x
        ContentRefused        policy
        UnsupportedRequest    caller             x
          UnpricedTool        caller             x
      CircuitOpen             overload           x
      CredentialLocked        auth               x
      GatewayLimited          throttle           x
    RoutingError
      ModelUnknown
      ModelNotAllowed
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import ClassVar, Final

from providers.upstream import redaction

SHOWN_MAX: Final = 500  # characters of an error's words that are kept once they are redacted


class ErrorCategory(StrEnum):
    """Whose move it is after a failure: wait (throttle, overload), pay (quota, billing), mend the key (auth), change the request
    (caller, policy), or nobody's here (server, transport)."""

    THROTTLE = "throttle"
    QUOTA = "quota"
    BILLING = "billing"
    AUTH = "auth"
    OVERLOAD = "overload"
    SERVER = "server"
    TRANSPORT = "transport"
    CALLER = "caller"
    POLICY = "policy"


class UpstreamError(Exception):
    """Base of every provider failure. ``detail`` and ``provider_message`` may hold what the provider wrote, and whatever it repeats:
    they are whole until ``redact`` takes the secrets out and only then cuts them. No log has them, nor the exception's own text."""

    code: ClassVar[str] = "upstream_error"
    category: ClassVar[ErrorCategory] = ErrorCategory.SERVER
    retry_same: ClassVar[bool] = False
    fail_over: ClassVar[bool] = True
    trips_breaker: ClassVar[bool] = True
    may_have_billed: ClassVar[bool] = False
    ejects_credential: ClassVar[bool] = False

    def __init__(
        self,
        detail: str = "",
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        provider_message: str | None = None,
        quotes_provider: bool = False,
        field: str | None = None,
    ) -> None:
        super().__init__(self.code)
        self.detail = detail[: redaction.READ_MAX]
        self.status = status
        self.retry_after_s = retry_after_s
        self.provider_message = provider_message  # for the client, only where it caused the failure and may read it
        self.quotes_provider = quotes_provider  # ``provider_message`` is the provider's and not a sentence of ours
        self.said_chars = len(detail)
        self.is_redacted = False
        self.field = field  # the path of the field in the client's body that caused it, where it is known

    def redact(self, secrets: Iterable[str] = (), *, may_quote: bool = True) -> None:
        """Takes ``secrets`` out of the words and cuts them; without ``may_quote`` nothing of the provider's own stays."""
        known = [*secrets]
        if self.quotes_provider and not may_quote:
            self.detail, self.provider_message = "", None
        self.detail = redaction.redact(self.detail, known, SHOWN_MAX)
        if self.provider_message is not None:
            self.provider_message = redaction.redact(self.provider_message, known, SHOWN_MAX)
        self.is_redacted = True


# ------------------------------------------------------------------ transport


class ConnectFailed(UpstreamError):
    code = "upstream_connect_failed"
    category = ErrorCategory.TRANSPORT


class ConnectTimeout(ConnectFailed):
    code = "upstream_connect_timeout"


class DnsFailed(ConnectFailed):
    code = "upstream_dns_failed"


class TlsFailed(ConnectFailed):
    code = "upstream_tls_failed"


class EgressDenied(UpstreamError):
    """The address is one the gateway must not dial (SSRF policy); nothing was sent."""

    code = "upstream_address_denied"
    category = ErrorCategory.POLICY
    trips_breaker = False


class OwnService(EgressDenied):
    """The address is the gateway's own: its database, its Redis, or itself."""


class ClearText(EgressDenied):
    """The address turned out to be public, and the key would go there without TLS."""


class PoolExhausted(UpstreamError):
    """Every pooled connection of this provider is busy; nothing was sent."""

    code = "upstream_pool_exhausted"
    category = ErrorCategory.OVERLOAD
    trips_breaker = False


class ConnectionLost(UpstreamError):
    """The connection broke after the request was sent and before the answer was complete."""

    code = "upstream_connection_lost"
    category = ErrorCategory.TRANSPORT
    retry_same = True
    may_have_billed = True


class FirstByteTimeout(UpstreamError):
    code = "upstream_first_byte_timeout"
    category = ErrorCategory.TRANSPORT
    may_have_billed = True


class IdleTimeout(UpstreamError):
    code = "upstream_idle_timeout"
    category = ErrorCategory.TRANSPORT
    may_have_billed = True


class AttemptTimeout(UpstreamError):
    """One attempt took longer than the provider's ``total_s`` in all, however lively it was."""

    code = "upstream_total_timeout"
    category = ErrorCategory.TRANSPORT
    may_have_billed = True


class DeadlineExceeded(UpstreamError):
    """The deadline of the whole request passed: no other target can help."""

    code = "upstream_deadline_exceeded"
    category = ErrorCategory.TRANSPORT
    fail_over = False
    may_have_billed = True


# ------------------------------------------------------------------ answers that cannot be used


class InvalidBody(UpstreamError):
    """Status says success, the body does not: HTML, truncated JSON, wrong shape."""

    code = "upstream_invalid_body"
    retry_same = True
    may_have_billed = True


class BodyTooLarge(UpstreamError):
    code = "upstream_body_too_large"
    may_have_billed = True


class StreamTruncated(UpstreamError):
    """The stream ended without its finish marker; an end is never invented for it."""

    code = "upstream_truncated"
    category = ErrorCategory.TRANSPORT
    may_have_billed = True


class Redirected(UpstreamError):
    """Redirects are never followed: the key must not travel to another host."""

    code = "upstream_redirect"


# ------------------------------------------------------------------ errors the provider reports


class LoopDetected(UpstreamError):
    """The provider is this gateway, or leads back to it: it recognised its own request (508) and did nothing."""

    code = "gateway_loop"
    category = ErrorCategory.POLICY
    trips_breaker = False


class ServerFailed(UpstreamError):
    code = "upstream_server_error"
    retry_same = True


class Overloaded(UpstreamError):
    code = "upstream_overloaded"
    category = ErrorCategory.OVERLOAD
    retry_same = True


class RateLimited(UpstreamError):
    """Another target may be free; a retry here waits for ``retry_after_s``."""

    code = "upstream_rate_limited"
    category = ErrorCategory.THROTTLE
    retry_same = True
    trips_breaker = False


class QuotaExhausted(UpstreamError):
    """The account's quota or credit is used up: no retry heals it."""

    code = "upstream_quota_exhausted"
    category = ErrorCategory.QUOTA
    ejects_credential = True


class BillingRefused(QuotaExhausted):
    """The account must be paid or topped up: waiting for the next period does not help either."""

    category = ErrorCategory.BILLING


class AuthRejected(UpstreamError):
    """The provider refused our credential. Clients see 502, never 401: their key is fine."""

    code = "upstream_auth_rejected"
    category = ErrorCategory.AUTH
    trips_breaker = False
    ejects_credential = True


class PermissionRefused(UpstreamError):
    code = "upstream_permission_refused"
    category = ErrorCategory.AUTH
    trips_breaker = False


class ModelNotFound(UpstreamError):
    code = "upstream_model_not_found"
    category = ErrorCategory.CALLER
    trips_breaker = False


class CallerFault(UpstreamError):
    """The request itself is wrong; another target would refuse it too."""

    code = "invalid_request"
    category = ErrorCategory.CALLER
    fail_over = False
    trips_breaker = False


class ContextTooLong(CallerFault):
    """Too large for this target; a target with a larger window may take it."""

    code = "context_length_exceeded"
    fail_over = True


class ForeignState(CallerFault):
    """The request carries state of another account (an answer's id, encrypted reasoning); its issuer would know it."""

    code = "foreign_state"
    fail_over = True


class ContentRefused(CallerFault):
    code = "content_policy"
    category = ErrorCategory.POLICY


# ------------------------------------------------------------------ refused before sending


class CircuitOpen(UpstreamError):
    """The breaker of this target is open; nothing was sent."""

    code = "circuit_open"
    category = ErrorCategory.OVERLOAD
    trips_breaker = False

    def __init__(self, detail: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)


class CredentialLocked(UpstreamError):
    """The credential cannot be decrypted (wrong or missing key ring)."""

    code = "credential_locked"
    category = ErrorCategory.AUTH
    trips_breaker = False


class GatewayLimited(UpstreamError):
    """The gateway's own rate limit for this provider is reached; nothing was sent. ``limit`` names it for clients."""

    code = "rate_limit_exceeded"
    category = ErrorCategory.THROTTLE
    trips_breaker = False

    def __init__(self, detail: str = "", *, limit: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)
        self.limit = limit


class UnsupportedRequest(CallerFault):
    """The target's wire format cannot express the request; refused rather than silently dropped."""

    code = "unsupported_feature"
    fail_over = True


class UnpricedTool(UnsupportedRequest):
    """A tool that the provider runs and bills by the call, and a price card that cannot bound what it costs; nothing was sent."""

    code = "unpriced_tool"


# ------------------------------------------------------------------ no target to ask


class RoutingError(Exception):
    """The request names nothing that may answer it; nobody was asked."""

    code: ClassVar[str] = "routing_error"


class ModelUnknown(RoutingError):
    """Nothing is called ``name``. ``nearest`` lists only names this caller may use."""

    code = "model_not_found"

    def __init__(self, name: str, nearest: tuple[str, ...] = ()) -> None:
        super().__init__(name)
        self.name = name
        self.nearest = nearest


class ModelNotAllowed(RoutingError):
    """``name`` exists and this caller may not use it."""

    code = "model_not_allowed"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name
