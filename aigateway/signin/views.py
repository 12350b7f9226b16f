"""REST: tokens for programs, and the list of sign-ins."""

from __future__ import annotations

import re
import uuid
from typing import Any

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.http import Http404
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated, Throttled
from rest_framework.permissions import AllowAny, BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from aigateway import env
from aigateway.api.authentication import SessionAuthentication
from aigateway.api.errors import ServiceUnavailable
from aigateway.api.scopes import PEOPLE, PUBLIC
from aigateway.models import SignIn
from aigateway.signin import own_tokens, signing_in, standing
from aigateway.signin.bounds import TooManyTries
from aigateway.signin.hashing import HashingBusy
from aigateway.signin.issuers import DEFAULT_SCOPES
from aigateway.signin.jose import TokenRefused
from aigateway.signin.own_tokens import Issued
from providers.strict import StrictSerializer

SCOPES_MAX = 20
ISSUES_SECRETS = ("/api/v1/ai/auth/", "/api/ai/auth/")
"""Answers below these paths carry secrets: they are kept nowhere, not even for a repeated request."""
_SCOPE = re.compile(r"[a-z_]{1,40}")


WRONG = OpenApiResponse(description="The credentials in the body are wrong or used up, or there is no session.")
SWITCHED_OFF = OpenApiResponse(description="Access tokens are switched off.")


