"""Where a payment service reports subscriptions. The signature is the only authentication there is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import IO, Any

import structlog
from django.conf import settings
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.parsers import BaseParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from usage.errors import ActionRefused
from usage.subscriptions.actions import apply_subscription_event
from usage.subscriptions.events import EventInvalid, SignatureInvalid, check_signature, parse_event

_log = structlog.get_logger("usage.webhooks")


class RawParser(BaseParser):
    """The signature covers the bytes, so nobody parses them first."""

    media_type = "*/*"

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> dict[str, bytes]:  # noqa: ARG002 - the framework's signature
        return {"body": stream.read()}


class WebhookAnswer(serializers.Serializer[object]):
    applied = serializers.BooleanField(help_text="False: the event says nothing new about a subscription.")


class SubscriptionWebhookView(APIView):
    """Stripe's ``customer.subscription.*`` events, or any service's that signs the same way."""

    scope = "public"
    authentication_classes = ()
    permission_classes = (AllowAny,)
    parser_classes = (RawParser,)

    @extend_schema(
        request=dict,
        responses={
            200: WebhookAnswer,
            403: OpenApiResponse(description="The signature is missing, wrong or older than five minutes."),
            404: OpenApiResponse(description="No subscription webhook is configured."),
        },
        operation_id="subscription_webhook",
        tags=["webhooks"],
    )
    def post(self, request: Request) -> Response:
        if not settings.SUBSCRIPTION_WEBHOOK_SECRET:
            raise exceptions.NotFound("No subscription webhook is configured.")
        body: bytes = request.data["body"] if isinstance(request.data, dict) and request.data else b""
        try:
            check_signature(body, request.headers.get("Stripe-Signature", ""), settings.SUBSCRIPTION_WEBHOOK_SECRET, time.time())
        except SignatureInvalid as error:
            _log.warning("webhook_refused", reason=str(error))
            raise exceptions.PermissionDenied("The signature is missing, wrong or older than five minutes.") from None
        try:
            event = parse_event(body)
            applied = event is not None and apply_subscription_event(event)
        except (EventInvalid, ActionRefused) as error:
            raise exceptions.ValidationError({"event": [str(error)]}) from None
        return Response({"applied": applied})
