"""What-if questions over REST, for finance."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ValidationError
from rest_framework.views import APIView

from usage.keys import Scope
from usage.rest import IsFinance
from usage.whatif.replay import WhatIfRefused, replay
from usage.whatif.serializers import AnswerSerializer, WhatIfSerializer, shown_answer

_SUMMARY = "What a past period would have cost under other prices or another policy"


class WhatIfView(APIView):
    """Both methods only read; POST is for price cards and mappings that no address holds."""

    scope = Scope.FINANCE_READ
    permission_classes = (IsFinance,)

    @extend_schema(operation_id="admin_what_if", summary=_SUMMARY, parameters=[WhatIfSerializer], responses=AnswerSerializer)
    def get(self, request: Request) -> Response:
        return self._answer(request.query_params.dict())

    @extend_schema(operation_id="admin_what_if_ask", summary=_SUMMARY, request=WhatIfSerializer, responses=AnswerSerializer)
    def post(self, request: Request) -> Response:
        return self._answer(request.data)

    def _answer(self, sent: Any) -> Response:
        asked = WhatIfSerializer(data=sent)
        asked.is_valid(raise_exception=True)
        try:
            answer = replay(asked.question())
        except WhatIfRefused as error:
            raise ValidationError({"detail": [str(error)]}) from error
        return Response(shown_answer(answer))
