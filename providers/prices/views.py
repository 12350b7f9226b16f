"""REST surface of prices: the price book and the changes an import proposes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import django_filters
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.generics import GenericAPIView, ListAPIView, get_object_or_404
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from providers import scopes
from providers.audit import Actor
from providers.filters import IdFilter
from providers.models import Price, PriceProposal
from providers.prices import actions
from providers.prices.serializers import NewPriceSerializer, PriceDecisionSerializer, PriceProposalSerializer, StoredPriceSerializer


class PricePermission(BasePermission):
    """Staff with Django's own permissions: each view names those it needs by method."""

    message = "This needs a staff account with the permission for it."

    def has_permission(self, request: Request, view: APIView) -> bool:
        needed: Mapping[str, tuple[str, ...]] = getattr(view, "needed", {})
        user = request.user
        wanted = needed.get(request.method or "", needed["GET"])
        return bool(user.is_active and getattr(user, "is_staff", False) and user.has_perms(wanted))


class PriceFilter(django_filters.FilterSet):  # type: ignore[misc]
    model = IdFilter(field_name="deployment_id", help_text="Id of one model.")
    provider = django_filters.CharFilter(field_name="deployment__provider__slug", help_text="Slug of a provider.")

    class Meta:
        model = Price
        fields: ClassVar[list[str]] = []


class ProposalFilter(PriceFilter):
    class Meta:
        model = PriceProposal
        fields: ClassVar[list[str]] = ["status"]


@extend_schema_view(get=extend_schema(operation_id="prices_list", summary="The price book: every price of every model, newest first"))
class PricesView(ListAPIView[Price]):
    scope = scopes.BY_METHOD
    permission_classes = (PricePermission,)
    needed: ClassVar = {"GET": ("providers.view_price",), "POST": ("providers.add_price",)}
    serializer_class = StoredPriceSerializer
    filterset_class = PriceFilter
    queryset = Price.objects.select_related("deployment__provider").order_by("deployment", "-valid_from", "-pk")

    @extend_schema(
        operation_id="prices_create",
        summary="Add a price; recorded calls keep the one they had",
        request=NewPriceSerializer,
        responses={201: StoredPriceSerializer},
    )
    def post(self, request: Request) -> Response:
        order = NewPriceSerializer(data=request.data, context=self.get_serializer_context())
        order.is_valid(raise_exception=True)
        price = actions.set_price(order.price(), Actor.of(request.user))
        return Response(StoredPriceSerializer(price).data, status=status.HTTP_201_CREATED)


@extend_schema_view(get=extend_schema(operation_id="price_proposals_list", summary="Prices an import found that differ from ours"))
class PriceProposalsView(ListAPIView[PriceProposal]):
    scope = scopes.BY_METHOD
    permission_classes = (PricePermission,)
    needed: ClassVar = {"GET": ("providers.view_priceproposal",)}
    serializer_class = PriceProposalSerializer
    filterset_class = ProposalFilter
    queryset = PriceProposal.objects.select_related("deployment__provider", "current").order_by("-found_at", "-pk")


class PriceDecisionView(GenericAPIView[PriceProposal]):
    scope = scopes.BY_METHOD
    permission_classes = (PricePermission,)
    needed: ClassVar = {
        "GET": ("providers.view_priceproposal",),
        "POST": ("providers.change_priceproposal", "providers.add_price"),
    }
    serializer_class: type[BaseSerializer[Any]] = PriceDecisionSerializer
    queryset = PriceProposal.objects.select_related("deployment__provider", "current")

    @extend_schema(operation_id="price_proposals_decide", summary="Approve or reject a proposed price", responses=PriceProposalSerializer)
    def post(self, request: Request, pk: int) -> Response:
        order = self.get_serializer(data=request.data)
        order.is_valid(raise_exception=True)
        proposal = get_object_or_404(self.get_queryset(), pk=pk)
        if order.validated_data["decision"] == "approve":
            actions.approve_proposal(proposal.pk, Actor.of(request.user))
        else:
            actions.reject_proposal(proposal.pk, Actor.of(request.user))
        return Response(PriceProposalSerializer(self.get_queryset().get(pk=pk)).data)
