"""Provider keys are bound to the address they were entered for: stored, and sealed into the key."""

from dataclasses import replace

from django.conf import settings
from django.db import migrations, models

from providers import secrets
from providers.upstream.egress import origin_of
from providers.upstream.errors import CredentialLocked, EgressDenied


def bind_keys(apps, schema_editor):
    """What a key was entered for is the address its provider had then: by the audit log where it moved since, else the present one.

    A key that the ring at hand cannot open, or whose address is no address, stays unbound: it opens for nobody until it is entered
    again, or bound by hand (`rotate_kek --bind-keys`).
    """
    credentials = apps.get_model("providers", "Credential")
    if not credentials.objects.exists() or secrets.key_ring() is None:
        return
    for credential in credentials.objects.select_related("provider"):
        if not secrets.is_without_origin(credential.sealed_secret):
            continue
        place = secrets.SealContext("providers_credential", str(credential.pk), "sealed_secret")
        try:
            origin = origin_of(address_then(apps, credential))
            sealed = secrets.bound(credential.sealed_secret, replace(place, origin=origin))
        except (CredentialLocked, EgressDenied):
            continue
        credentials.objects.filter(pk=credential.pk).update(origin=origin, sealed_secret=sealed)


def address_then(apps, credential):
    """The provider's base URL when the key was stored."""
    changes = (
        apps.get_model("auditlog", "LogEntry")
        .objects.filter(
            content_type__app_label="providers",
            content_type__model="provider",
            object_pk=str(credential.provider_id),
            timestamp__gte=credential.created_at,
        )
        .order_by("timestamp", "pk")
        .values_list("changes", flat=True)
    )
    moves = (change["base_url"] for change in changes if isinstance(change, dict) and "base_url" in change)
    return next(moves, [credential.provider.base_url])[0]


class Migration(migrations.Migration):
    dependencies = [
        ("providers", "0008_slug_of_deleted_is_free"),
        ("auditlog", "0017_add_actor_email"),
        ("contenttypes", "0002_remove_content_type_name"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="credential",
            name="origin",
            field=models.CharField(
                blank=True,
                default="",
                editable=False,
                help_text="Scheme, host and port the key was entered for; it is sealed with them and opens for no others.",
                max_length=300,
            ),
            preserve_default=False,
        ),
        migrations.RunPython(bind_keys, migrations.RunPython.noop, elidable=True),
    ]
