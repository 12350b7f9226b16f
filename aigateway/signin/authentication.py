"""Access tokens on the REST surface."""

from __future__ import annotations

import structlog
from django.contrib.auth.models import User
from django.db import InterfaceError, OperationalError
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from aigateway.api.credentials import AMBIGUOUS, AMBIGUOUS_WORDS, AmbiguousKey, sent_key
from aigateway.api.errors import ServiceUnavailable
from aigateway.api.scopes import ScopedAuthentication
from aigateway.signin import jose, tokens
from aigateway.signin.identities import NotAdmitted
from aigateway.signin.jose import KeysUnknown, TokenRefused
from aigateway.signin.tokens import Bearer
from providers.audit import acting

INVALID = "The access token is not valid: expired, ended, for somebody else, or its user is inactive."
_log = structlog.get_logger("aigateway.signin")


class TokenAuthentication(ScopedAuthentication):
    """``Authorization: Bearer eyJ...``; sets ``request.auth`` to the ``Bearer``. Other credentials are left to other classes."""

    def authenticate(self, request: Request) -> tuple[User, Bearer] | None:
        found = super().authenticate(request)
        if found is not None:
            acting(found[0], "access token")
        return found

    def identify(self, request: Request) -> tuple[User, Bearer] | None:
        """Whose token it is, whatever it may do; ``None`` without a token."""
        try:
            token = sent_key(request.META)
        except AmbiguousKey:
            raise AuthenticationFailed(AMBIGUOUS_WORDS, AMBIGUOUS) from None
        if token is None or not jose.looks_like_one(token):
            return None
        try:
            bearer = tokens.bearer_of(tokens.prove(token))
        except TokenRefused as error:
            _log.info("token_refused", why=error.why)
            raise AuthenticationFailed(INVALID, "invalid_token") from None
        except NotAdmitted as error:
            raise AuthenticationFailed(str(error), "not_admitted") from None
        except KeysUnknown:
            raise ServiceUnavailable("The keys of the token's issuer cannot be had right now.", "access_unknown") from None
        except (OperationalError, InterfaceError):
            raise ServiceUnavailable("Access cannot be checked right now.", "access_unknown") from None
        return bearer.user, bearer

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 - the framework's signature
        return 'Bearer realm="ai gateway"'
