"""Idempotency keys in the database: whose request came first, and the answer it got, sealed with the key ring.

Stripe's rules (docs.stripe.com/api/idempotent_requests): the same key with the same request gets the first answer again, with
another request it is refused. Synchronous ORM: event loops use a thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from aigateway import errors
from aigateway.api.errors import Category
from aigateway.errors import GatewayError
from providers import secrets
from providers.upstream.errors import CredentialLocked
from providers.upstream.types import Secret
from usage.ledger import ALIVE_FOR
from usage.models import Attempt, GatewayProcess, IdempotencyRecord

META_KEY = "HTTP_IDEMPOTENCY_KEY"
REPLAYED = "Idempotent-Replayed"
KEPT_FOR = timedelta(hours=24)
KEY_MAX = 255
BODY_BYTES_MAX = 4 * 1024 * 1024
"""Of a stored answer. A larger one is delivered and its key used up, but it cannot be had again."""
CONTROL_LEASE = timedelta(minutes=10)
"""How long a request of the control plane, whose processes send no heartbeats, may be under way before its key is free again."""
RETRY_AFTER_S = 1.0
_CLAIM_TRIES = 5
_FIELD = "sealed_body"
log = structlog.get_logger("aigateway.idempotency")


@dataclass(frozen=True, slots=True)
class Question:
    """One request with a key, as its caller is known. ``process_id`` is ``None`` on the control plane."""

    caller: str
    key: str
    sha256: bytes
    request_id: str
    process_id: UUID | None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to answer: the record to finish or to release."""

    record_id: int
    request_id: str


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    status: int
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)


def checked_key(key: str) -> str:
    """Raises ``GatewayError`` 400 unless it is 1 to 255 printable ASCII characters."""
    if not (0 < len(key) <= KEY_MAX and key.isascii() and key.isprintable()):
        raise errors.invalid_request(f"Idempotency-Key: use 1 to {KEY_MAX} printable ASCII characters.", code="idempotency_key_invalid")
    return key


def fingerprint(method: str, path: str, context: str, body: bytes) -> bytes:
    """What makes two requests the same: method, path with query, context header and body."""
    digest = hashlib.sha256("\0".join((method, path, context, "")).encode("utf-8", "surrogateescape"))
    digest.update(body)
    return digest.digest()


def claim(question: Question) -> Claim | StoredAnswer:
    """The right to answer, or the answer there is. Insert first: of parallel duplicates the database lets one in.

    Raises ``GatewayError``: 409 while the first one is under way or when its answer was not kept, 422 for another request under
    the same key; and ``django.db.Error``.
    """
    for _ in range(_CLAIM_TRIES):
        now = timezone.now()
        IdempotencyRecord.objects.bulk_create([_record(question, now)], ignore_conflicts=True)
        found = IdempotencyRecord.objects.filter(caller=question.caller, key=question.key).first()
        if found is None:
            continue
        if found.request_id == question.request_id:
            return Claim(found.pk, found.request_id)
        if found.expires_at <= now:
            IdempotencyRecord.objects.filter(pk=found.pk, expires_at__lte=now).delete()
            continue
        if bytes(found.request_sha256) != question.sha256:
            raise _reused()
        if found.status is not None:
            return _opened(found, found.status)
        if not _is_orphan(found, now):
            break
        if _taken_over(found, question, now):
            return Claim(found.pk, question.request_id)
    raise _under_way()


def finish(claimed: Claim, answer: StoredAnswer) -> None:
    """Keeps the answer for everybody who asks again. Raises ``django.db.Error``."""
    sealed = b""
    if len(answer.body) <= BODY_BYTES_MAX:
        try:
            sealed = secrets.seal(Secret(answer.body.decode("latin-1")), _place(claimed.record_id))
        except (ImproperlyConfigured, OSError) as error:
            log.error("idempotent_answer_not_kept", reason=type(error).__name__)
    IdempotencyRecord.objects.filter(pk=claimed.record_id, request_id=claimed.request_id).update(
        status=answer.status, content_type=answer.content_type[:100], headers=dict(answer.headers), sealed_body=sealed
    )


def release(claimed: Claim) -> None:
    """Nothing final came of it: the next request with this key is executed. Raises ``django.db.Error``."""
    IdempotencyRecord.objects.filter(pk=claimed.record_id, request_id=claimed.request_id).delete()


def _record(question: Question, now: datetime) -> IdempotencyRecord:
    return IdempotencyRecord(
        caller=question.caller,
        key=question.key,
        request_sha256=question.sha256,
        process_id=question.process_id,
        request_id=question.request_id,
        created_at=now,
        expires_at=now + KEPT_FOR,
    )


def _is_orphan(record: IdempotencyRecord, now: datetime) -> bool:
    """Whoever was answering is dead, and what it had open on the ledger is closed."""
    if record.process_id is None:
        return record.created_at < now - CONTROL_LEASE
    living = GatewayProcess.objects.filter(pk=record.process_id, stopped_at=None, heartbeat_at__gt=now - ALIVE_FOR)
    if record.created_at > now - ALIVE_FOR or living.exists():
        return False
    return not Attempt.objects.filter(request_id=record.request_id, status=Attempt.Status.DISPATCHED).exists()


def _taken_over(record: IdempotencyRecord, question: Question, now: datetime) -> bool:
    """Only one of those who find an orphan gets it."""
    orphan = IdempotencyRecord.objects.filter(pk=record.pk, request_id=record.request_id, status=None)
    return bool(orphan.update(process_id=question.process_id, request_id=question.request_id, created_at=now, expires_at=now + KEPT_FOR))


def _opened(record: IdempotencyRecord, status: int) -> StoredAnswer:
    """Raises ``GatewayError`` 409 when the answer was too large to keep or cannot be opened."""
    try:
        body = secrets.open_sealed(bytes(record.sealed_body), _place(record.pk)).reveal().encode("latin-1")
    except CredentialLocked:
        raise _not_kept(record.request_id) from None
    return StoredAnswer(status, record.content_type, record.headers, body)


def _place(record_id: int) -> secrets.SealContext:
    return secrets.context_of(IdempotencyRecord, record_id, _FIELD)


def _reused() -> GatewayError:
    return GatewayError(
        422,
        Category.VALIDATION,
        "idempotency_key_reused",
        "This Idempotency-Key was used with another request.",
        "Use a new key for a new request; the same key only to repeat one unchanged.",
    )


def _under_way() -> GatewayError:
    return GatewayError(
        409,
        Category.CONFLICT,
        "idempotent_request_in_progress",
        "A request with this Idempotency-Key is being answered.",
        "Wait for the time in the header Retry-After and repeat it: the answer is the same, at no cost.",
        retry_after_s=RETRY_AFTER_S,
    )


def _not_kept(request_id: str) -> GatewayError:
    return GatewayError(
        409,
        Category.CONFLICT,
        "idempotent_result_not_stored",
        f"The request with this Idempotency-Key was answered as {request_id}, and its answer was not kept.",
        "Use a new key to ask again; that is a new request with its own cost.",
    )
