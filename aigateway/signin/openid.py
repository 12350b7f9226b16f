"""OpenID Connect sign-in: the library's flow (code, PKCE, state, nonce), our rules for what an answer must be.

Addresses come from the issuer's discovery document, every exchange goes through the guarded client, and a token is verified like any
other (``jose``): the library itself checks neither audience nor issuer.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

import structlog
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse
from mozilla_django_oidc.auth import OIDCAuthenticationBackend
from mozilla_django_oidc.views import OIDCAuthenticationCallbackView, OIDCAuthenticationRequestView

from aigateway.signin import bounds, identities, issuers, jose
from aigateway.signin.fetching import IssuerUnreachable, fetch
from aigateway.signin.identities import NotAdmitted
from aigateway.signin.issuers import Issuer
from aigateway.signin.jose import KeysUnknown, TokenRefused
from aigateway.signin.key_sets import KEY_SETS
from aigateway.signin.origin import Origin

_ENDPOINTS = {
    "OIDC_OP_AUTHORIZATION_ENDPOINT": "authorization_endpoint",
    "OIDC_OP_TOKEN_ENDPOINT": "token_endpoint",
}
_FAILED = "Signing in did not work. Try again, or ask an administrator."
_AWAY = "Your identity provider cannot be reached right now. Try again shortly."
_log = structlog.get_logger("aigateway.signin")


def is_on() -> bool:
    return bool(settings.OPENID["issuer"])


def _issuer() -> Issuer:
    issuer = issuers.openid_issuer()
    if issuer is None:
        raise Http404
    return issuer


def _setting(name: str, *default: Any) -> Any:
    """What the library asks of Django's settings, from our own variables and the issuer's discovery document."""
    if name in _ENDPOINTS:
        return KEY_SETS.endpoint(_issuer(), _ENDPOINTS[name])
    own = {
        "OIDC_OP_USER_ENDPOINT": "",
        "OIDC_RP_CLIENT_ID": settings.OPENID["client_id"],
        "OIDC_RP_CLIENT_SECRET": settings.OPENID["client_secret"],
        "OIDC_RP_SCOPES": settings.OPENID["scopes"],
        "OIDC_USE_PKCE": True,
        "OIDC_USE_NONCE": True,
        "LOGIN_REDIRECT_URL": reverse("account"),
        "LOGIN_REDIRECT_URL_FAILURE": reverse("admin:login"),
    }
    return own[name] if name in own else default[0]


class OpenIdBackend(OIDCAuthenticationBackend):  # type: ignore[misc]
    """Raises what went wrong; the callback answers it."""

    def __init__(self) -> None:
        """The library would read all of its settings for every request of everybody."""
        self.UserModel = User

    get_settings = staticmethod(_setting)

    def authenticate(self, request: HttpRequest | None, nonce: str | None = None, code_verifier: str | None = None) -> User | None:
        """Only the callback comes here, with both words from the session."""
        if request is None or not nonce or not code_verifier or not is_on():
            return None
        self.OIDC_OP_TOKEN_ENDPOINT = _setting("OIDC_OP_TOKEN_ENDPOINT")
        self.OIDC_RP_CLIENT_ID = settings.OPENID["client_id"]
        self.OIDC_RP_CLIENT_SECRET = settings.OPENID["client_secret"]
        user: User | None = super().authenticate(request, nonce=nonce, code_verifier=code_verifier)
        return user

    def get_token(self, payload: dict[str, str]) -> Mapping[str, Any]:
        return fetch(_issuer(), self.OIDC_OP_TOKEN_ENDPOINT, form=payload)

    def verify_token(self, token: Any, **kwargs: Any) -> dict[str, Any]:
        """Signature, issuer, audience, times, nonce (OpenID Connect Core, section 3.1.3.7)."""
        issuer = _issuer()
        if not isinstance(token, str):
            raise TokenRefused("no ID token")
        read = jose.opened(token)
        if read.algorithm not in issuer.algorithms or read.issuer != issuer.issuer:
            raise TokenRefused("algorithm or issuer")
        key = KEY_SETS.key_for(issuer, read)
        claims = jose.verified(
            read, key, algorithms=issuer.algorithms, issuer=issuer.issuer, audience=issuer.audience, required=("iat", "nonce")
        )  # fmt: skip
        if not hmac.compare_digest(str(claims["nonce"]).encode(), str(kwargs.get("nonce") or "").encode()):
            raise TokenRefused("nonce")
        if claims.get("azp", issuer.audience) != issuer.audience or (isinstance(claims["aud"], list) and len(claims["aud"]) > 1):
            raise TokenRefused("meant for others as well")
        return claims

    def store_tokens(self, access_token: Any, id_token: Any) -> None:  # noqa: ARG002 - the library's signature
        """Nothing of the issuer's is kept."""
        return

    def get_or_create_user(self, access_token: Any, id_token: Any, payload: dict[str, Any]) -> User:  # noqa: ARG002 - the library's signature
        return identities.user_for(_issuer(), payload)

    def get_user(self, user_id: int) -> User | None:
        """An account that was switched off is nobody, as with a password."""
        return User.objects.filter(pk=user_id, is_active=True).first() if is_on() else None


class OpenIdStartView(OIDCAuthenticationRequestView):  # type: ignore[misc]
    """``next`` is kept only when it stays on this host."""

    def __init__(self, **kwargs: Any) -> None:
        super(OIDCAuthenticationRequestView, self).__init__(**kwargs)

    get_settings = staticmethod(_setting)

    def get(self, request: HttpRequest) -> HttpResponseBase:
        _issuer()
        bounds.count_try([bounds.OPENID_ADDRESS.bucket(bounds.network_of(Origin.of(request).address))])
        try:
            self.OIDC_OP_AUTH_ENDPOINT = _setting("OIDC_OP_AUTHORIZATION_ENDPOINT")
            self.OIDC_RP_CLIENT_ID = settings.OPENID["client_id"]
            response: HttpResponseBase = super().get(request)
        except IssuerUnreachable as error:
            _log.warning("openid_failed", why=error.why)
            return _back(request, _AWAY)
        return response


class OpenIdCallbackView(OIDCAuthenticationCallbackView):  # type: ignore[misc]
    """Every failure ends at the sign-in page, in words that say nothing of accounts."""

    get_settings = staticmethod(_setting)

    def get(self, request: HttpRequest) -> HttpResponseBase:
        _issuer()
        if request.GET.get("state") not in request.session.get("oidc_states", {}):
            _log.warning("openid_refused", why="state")
            return _back(request, _FAILED)  # a link somebody sent signs nobody in or out
        try:
            response: HttpResponseBase = super().get(request)
        except NotAdmitted as error:
            return _back(request, str(error))
        except (KeysUnknown, IssuerUnreachable) as error:
            _log.warning("openid_failed", why=getattr(error, "why", "keys"))
            return _back(request, _AWAY)
        except (TokenRefused, SuspiciousOperation) as error:
            _log.warning("openid_refused", why=str(error))
            return _back(request, _FAILED)
        return response

    def login_failure(self) -> HttpResponseBase:
        return _back(self.request, _FAILED)

    def login_success(self) -> HttpResponseBase:
        """Always a login of its own, so that the session has a new key and its own time."""
        self.request.user = None
        response: HttpResponseBase = super().login_success()
        return response


def _back(request: HttpRequest, message: str) -> HttpResponseBase:
    messages.error(request, message)
    return HttpResponseRedirect(reverse("admin:login"))
