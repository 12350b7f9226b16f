"""The one settings file. Every variable it reads is documented in docs/configuration.md."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import environ

from aigateway import env, start_values
from aigateway.env import API_KEYS, SESSIONS, STRATEGIES, TOKENS

start_values.require(os.environ)

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(os.environ.get("AIGATEWAY_VAR") or BASE_DIR / "var")

HOST = os.environ.get("HOST") or "127.0.0.1"
PORT = env.integer("PORT", 8000)  # 0: any free one
PUBLIC_URL = os.environ.get("AIGATEWAY_PUBLIC_URL", "").rstrip("/")
BEHIND_PROXY = env.flag("AIGATEWAY_BEHIND_PROXY")
FORWARDED_ALLOW_IPS = env.networks("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")
DEBUG = env.flag("AIGATEWAY_DEV")
SECRET_KEY = os.environ.get("AIGATEWAY_SECRET_KEY") or env.stored_secret(VAR_DIR / "secret_key", env.new_secret_key())
ALLOWED_HOSTS = env.allowed_hosts(HOST)

# Sealing of provider keys: "id:base64,id:base64", first one seals. providers.secrets reads it.
KEY_RING = os.environ.get("AIGATEWAY_KEKS") or None
KEY_RING_FILE = VAR_DIR / "keks"

REDIS_URL = os.environ.get("REDIS_URL") or None

# Data plane bounds.
MAX_BODY_BYTES = env.integer("AIGATEWAY_MAX_BODY_BYTES", 10 * 1024 * 1024, minimum=1024)
BODIES_MAX_BYTES = env.integer("AIGATEWAY_BODIES_MAX_BYTES", 256 * 1024 * 1024, minimum=1024)
CALLER_BODIES_MAX_BYTES = env.integer("AIGATEWAY_CALLER_BODIES_MAX_BYTES", 32 * 1024 * 1024, minimum=1024)
BODY_RECEIPT_TIMEOUT_S = 30.0
CORS_ORIGINS = env.origins("AIGATEWAY_CORS_ORIGINS")  # whose pages may call inference and the REST API from a browser; "*": any
MAX_IN_FLIGHT = env.integer("AIGATEWAY_MAX_IN_FLIGHT", 1000, minimum=1)
DRAIN_S = env.integer("AIGATEWAY_DRAIN_S", 60, minimum=0)
STOP_DELAY_S = env.integer("AIGATEWAY_STOP_DELAY_S", 0, minimum=0)
RESTART_PAUSE_MAX_S = env.integer("AIGATEWAY_RESTART_PAUSE_MAX_S", 30, minimum=1)
WEB_PROCESSES = env.integer("AIGATEWAY_WEB_PROCESSES", 1, minimum=1)

# Who has subscribed to what, told by a payment service (signed webhook) or asked of an endpoint of one's own.
SUBSCRIPTION_WEBHOOK_SECRET = os.environ.get("SUBSCRIPTION_WEBHOOK_SECRET", "")  # Stripe shows it as whsec_...
SUBSCRIPTION_ENDPOINT_URL = os.environ.get("SUBSCRIPTION_ENDPOINT_URL", "")
SUBSCRIPTION_ENDPOINT_TOKEN = os.environ.get("SUBSCRIPTION_ENDPOINT_TOKEN", "")

# Who is told of budgets that run out.
EMAIL_URL = os.environ.get("AIGATEWAY_EMAIL_URL", "")
vars().update(environ.Env.email_url_config(EMAIL_URL) if EMAIL_URL else {"EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend"})
DEFAULT_FROM_EMAIL = os.environ.get("AIGATEWAY_EMAIL_FROM", "aigateway@localhost")
EMAIL_TIMEOUT = 10
ALERT_EMAILS = env.words("AIGATEWAY_ALERT_EMAILS")
ALERT_WEBHOOK_URL = os.environ.get("AIGATEWAY_ALERT_WEBHOOK_URL", "")
ALERT_WEBHOOK_SECRET = os.environ.get("AIGATEWAY_ALERT_WEBHOOK_SECRET", "")

# How people and programs prove who they are.
AUTH = env.choices("AIGATEWAY_AUTH", STRATEGIES)
PASSWORD_LOGIN = env.flag("AIGATEWAY_PASSWORD_LOGIN", default=True)
TOKEN_BY_PASSWORD = env.flag("AIGATEWAY_TOKEN_BY_PASSWORD", default=True)
SESSION_IDLE_S = env.integer("AIGATEWAY_SESSION_IDLE_S", 12 * 3600, minimum=60)
SESSION_MAX_S = env.integer("AIGATEWAY_SESSION_MAX_S", 7 * 24 * 3600, minimum=60)
JWT_ISSUERS = os.environ.get("AIGATEWAY_JWT_ISSUERS", "")
OPENID: dict[str, Any] = {
    "issuer": os.environ.get("AIGATEWAY_OIDC_ISSUER", ""),
    "client_id": os.environ.get("AIGATEWAY_OIDC_CLIENT_ID", ""),
    "client_secret": os.environ.get("AIGATEWAY_OIDC_CLIENT_SECRET", ""),
    "label": os.environ.get("AIGATEWAY_OIDC_LABEL") or "OpenID Connect",
    "scopes": os.environ.get("AIGATEWAY_OIDC_SCOPES") or "openid profile email",
    "algorithms": env.words("AIGATEWAY_OIDC_ALGORITHMS"),
    "username_claim": os.environ.get("AIGATEWAY_OIDC_USERNAME_CLAIM", ""),
    "groups_claim": os.environ.get("AIGATEWAY_OIDC_GROUPS_CLAIM", ""),
    "groups": os.environ.get("AIGATEWAY_OIDC_GROUPS", ""),
    "staff": env.words("AIGATEWAY_OIDC_STAFF"),
    "superusers": env.words("AIGATEWAY_OIDC_SUPERUSERS"),
    "admit_groups": env.words("AIGATEWAY_OIDC_ADMIT_GROUPS"),
    "admit_domains": env.words("AIGATEWAY_OIDC_ADMIT_DOMAINS"),
    "create_users": env.flag("AIGATEWAY_OIDC_CREATE_USERS"),
    "allow_http": env.flag("AIGATEWAY_OIDC_ALLOW_HTTP"),
}

INSTALLED_APPS = [
    "aigateway.apps.AIGatewayConfig",
    "providers",
    "usage",
    "preferences",
    "aigateway.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "auditlog",
    "axes",
    "csp",
]

MIDDLEWARE = [
    "aigateway.api.request_id.RequestIdMiddleware",
    "aigateway.process.health.ProbeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "aigateway.static_files.StaticFilesMiddleware",
    "aigateway.api.private.PrivateAnswersMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "aigateway.signin.signing_in.AccessMiddleware",
    "aigateway.api.origin.OriginMiddleware",
    "axes.middleware.AxesMiddleware",
    "aigateway.idempotency.middleware.IdempotencyMiddleware",
]

DEFAULT_EXCEPTION_REPORTER = "aigateway.api.debug_pages.Reporter"
DEFAULT_EXCEPTION_REPORTER_FILTER = "aigateway.api.debug_pages.SecretsFilter"
ROOT_URLCONF = "aigateway.urls"
ASGI_APPLICATION = "aigateway.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


def _database() -> dict[str, Any]:
    config: dict[str, Any] = environ.Env.db_url_config(os.environ.get("DATABASE_URL") or f"sqlite:///{VAR_DIR / 'aigateway.sqlite3'}")
    if config["ENGINE"].endswith("sqlite3"):
        config["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;",
        }
    else:
        config["ENGINE"] = "aigateway.postgresql"
        config["CONN_MAX_AGE"] = 0
        config["OPTIONS"] = {
            **config.get("OPTIONS", {}),
            "pool": {"min_size": 1, "max_size": env.integer("AIGATEWAY_DB_POOL_MAX", 10, minimum=2), "timeout": 10},
        }
    return config


DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

AUTHENTICATION_BACKENDS = [
    "aigateway.signin.passwords.PasswordBackend",
    "aigateway.signin.openid.OpenIdBackend",
    "axes.backends.AxesStandaloneBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
PASSWORD_RESET_TIMEOUT = 3600
AXES_LOCK_OUT_AT_FAILURE = False  # it only keeps records: aigateway.signin.bounds decides
AXES_VERBOSE = False
AXES_CLIENT_IP_CALLABLE = "aigateway.api.origin.remote_address"
AXES_USERNAME_CALLABLE = "aigateway.api.login_names.name_tried"

AUTHENTICATION_CLASSES = {
    TOKENS: "aigateway.signin.authentication.TokenAuthentication",
    API_KEYS: "aigateway.api.authentication.ApiKeyAuthentication",
    SESSIONS: "aigateway.api.authentication.SessionAuthentication",
}

LANGUAGE_CODE = "en"
TIME_ZONE = os.environ.get("AIGATEWAY_TIME_ZONE") or "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = Path(os.environ.get("AIGATEWAY_STATIC_ROOT") or VAR_DIR / "static")
STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # WhiteNoise warns about a folder that is not there.
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False

MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"  # the default is a cookie that its owner can read
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"

_https = PUBLIC_URL.startswith("https://")
SECURE_SSL_REDIRECT = _https
SECURE_HSTS_SECONDS = 31_536_000 if _https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = _https
SESSION_ENGINE = "aigateway.signin.session_store"
SESSION_COOKIE_AGE = SESSION_MAX_S
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _https
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL] if PUBLIC_URL else []
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [place for strategy, place in AUTHENTICATION_CLASSES.items() if strategy in AUTH],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["aigateway.api.parsing.StrictJSONParser"],
    "DEFAULT_PAGINATION_CLASS": "aigateway.api.pagination.PageNumberPagination",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_METADATA_CLASS": "aigateway.api.metadata.Methods",
    "DEFAULT_SCHEMA_CLASS": "aigateway.api.schema.AutoSchema",
    "EXCEPTION_HANDLER": "aigateway.api.errors.exception_handler",
    "PAGE_SIZE": 50,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "AI gateway",
    "DESCRIPTION": "Management, preferences, usage and inference. Inference also speaks the OpenAI wire format below /v1.",
    "VERSION": "0.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "ENUM_NAME_OVERRIDES": {
        "HealthStatusEnum": [(color, color) for color in ("green", "yellow", "red", "unknown")],
        "PeriodEnum": [(unit, unit.capitalize()) for unit in ("hour", "day", "week", "month", "total")],
    },
    "PREPROCESSING_HOOKS": ["aigateway.api.inference_schema.drop_aliases"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "aigateway.api.inference_schema.add_inference",
        "aigateway.api.answer_headers.describe",
    ],
}

_celery_folder = VAR_DIR / "celery"
CELERY_BROKER_URL = REDIS_URL or "filesystem://"
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = (
    {"visibility_timeout": 3600}
    if REDIS_URL
    else {
        "data_folder_in": str(_celery_folder / "queue"),
        "data_folder_out": str(_celery_folder / "queue"),
        "control_folder": str(_celery_folder / "control"),
        "store_processed": False,
    }
)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_TIME_LIMIT = 300
CELERY_TIMEZONE = "UTC"
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"

LOG_LEVEL = os.environ.get("AIGATEWAY_LOG_LEVEL") or "INFO"
LOGGING_CONFIG = "aigateway.logs.configure"
LOGGING: dict[str, Any] = {"level": LOG_LEVEL}
