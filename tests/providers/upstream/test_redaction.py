from __future__ import annotations

import base64
import json
import time
from urllib.parse import quote

import pytest

from providers.upstream import redaction
from providers.upstream.redaction import MASK, READ_MAX, WITHHELD, redact, redact_lines

KEY = "sk-live/7f3a91c2+e5d84b60a1b2c3d4e5f60718"
LIMIT = 500


def parts_of(secret: str, length: int = 8) -> list[str]:
    return [secret[start : start + length] for start in range(len(secret) - length + 1)]


@pytest.mark.parametrize("shown", range(len(KEY) + 1))
def test_C16_wherever_the_cut_falls_in_a_key_nothing_of_it_is_left(shown: int) -> None:
    text = redact("x" * (LIMIT - shown) + KEY + " and more", [KEY], LIMIT)
    assert len(text) <= LIMIT
    assert not [part for part in parts_of(KEY, 4) if part in text]


@pytest.mark.parametrize("length", range(8, len(KEY)))
def test_C16_a_part_of_a_key_is_taken_out_wherever_it_comes_from(length: int) -> None:
    for part in (KEY[:length], KEY[-length:], KEY[1 : length + 1]):
        assert redact(f"Incorrect key: {part}.", [KEY]) == f"Incorrect key: {MASK}."


@pytest.mark.parametrize("length", range(4, 8))
def test_C16_what_the_provider_itself_cut_off_is_taken_out_at_the_cut(length: int) -> None:
    assert redact(f"bad request: {KEY[:length]}...", [KEY]) == f"bad request: {MASK}..."


DISGUISES = {
    "base64": base64.b64encode(f"Bearer {KEY}".encode()).decode(),
    "base64 one later": base64.b64encode(f"aBearer {KEY}".encode()).decode(),
    "base64 two later": base64.b64encode(f"abBearer {KEY} tail".encode()).decode(),
    "base64 for addresses": base64.urlsafe_b64encode(KEY.encode()).decode(),
    "percent": quote(KEY, safe=""),
    "percent, every character": "".join(f"%{ord(letter):02x}" for letter in KEY),
    "hexadecimal": KEY.encode().hex(),
    "JSON escapes": "".join(f"\\u{ord(letter):04x}" for letter in KEY),
    "spaces": " ".join(KEY),
    "lines": f"{KEY[:12]}\n{KEY[12:]}",
    "escaped lines": json.dumps(f"{KEY[:12]}\n{KEY[12:24]}\n{KEY[24:]}"),
    "invisible": "\u200b".join(KEY),
    "quotes": f'"{KEY[:6]}" "{KEY[6:]}"',
    "backwards": KEY[::-1],
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_C16_a_text_that_repeats_a_key_in_disguise_is_withheld(disguise: str) -> None:
    assert redact(f"the server says {DISGUISES[disguise]} and more", [KEY]) == WITHHELD


def test_C16_what_is_no_secret_stays() -> None:
    text = "temperature must be below 2; see https://example.org/docs/errors#temperature-range"
    assert redact(text, [KEY, "short"]) == text


def test_C16_keys_nobody_told_us_of_are_known_by_their_form() -> None:
    text = redact("Bearer abcdefghijklmnopqrstuv, gw_0123456789ab_abcdefghijklmnop, sk-proj-0123456789abcdef0, AIzaSyA0123456789abcdefgh")
    assert text == f"Bearer {MASK}, gw_{MASK}, sk-{MASK}, AIza{MASK}"


def test_C16_what_the_process_remembers_is_taken_out_of_every_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_own", {})
    redaction.remember(["the-database-password", ""])
    assert redact("FATAL: the-database-password") == f"FATAL: {MASK}"
    assert redact_lines("Traceback\n  at the-database-password\nend") == f"Traceback\n  at {MASK}\nend"


HOSTILE = {
    "braces": "{" * 1_000_000,
    "nested": '{"a":[' * 170_000,
    "parts of the key": f"{KEY[:8]} " * 110_000,
    "marks": "gw_sk-bearer " * 77_000,
    "one mark": "sk-" * 333_000,
    "escapes": "\\u0073" * 170_000,
    "spaces": " " * 1_000_000,
}


def _least_cpu_s(text: str) -> float:
    """Of several tries: what a shared core adds comes and goes."""

    def once() -> float:
        started = time.thread_time()
        redact(text, [KEY], LIMIT)
        return time.thread_time() - started

    return min(once() for _ in range(7))


@pytest.mark.parametrize("kind", HOSTILE)
def test_S34_hostile_text_costs_in_proportion_to_what_is_read_of_it(kind: str) -> None:
    megabyte = HOSTILE[kind]
    eighth = _least_cpu_s(megabyte[: READ_MAX // 8])
    assert _least_cpu_s(megabyte) < 2 * 8 * eighth + 0.001  # 64 times as much, were it the square
