"""Sign-in: passwords within bounds, sessions, access tokens, OpenID Connect; and what ends them."""

from __future__ import annotations

from aigateway.access.authentication import TokenAuthentication
from aigateway.access.identities import NotAdmitted
from aigateway.access.issuers import openid_issuer, token_issuers
from aigateway.access.jose import KeysUnknown, TokenRefused
from aigateway.access.jose import looks_like_one as looks_like_token
from aigateway.access.pruning import prune
from aigateway.access.resets import TASK as RESET_TASK
from aigateway.access.resets import send as send_password_reset
from aigateway.access.signing_in import user_signed_in
from aigateway.access.standing import user_was_saved
from aigateway.access.tokens import Bearer, Proven, bearer_of, prove
from aigateway.access.views import ISSUES_SECRETS

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
