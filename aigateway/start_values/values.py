"""What values of the environment may be: each check says what is wrong and how to mend it, never the value, which may be a secret."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from providers.upstream.types import NamesInvalid, split_names

FLAGS: Final = ("", "0", "1", "true", "false", "yes", "no")
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
SECRET_KEY_MIN: Final = 32
PASSWORD_MIN: Final = 12
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_MAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
_NATURAL: Final = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Fault:
    """``what`` is wrong and how to ``mend`` it, as the two sentences of a line."""

    what: str
    mend: str


Check = Callable[[str], Fault | None]


def broken_text(value: str, *, may_have_lines: bool) -> Fault | None:
    if any((ord(character) < 32 or ord(character) == 127) and not (may_have_lines and character in "\r\n\t") for character in value):
        return Fault("holds a line break or another control character", "Write it on one line")
    text = value.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return Fault("stands in quotes, which count as part of it", "Leave the quotes out: env files and Compose keep them")
    return None


def whole_number(least: int, most: int) -> Check:
    def check(value: str) -> Fault | None:
        if _NATURAL.fullmatch(value) and least <= int(value) <= most:
            return None
        return Fault("is no whole number in its bounds", f"Use one from {least} to {most}, in digits")

    return check


def flag(value: str) -> Fault | None:
    return None if value.lower() in FLAGS else Fault("is neither on nor off", "Use 1 or 0")


def host(value: str) -> Fault | None:
    if _is_address(value) or _HOST.fullmatch(value):
        return None
    return Fault("is no address to listen on", "Use an address without scheme and port, such as 127.0.0.1 or 0.0.0.0")


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def listed(value: str) -> list[str]:
    """A list as people write it: with commas, one a line, or as JSON, which a host such as ``[::1]`` is not. Raises ``NamesInvalid``."""
    text = value.strip()
    if text.startswith("[") and text[1:].lstrip().startswith(('"', "]")):
        return split_names(text)
    return [word.strip() for line in text.splitlines() for word in line.split(",") if word.strip()]


@dataclass(frozen=True, slots=True)
class Each:
    """A list."""

    check: Check

    def __call__(self, value: str) -> Fault | None:
        try:
            return next((fault for word in listed(value) if (fault := self.check(word))), None)
        except NamesInvalid:
            return Fault("is no JSON list of texts", "Use commas, one entry a line, or a JSON list")


@dataclass(frozen=True, slots=True)
class Json:
    """What stands in it is a system check's to judge."""

    kind: type

    def __call__(self, value: str) -> Fault | None:
        try:
            fits = isinstance(json.loads(value), self.kind)
        except (ValueError, RecursionError):
            fits = False
        form = "array" if self.kind is list else "object"
        return None if fits else Fault(f"is no JSON {form}", "docs/configuration.md has an example")


def one_of(*known: str) -> Check:
    def check(value: str) -> Fault | None:
        return None if value in known else Fault("names what there is not", f"Use some of {', '.join(known)}")

    return check


def text(value: str) -> Fault | None:  # noqa: ARG001 - any text will do
    return None


def allowed_host(value: str) -> Fault | None:
    if "://" in value or "/" in value:
        return Fault("names an address where a host name belongs", "Leave scheme and path out: gateway.example.org")
    if value == "*" or _is_address(value) or _HOST.fullmatch(value.removeprefix(".")):
        return None
    if re.search(r":\d+$", value):
        return Fault("names a port", "Leave it out: a host name is allowed on every port")
    return Fault("holds what is no host name", "Use names such as gateway.example.org, with commas between them")


def network(value: str) -> Fault | None:
    try:
        if value != "*":
            ipaddress.ip_network(value, strict=False)
    except ValueError:
        return Fault("holds what is no address", "Use addresses or networks of your proxies, such as 172.18.0.1 or 172.18.0.0/16")
    return None


def _parts(value: str) -> tuple[SplitResult | None, Fault | None]:
    """A URL and what makes it another one than was meant: characters of a password that end it."""
    if "@" in value.partition("://")[2].rpartition("@")[0]:
        return None, Fault("holds '@' in its user name or password", "Write it as %40")
    if "#" in value:
        return None, Fault("holds '#', which ends a URL", "Write a '#' of a password as %23")
    try:
        url = urlsplit(value)
        port = url.port
    except ValueError:
        return None, Fault(
            "cannot be read as a URL", "Write '/', '#', '?', ':', '[' and ']' of a password as %2F, %23, %3F, %3A, %5B and %5D"
        )
    if "@" in f"{url.path}{url.query}" and not url.scheme.startswith("sqlite"):
        return None, Fault("holds '/' or '?' before its '@'", "Write those of a password as %2F and %3F")
    if port == 0:
        return None, Fault("names port 0", "Name the port the server listens on")
    return url, None


