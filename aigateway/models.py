"""What the composition root keeps in the database: who signed in how and from where, and how often people tried."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.conf import settings
from django.db import models

DEVICE_MAX = 200


class SignIn(models.Model):
    """One sign-in of a person: a browser session, or a chain of access tokens. Kept a while after its end."""

    class Kind(models.TextChoices):
        SESSION = "session", "browser"
        TOKEN = "token", "access token"

    class Method(models.TextChoices):
        PASSWORD = "password", "password"
        OPENID = "openid", "OpenID Connect"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="sign_ins")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    method = models.CharField(max_length=10, choices=Method.choices)
    session_key = models.CharField(max_length=40, null=True, unique=True, editable=False)
    refresh_sha256 = models.BinaryField(max_length=32, null=True, editable=False)
    scopes = models.CharField(max_length=500, blank=True, help_text="What its tokens may do, words separated by blanks.")
    address = models.GenericIPAddressField(null=True)
    device = models.CharField(max_length=DEVICE_MAX, blank=True, help_text="What the browser or program says it is.")
    signed_in_at = models.DateTimeField(db_index=True)
    seen_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "sign-in"
        ordering: ClassVar = ["-seen_at"]
        indexes: ClassVar = [models.Index(fields=["user", "address"], name="sign_in_known_address")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} from {self.address or 'an unknown address'}"


class ExternalIdentity(models.Model):
    """A person at an issuer of tokens is this user. Matched by issuer and subject only, never by name or e-mail."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="external_identities")
    issuer = models.CharField(max_length=300, help_text="Exactly as the issuer writes it in `iss`.")
    subject = models.CharField(max_length=255, help_text="Exactly as the issuer writes it in `sub`.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "external identity"
        verbose_name_plural = "external identities"
        constraints: ClassVar = [models.UniqueConstraint(fields=["issuer", "subject"], name="external_identity_once")]

    def __str__(self) -> str:
        return f"{self.subject} at {self.issuer}"


class AccessState(models.Model):
    """Which tokens of a user are still good: those that carry a proof of this epoch and of the password."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="access_state")
    epoch = models.PositiveBigIntegerField(default=0)
    proof = models.CharField(max_length=43, editable=False, help_text="Of the password and whether the account was active; tells a change.")

    def __str__(self) -> str:
        return f"epoch {self.epoch}"


class TryCount(models.Model):
    """How often something was tried since ``started_at``. Names and addresses are hashed: people type passwords as names."""

    bucket = models.CharField(primary_key=True, max_length=80)
    started_at = models.DateTimeField(db_index=True)
    last_at = models.DateTimeField()
    count = models.PositiveIntegerField()

    def __str__(self) -> str:
        return self.bucket
