"""Every environment variable and what it may be."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

from aigateway.start_values import values
from aigateway.start_values.values import Check
from providers.catalog import KINDS

WRONG_VALUES: Final = 2
"""Exit code."""
OURS: Final[Mapping[str, Check]] = {
    "HOST": values.host,
    "PORT": values.whole_number(0, 65_535),
    "AIGATEWAY_PUBLIC_URL": values.public_url,
    "AIGATEWAY_ALLOWED_HOSTS": values.Each(values.allowed_host),
    "AIGATEWAY_CORS_ORIGINS": values.Each(values.origin),
    "AIGATEWAY_BEHIND_PROXY": values.flag,
    "FORWARDED_ALLOW_IPS": values.Each(values.network),
    "AIGATEWAY_VAR": values.folder,
    "AIGATEWAY_STATIC_ROOT": values.folder,
    "DATABASE_URL": values.database,
    "AIGATEWAY_DB_POOL_MAX": values.whole_number(2, 10_000),
    "REDIS_URL": values.redis,
    "AIGATEWAY_SECRET_KEY": values.secret_key,
    "AIGATEWAY_KEKS": values.key_ring,
    "SUBSCRIPTION_WEBHOOK_SECRET": values.key_text(16),
    "SUBSCRIPTION_ENDPOINT_URL": values.web,
    "SUBSCRIPTION_ENDPOINT_TOKEN": values.key_text(1),
    "AIGATEWAY_ALERT_EMAILS": values.Each(values.mail_address),
    "AIGATEWAY_EMAIL_URL": values.mail_server,
    "AIGATEWAY_EMAIL_FROM": values.mail_address,
    "AIGATEWAY_ALERT_WEBHOOK_URL": values.web,
    "AIGATEWAY_ALERT_WEBHOOK_SECRET": values.key_text(16),
    "AIGATEWAY_ADMIN_PASSWORD": values.first_password,
    "AIGATEWAY_BOOTSTRAP_KEY": values.key_text(8),
    "AIGATEWAY_WEB_PROCESSES": values.whole_number(1, 1_000),
    "AIGATEWAY_DRAIN_S": values.whole_number(0, 86_400),
    "AIGATEWAY_STOP_DELAY_S": values.whole_number(0, 3_600),
    "AIGATEWAY_RESTART_PAUSE_MAX_S": values.whole_number(1, 86_400),
    "AIGATEWAY_MAX_IN_FLIGHT": values.whole_number(1, 1_000_000),
    "AIGATEWAY_MAX_BODY_BYTES": values.whole_number(1024, 2**31),
    "AIGATEWAY_BODIES_MAX_BYTES": values.whole_number(1024, 2**40),
    "AIGATEWAY_CALLER_BODIES_MAX_BYTES": values.whole_number(1024, 2**40),
    "AIGATEWAY_AUTH": values.Each(values.one_of("api_key", "session", "jwt")),
    "AIGATEWAY_PASSWORD_LOGIN": values.flag,
    "AIGATEWAY_TOKEN_BY_PASSWORD": values.flag,
    "AIGATEWAY_SESSION_IDLE_S": values.whole_number(60, 10**9),
    "AIGATEWAY_SESSION_MAX_S": values.whole_number(60, 10**9),
    "AIGATEWAY_JWT_ISSUERS": values.Json(list),
    "AIGATEWAY_OIDC_ISSUER": values.web,
    "AIGATEWAY_OIDC_CLIENT_ID": values.text,
    "AIGATEWAY_OIDC_CLIENT_SECRET": values.key_text(1),
    "AIGATEWAY_OIDC_LABEL": values.text,
    "AIGATEWAY_OIDC_SCOPES": values.text,
    "AIGATEWAY_OIDC_ALGORITHMS": values.Each(values.text),
    "AIGATEWAY_OIDC_USERNAME_CLAIM": values.text,
    "AIGATEWAY_OIDC_GROUPS_CLAIM": values.text,
    "AIGATEWAY_OIDC_GROUPS": values.Json(dict),
    "AIGATEWAY_OIDC_STAFF": values.Each(values.text),
    "AIGATEWAY_OIDC_SUPERUSERS": values.Each(values.text),
    "AIGATEWAY_OIDC_ADMIT_GROUPS": values.Each(values.text),
    "AIGATEWAY_OIDC_ADMIT_DOMAINS": values.Each(values.text),
    "AIGATEWAY_OIDC_CREATE_USERS": values.flag,
    "AIGATEWAY_OIDC_ALLOW_HTTP": values.flag,
    "AIGATEWAY_TIME_ZONE": values.zone,
    "AIGATEWAY_LOG_LEVEL": values.log_level,
    "AIGATEWAY_DEV": values.flag,
}


def checks() -> dict[str, Check]:
    """By variable, those of the kinds of providers among them."""
    table = dict(OURS)
    for kind in KINDS.values():
        table[kind.base_url_env_var] = values.web
        table |= dict.fromkeys(kind.key_env_vars, values.key_text(1))
    return table


def faults(environ: Mapping[str, str]) -> list[str]:
    """A line for every variable whose value cannot be; empty when the gateway may start. An empty value counts as unset."""
    found = []
    for name, check in checks().items():
        value = environ.get(name, "")
        if value.strip():
            fault = values.broken_text(value, may_have_lines=isinstance(check, values.Each | values.Json)) or check(value.strip())
            if fault is not None:
                found.append(f"{name} {fault.what}. {fault.mend}.")
    return found


def require(environ: Mapping[str, str]) -> None:
    """Ends the process with the lines on standard error, before anything else could fail for the same reason."""
    lines = faults(environ)
    if lines:
        sys.stderr.write("".join(f"error: {line}\n" for line in lines))
        sys.stderr.flush()
        raise SystemExit(WRONG_VALUES)