class TokenAskSerializer(StrictSerializer):
    username = serializers.CharField(max_length=150, required=False, help_text="Without it the session of the browser counts.")
    password = serializers.CharField(
        write_only=True, max_length=1024, required=False, trim_whitespace=False, style={"input_type": "password"}
    )
    scopes = serializers.ListField(child=serializers.RegexField(_SCOPE), max_length=SCOPES_MAX, required=False, allow_empty=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("username" in attrs) != ("password" in attrs):
            raise serializers.ValidationError({"password" if "username" in attrs else "username": ["Send both or neither."]})
        return attrs


class RefreshSerializer(StrictSerializer):
    refresh_token = serializers.CharField(max_length=200)


class TokenSerializer(serializers.Serializer[Any]):
    access_token = serializers.CharField()
    token_type = serializers.CharField()
    expires_in = serializers.IntegerField(help_text="Seconds.")
    scopes = serializers.ListField(child=serializers.CharField())
    refresh_token = serializers.CharField(required=False, help_text="Good once, for a new pair.")


class SignInSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    kind = serializers.CharField()
    method = serializers.CharField()
    address = serializers.CharField(allow_null=True)
    device = serializers.CharField()
    since = serializers.DateTimeField(source="signed_in_at")
    last_seen = serializers.DateTimeField(source="seen_at")
    current = serializers.SerializerMethodField()

    def get_current(self, sign_in: SignIn) -> bool:
        return bool(sign_in.session_key) and sign_in.session_key == self.context["session_key"]


class TokensAreOn(BasePermission):
    def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002 - the framework's signature
        if env.TOKENS not in settings.AUTH:
            raise Http404
        return True


class Challenging(APIView):
    """401 wherever credentials in the body are wrong; the framework would say 403 where none are read from headers."""

    def get_authenticate_header(self, request: Request) -> str:  # noqa: ARG002 - the framework's signature
        return 'Bearer realm="ai gateway"'


class TokenView(Challenging):
    """A key makes no tokens: they would outgrow it."""

    permission_classes = (TokensAreOn,)
    scope = PUBLIC

    def get_authenticators(self) -> list[BaseAuthentication]:
        return [SessionAuthentication()] if env.SESSIONS in settings.AUTH else []

    @extend_schema(
        operation_id="auth_token",
        summary="A short access token",
        description="For the signed-in session, or for a user name and password. Ten minutes; with a password also a refresh token.",
        request=TokenAskSerializer,
        responses={200: TokenSerializer, 401: WRONG, 404: SWITCHED_OFF},
    )
    def post(self, request: Request) -> Response:
        asked = TokenAskSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        scopes = asked.validated_data.get("scopes") or DEFAULT_SCOPES
        if "username" in asked.validated_data:
            return _by_password(request, asked.validated_data, scopes)
        key = request.session.session_key
        sign_in = SignIn.objects.filter(session_key=key, ended_at=None).first() if key else None
        if not isinstance(request.user, User) or sign_in is None:
            raise NotAuthenticated
        return _token(own_tokens.issue(request.user, sign_in, scopes))


class RefreshView(Challenging):
    permission_classes = (TokensAreOn, AllowAny)
    authentication_classes = ()
    scope = PUBLIC

    @extend_schema(
        operation_id="auth_token_refresh",
        summary="A new access token for a refresh token",
        description="The refresh token is good once; sent a second time it ends the sign-in, for then two hold it.",
        request=RefreshSerializer,
        responses={200: TokenSerializer, 401: WRONG, 404: SWITCHED_OFF},
    )
    def post(self, request: Request) -> Response:
        asked = RefreshSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            return _token(own_tokens.renew(asked.validated_data["refresh_token"]))
        except TokenRefused:
            raise AuthenticationFailed("The refresh token is not valid any more. Sign in again.", "invalid_token") from None


class RevokeView(Challenging):
    permission_classes = (TokensAreOn, AllowAny)
    authentication_classes = ()
    scope = PUBLIC

    @extend_schema(
        operation_id="auth_token_revoke",
        summary="End a chain of tokens",
        description="All access and refresh tokens of the sign-in are over. An unknown or used refresh token is 204 as well.",
        request=RefreshSerializer,
        responses={204: None, 404: SWITCHED_OFF},
    )
    def post(self, request: Request) -> Response:
        asked = RefreshSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        own_tokens.revoke(asked.validated_data["refresh_token"])
        return Response(status=204)


def _by_password(request: Request, asked: dict[str, Any], scopes: Any) -> Response:
    if not settings.TOKEN_BY_PASSWORD:
        raise AuthenticationFailed("Tokens for passwords are switched off here.", "password_login_off")
    try:
        user = authenticate(request._request, username=asked["username"], password=asked["password"])
    except TooManyTries as error:
        raise Throttled(wait=error.wait_s) from None
    except HashingBusy as error:
        raise ServiceUnavailable("Too many people sign in at this moment.", "sign_in_busy", error.wait_s) from None
    if not isinstance(user, User):
        raise AuthenticationFailed("The user name or the password is wrong.", "wrong_password")
    sign_in = signing_in.record(user, SignIn.Kind.TOKEN, SignIn.Method.PASSWORD, request._request)
    return _token(own_tokens.issue_chain(user, sign_in, scopes))


def _token(issued: Issued) -> Response:
    body = {"access_token": issued.access_token, "token_type": "Bearer", "expires_in": issued.expires_in_s, "scopes": [*issued.scopes]}
    if issued.refresh_token is not None:
        body["refresh_token"] = issued.refresh_token
    return Response(body)


class IsInSession(BasePermission):
    """Whoever finds a key or a token must not see or end what its owner does elsewhere."""

    message = "Sign in: keys and access tokens may not manage sign-ins."

    def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002 - the framework's signature
        return request.auth is None


class IsSuperuserInSession(BasePermission):
    message = "Only a signed-in superuser may see and end the sessions of others."

    def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002 - the framework's signature
        return request.auth is None and request.user.is_active and request.user.is_superuser


class OwnSignInsView(APIView):
    permission_classes = (IsAuthenticated, IsInSession)
    scope = PEOPLE

    @extend_schema(operation_id="sessions", summary="Where you are signed in", responses=SignInSerializer(many=True))
    def get(self, request: Request) -> Response:
        return _listed(request, _person(request))

    @extend_schema(
        operation_id="sessions_end_all",
        summary="Sign out everywhere",
        description="Ends every session and token but the session that asks.",
        responses={204: None},
    )
    def delete(self, request: Request) -> Response:
        standing.end_everything(_person(request), "signed out everywhere", but=request.session.session_key)
        return Response(status=204)


class OwnSignInView(APIView):
    permission_classes = (IsAuthenticated, IsInSession)
    scope = PEOPLE

    @extend_schema(operation_id="sessions_end", summary="End one of your sessions", responses={204: None})
    def delete(self, request: Request, sign_in_id: uuid.UUID) -> Response:
        standing.end(get_object_or_404(SignIn, pk=sign_in_id, user=_person(request), ended_at=None), "ended by its person")
        return Response(status=204)


class SignInsView(APIView):
    permission_classes = (IsAuthenticated, IsSuperuserInSession)
    scope = PEOPLE

    @extend_schema(operation_id="admin_sessions", summary="Where a user is signed in", responses=SignInSerializer(many=True))
    def get(self, request: Request, user_id: int) -> Response:
        return _listed(request, get_object_or_404(User, pk=user_id))

    @extend_schema(operation_id="admin_sessions_end_all", summary="Sign a user out everywhere", responses={204: None})
    def delete(self, request: Request, user_id: int) -> Response:  # noqa: ARG002 - the framework's signature
        standing.end_everything(get_object_or_404(User, pk=user_id), "signed out by an administrator")
        return Response(status=204)


def _listed(request: Request, user: User) -> Response:
    shown = SignInSerializer(standing.live_sign_ins(user), many=True, context={"session_key": request.session.session_key})
    return Response(shown.data)


def _person(request: Request) -> User:
    if not isinstance(request.user, User):
        raise NotAuthenticated
    return request.user
