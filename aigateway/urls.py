"""URLs of the control plane. Inference paths are answered by ``aigateway.edge`` before Django sees them."""

from django.contrib import admin
from django.urls import path

urlpatterns = [
    path("admin/", admin.site.urls),
]

