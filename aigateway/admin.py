"""Gathers the admin pages of the rooms: importing a room's pages registers them."""

from __future__ import annotations

from django.contrib import admin

from aigateway.signin.admin import ExternalIdentityAdmin, SignInAdmin
from aigateway.signin.pages import SignInForm

__all__ = ["ExternalIdentityAdmin", "SignInAdmin"]

admin.site.login_form = SignInForm
