"""Pages of every list: ``page`` and ``page_size``, bounded."""

from __future__ import annotations

from rest_framework import pagination


class PageNumberPagination(pagination.PageNumberPagination):
    """At most 500 rows a page. A page size that is no number falls back to the default."""

    page_size_query_param = "page_size"
    max_page_size = 500
