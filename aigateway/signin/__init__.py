"""Sign-in: passwords within bounds, sessions, access tokens, OpenID Connect; and what ends them."""

from __future__ import annotations

from aigateway.signin.authentication import TokenAuthentication
from aigateway.signin.identities import NotAdmitted
from aigateway.signin.issuers import openid_issuer, token_issuers
from aigateway.signin.jose import KeysUnknown, TokenRefused
from aigateway.signin.jose import looks_like_one as looks_like_token
from aigateway.signin.pruning import prune
from aigateway.signin.resets import TASK as RESET_TASK
from aigateway.signin.resets import send as send_password_reset
from aigateway.signin.signing_in import user_signed_in
from aigateway.signin.standing import user_was_saved
from aigateway.signin.tokens import Bearer, Proven, bearer_of, prove
from aigateway.signin.views import ISSUES_SECRETS

__all__ = [
    "ISSUES_SECRETS",
    "RESET_TASK",
    "Bearer",
    "KeysUnknown",
    "NotAdmitted",
    "Proven",
    "TokenAuthentication",
    "TokenRefused",
    "bearer_of",
    "looks_like_token",
    "openid_issuer",
    "prove",
    "prune",
    "send_password_reset",
    "token_issuers",
    "user_signed_in",
    "user_was_saved",
]
