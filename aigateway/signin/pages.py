"""Pages of one's own account: where one is signed in, a new password, a forgotten one."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.forms import AdminAuthenticationForm, AdminPasswordChangeForm
from django.contrib.auth import views
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import PasswordResetForm
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.urls import reverse, reverse_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from aigateway.models import SignIn
from aigateway.signin import bounds, openid, resets, standing
from aigateway.signin.origin import Origin
from aigateway.signin.passwords import is_password_of


class SignInForm(AdminAuthenticationForm):
    """Tells its template what else is offered."""

    @property
    def openid_label(self) -> str:
        return str(settings.OPENID["label"]) if openid.is_on() else ""

    @property
    def offers_passwords(self) -> bool:
        """Switched off they are one step away: the administrators' remain, for the day the identity provider is away."""
        asked = self.request is not None and "password" in self.request.GET
        return settings.PASSWORD_LOGIN or asked or self.is_bound

    @property
    def offers_reset(self) -> bool:
        return resets.are_on()


class PasswordChangeForm(AdminPasswordChangeForm):
    """The old password is looked at within the bounds of a sign-in: who sits at an open session must not guess it."""

    request: HttpRequest | None = None

    def clean_old_password(self) -> str:
        old: str = self.cleaned_data["old_password"]
        if not is_password_of(self.request, self.user.get_username(), self.user, old):
            raise ValidationError(self.error_messages["password_incorrect"], code="password_incorrect")
        return old


class PasswordChangeView(views.PasswordChangeView):
    form_class = PasswordChangeForm
    template_name = "registration/password_change_form.html"
    success_url = reverse_lazy("admin:password_change_done")

    def get_form(self, form_class: Any = None) -> Any:
        form: Any = super().get_form(form_class)
        form.request = self.request
        return form

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**admin.site.each_context(self.request), **super().get_context_data(**kwargs)}


class AskForm(PasswordResetForm):
    """Looks nobody up: whether the address is known is found out elsewhere and later, so neither text nor time tells."""

    email = forms.EmailField(label="E-mail", max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "email"}))

    def save(self, **options: Any) -> None:  # type: ignore[override]
        request: HttpRequest = options["request"]
        email = self.cleaned_data["email"]
        network = bounds.network_of(Origin.of(request).address)
        asked = (bounds.RESET_ADDRESS.bucket(network), bounds.RESET_NAME.bucket(email.casefold()), bounds.RESET_OVERALL.bucket())
        bounds.count_try(asked)
        resets.ask(email, settings.PUBLIC_URL or f"{request.scheme}://{request.get_host()}")


class ResetsAreOn:
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not resets.are_on():
            raise Http404
        response: HttpResponseBase = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        return response


class ResetAskView(ResetsAreOn, views.PasswordResetView):
    form_class = AskForm
    success_url = reverse_lazy("password_reset_done")


class ResetDoneView(ResetsAreOn, views.PasswordResetDoneView):
    pass


class ResetView(ResetsAreOn, views.PasswordResetConfirmView):
    success_url = reverse_lazy("admin:login")


@never_cache
@login_required
@require_GET
def account(request: HttpRequest) -> HttpResponse:
    sign_ins = standing.live_sign_ins(_person(request))
    context = {**admin.site.each_context(request), "title": "Your sign-ins", "sign_ins": sign_ins, "own": request.session.session_key}
    return render(request, "signin/account.html", context)


@never_cache
@login_required
@require_POST
def end_sign_in(request: HttpRequest, sign_in_id: uuid.UUID) -> HttpResponse:
    standing.end(get_object_or_404(SignIn, pk=sign_in_id, user=_person(request), ended_at=None), "ended by its person")
    messages.success(request, "Ended.")
    return HttpResponseRedirect(reverse("account"))


@never_cache
@login_required
@require_POST
def end_everything(request: HttpRequest) -> HttpResponse:
    standing.end_everything(_person(request), "signed out everywhere", but=request.session.session_key)
    messages.success(request, "You are signed out everywhere else, and all access tokens are ended.")
    return HttpResponseRedirect(reverse("account"))


def _person(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user