def _server(schemes: tuple[str, ...], example: str, path: Callable[[str], bool] = lambda _: True) -> Check:
    def check(value: str) -> Fault | None:
        url, fault = _parts(value)
        if url is None:
            return fault
        if url.scheme not in schemes:
            return Fault("has another scheme than it may have", f"Write it like {example}")
        if url.scheme == "unix" or url.scheme in _MAIL_WITHOUT_SERVER:
            return None
        if not url.hostname and "host=" not in url.query:
            return Fault("names no host", f"Write it like {example}")
        return None if path(url.path) else Fault("has a wrong end", f"Write it like {example}")

    return check


_MAIL_WITHOUT_SERVER: Final = ("consolemail", "filemail", "memorymail", "dummymail")
_SQLITE: Final = ("sqlite", "sqlite3")
_POSTGRES: Final = ("postgres", "postgresql", "psql", "pgsql")


def database(value: str) -> Fault | None:
    example = "postgres://user:password@host:5432/name or sqlite:///path"
    scheme = value.partition(":")[0]
    if scheme in _SQLITE:
        return None if len(value.partition("://")[2].lstrip("/")) else Fault("names no file", f"Write it like {example}")
    return _server(_POSTGRES, example, lambda path: bool(path.strip("/")) and "/" not in path.strip("/"))(value)


def public_url(value: str) -> Fault | None:
    example = "https://gateway.example.org"
    fault = web(value)
    if fault is not None:
        return fault
    url = urlsplit(value)
    if url.path.strip("/") or url.query or url.username is not None:
        return Fault("has more than scheme, host and port", f"Leave path and user out, like {example}: the gateway answers at the root")
    return None


web: Final = _server(("http", "https"), "https://host.example.org/path")
redis: Final = _server(("redis", "rediss", "unix"), "redis://:password@host:6379/0", lambda path: path in ("", "/") or path[1:].isdecimal())
mail_server: Final = _server(
    ("smtp", "smtps", "smtp+tls", "smtp+ssl", *_MAIL_WITHOUT_SERVER), "smtp+tls://user:password@host:587", lambda path: not path[1:]
)


def origin(value: str) -> Fault | None:
    return None if value == "*" else public_url(value)


def key_ring(value: str) -> Fault | None:
    mend = "docs/configuration.md says how to make an entry"
    ids = []
    for number, entry in enumerate(filter(None, map(str.strip, value.split(","))), start=1):
        key_id, separator, encoded = entry.partition(":")
        if not separator or not key_id.isascii() or not key_id.isalnum() or key_id in ids:
            return Fault(f"has no 'id:base64' with an id of its own as entry {number}", mend)
        ids.append(key_id)
        try:
            size = len(base64.b64decode(encoded.replace("-", "+").replace("_", "/"), validate=True))
        except (binascii.Error, ValueError):
            return Fault(f"has no base64 in entry {number}", mend)
        if size != 32:
            return Fault(f"has a key of {size} bytes in entry {number}, where 32 are needed", mend)
    return None if ids else Fault("has no entry", mend)


def secret_key(value: str) -> Fault | None:
    if len(value) >= SECRET_KEY_MIN and len(set(value)) >= 5:
        return None
    return Fault("can be guessed", f"Use at least {SECRET_KEY_MIN} random characters, or leave it out to have one made")


def first_password(value: str) -> Fault | None:
    if len(value) >= PASSWORD_MIN and not value.isdecimal() and len(set(value)) >= 5:
        return None
    return Fault("can be guessed", f"Use at least {PASSWORD_MIN} characters, not digits alone, or leave it out to have one made")


def key_text(least: int) -> Check:
    def check(value: str) -> Fault | None:
        if least <= len(value) <= 4096 and all("!" <= character <= "~" for character in value):
            return None
        return Fault("is no key", f"Use at least {least} printable ASCII characters without spaces, as they were given to you")

    return check


def mail_address(value: str) -> Fault | None:
    inner = value.rpartition("<")[2].removesuffix(">")
    return None if _MAIL.fullmatch(inner) else Fault("holds what is no mail address", "Use addresses such as ops@example.org")


def zone(value: str) -> Fault | None:
    if value in zoneinfo.available_timezones():
        return None
    return Fault("is no time zone", "Use an IANA name, such as UTC or Europe/Berlin")


def log_level(value: str) -> Fault | None:
    return None if value.upper() in LOG_LEVELS else Fault("is no log level", f"Use one of {', '.join(LOG_LEVELS)}")


def folder(value: str) -> Fault | None:
    path = Path(value)
    try:
        in_the_way = next((each for each in (path, *path.parents) if each.exists() and not each.is_dir()), None)
    except OSError:
        return Fault("is no folder", "Name a folder that this user may write to")
    return None if in_the_way is None else Fault("leads through a file", "Name a folder that this user may write to")
