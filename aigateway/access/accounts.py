"""Every write to accounts and groups that a person asks for. Each owns its transaction, its audit entry and the one rule of rights."""

from __future__ import annotations

from collections.abc import Iterable

from django.contrib.auth.models import Group, Permission, User
from django.core.exceptions import PermissionDenied
from django.db import transaction

from providers import rights
from providers.audit import Actor, audited
from providers.models import ConfigVersion
from providers.rights import Rights
from usage.keys import revoke_api_key
from usage.models import ApiKey

LAST_SUPERUSER = "This is the only active superuser. Make another one first."


def save_account(account: User, actor: Actor) -> User:
    """Adds an account or changes its fields. Raises ``PermissionDenied``."""
    with transaction.atomic(), audited(actor):
        stored = User.objects.select_for_update().filter(pk=account.pk).first()
        if stored is not None:
            account._state.adding = False  # whoever made the object: the audit log looks at this, not at the row
            rights.check_account(stored, actor)
            _keep_a_superuser(stored, stays=account.is_active and account.is_superuser)
        rights.check_rights(Rights(superuser=account.is_superuser, staff=account.is_staff), actor, "staff or superuser status")
        account.save()
        _announce(account)
    return account


def set_groups(account: User, groups: Iterable[Group], actor: Actor) -> None:
    """Makes the account a member of exactly these groups. Raises ``PermissionDenied``."""
    wanted = {group.pk: group for group in groups}
    with transaction.atomic(), audited(actor):
        rights.check_account(account, actor)
        for added in wanted.keys() - {*account.groups.values_list("pk", flat=True)}:
            rights.check_rights(rights.rights_of_group(wanted[added]), actor, f"membership in “{wanted[added]}”")
        account.groups.set(wanted)
        _announce(account)


def set_permissions(holder: User | Group, permissions: Iterable[Permission], actor: Actor) -> None:
    """Gives an account or a group exactly these permissions. Raises ``PermissionDenied``."""
    wanted = {permission.pk: permission for permission in permissions}
    with transaction.atomic(), audited(actor):
        held = holder.user_permissions if isinstance(holder, User) else holder.permissions
        _check_holder(holder, actor)
        for added in wanted.keys() - {*held.values_list("pk", flat=True)}:
            rights.check_rights(Rights(permissions=frozenset({added})), actor, f"the permission “{wanted[added].name}”")
        held.set(wanted)


def deactivate(account: User, actor: Actor) -> None:
    """Ends an account for good measure: nobody signs in with it, its keys are revoked. Its records stay. Sessions and tokens end
    with it, as with every save that puts an account to sleep (``signin.user_was_saved``)."""
    with transaction.atomic(), audited(actor):
        account = User.objects.select_for_update().get(pk=account.pk)
        rights.check_account(account, actor)
        _keep_a_superuser(account, stays=False)
        account.is_active = False
        account.save(update_fields=["is_active"])
        for key in ApiKey.objects.filter(user=account, revoked_at=None):
            revoke_api_key(key, actor=actor)
        _announce(account)


def save_group(group: Group, actor: Actor) -> Group:
    """Adds a group or renames one: a name may carry a role. Raises ``PermissionDenied``."""
    with transaction.atomic(), audited(actor):
        stored = Group.objects.select_for_update().filter(pk=group.pk).first()
        if stored is not None:
            rights.check_rights(rights.rights_of_group(stored), actor, f"what “{stored}” has")
        rights.check_rights(rights.rights_of_group(group), actor, f"what “{group}” has")
        group.save()
        ConfigVersion.bump("budgets")
    return group


def delete_group(group: Group, actor: Actor) -> None:
    """Its members and permissions are taken out first, so that the audit log names them. Raises ``PermissionDenied``."""
    with transaction.atomic(), audited(actor):
        rights.check_rights(rights.rights_of_group(group), actor, f"what “{group}” has")
        group.user_set.clear()
        group.permissions.clear()
        group.delete()
        ConfigVersion.bump("budgets")


def _check_holder(holder: User | Group, actor: Actor) -> None:
    if isinstance(holder, User):
        rights.check_account(holder, actor)
    else:
        rights.check_rights(rights.rights_of_group(holder), actor, f"what “{holder}” has")


def _keep_a_superuser(account: User, *, stays: bool) -> None:
    if not stays and rights.is_last_superuser(account):
        raise PermissionDenied(LAST_SUPERUSER)


def _announce(account: User) -> None:
    ConfigVersion.bump(f"user:{account.pk}")
