"""Managed presets: a provider that is a product of the operator's own (wire.md, section 12)."""

from __future__ import annotations

from django.core.exceptions import ValidationError

from providers.audit import SUPERUSERS_ONLY, Actor, changing
from providers.catalog import KINDS, PresetDefaults, ProviderKind
from providers.models import Deployment, ManagedPreset, Provider


def make_preset(provider: Provider, kind: ProviderKind, defaults: PresetDefaults) -> None:
    """Gives a new provider of such a kind its preset and its one model. The caller owns the transaction."""
    ManagedPreset.objects.create(
        provider=provider,
        upstream_kind=defaults.upstream_kind,
        required_tier=defaults.required_tier,
        system_prompt=defaults.system_prompt,
        temperature=defaults.temperature,
    )
    Deployment.objects.create(
        provider=provider,
        name=defaults.name,
        upstream_model=defaults.upstream_model,
        display_name=kind.label,
        capabilities=sorted(kind.default_capabilities),
        max_output_tokens=defaults.max_output_tokens,
    )


def save_preset(preset: ManagedPreset, actor: Actor) -> ManagedPreset:
    """Makes a provider a managed preset, or changes one. It decides where the key goes and who may use it."""
    if not actor.is_superuser:
        raise ValidationError({"upstream_kind": [SUPERUSERS_ONLY]})
    if preset.upstream_kind not in KINDS or KINDS[preset.upstream_kind].preset is not None:
        raise ValidationError({"upstream_kind": ["Name the kind of service behind the preset."]})
    preset.full_clean()
    with changing(actor):
        preset.save()
    return preset


def delete_preset(preset: ManagedPreset, actor: Actor) -> None:
    """Turns a managed preset back into an ordinary provider that everybody may use."""
    if not actor.is_superuser:
        raise ValidationError({"upstream_kind": [SUPERUSERS_ONLY]})
    with changing(actor):
        preset.delete()
