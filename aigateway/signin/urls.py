"""Paths of sign-in: pages, and what is below ``/api/v1/ai/``."""

from __future__ import annotations

from django.contrib.auth.views import LogoutView
from django.urls import path

from aigateway.signin import openid, pages, views

api_patterns = [
    path("auth/token", views.TokenView.as_view(), name="auth_token"),
    path("auth/token/refresh", views.RefreshView.as_view(), name="auth_token_refresh"),
    path("auth/token/revoke", views.RevokeView.as_view(), name="auth_token_revoke"),
    path("sessions", views.OwnSignInsView.as_view(), name="sessions"),
    path("sessions/<uuid:sign_in_id>", views.OwnSignInView.as_view(), name="session"),
    path("admin/users/<int:user_id>/sessions", views.SignInsView.as_view(), name="user_sessions"),
]

page_patterns = [
    path("oidc/authenticate/", openid.OpenIdStartView.as_view(), name="oidc_authentication_init"),
    path("oidc/callback/", openid.OpenIdCallbackView.as_view(), name="oidc_authentication_callback"),
    path("account/", pages.account, name="account"),
    path("account/sign-out/", LogoutView.as_view(next_page="admin:login"), name="sign_out"),  # the admin's own is for staff only
    path("account/sessions/end/", pages.end_everything, name="account_end_all"),
    path("account/sessions/<uuid:sign_in_id>/end/", pages.end_sign_in, name="account_end"),
    path("admin/password_change/", pages.PasswordChangeView.as_view()),
    path("admin/password_reset/", pages.ResetAskView.as_view(), name="password_reset"),
    path("admin/password_reset/done/", pages.ResetDoneView.as_view(), name="password_reset_done"),
    path("admin/reset/<uidb64>/<token>/", pages.ResetView.as_view(), name="password_reset_confirm"),
]
