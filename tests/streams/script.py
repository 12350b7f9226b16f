"""What a provider sends for one seed: the text, the frames it comes in, the cuts, and how it ends."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from enum import StrEnum

WORDS = (
    "Hello",
    " world",
    "\n",
    "\r\n",
    "\u2028",
    "\u2029",
    "\u0085",
    "é",
    "漢字",
    "😀",
    "data: no\n\n",
    ": no",
    "\\",
    '"',
    "[DONE]",
    "\t",
    "\x7f",
    "a",
)
BYTES_ALONE = 200
"""About an event. Each is a write of its own, and most of what a stream costs here."""
LINE_ENDS = (b"\n", b"\r\n", b"\r")


class Ending(StrEnum):
    """``proper`` says its last word; the others break off, at a frame boundary or inside a frame."""

    PROPER = "proper"
    RESET = "reset"
    EOF = "eof"
    ERROR_EVENT = "error_event"


@dataclass(frozen=True, slots=True)
class Script:
    """``pieces`` are what is written one after the other; ``sent`` is all of it. ``finish_sent``: it names why the text ends;
    ``terminal_sent``: the provider's last word is in it."""

    wire: str
    text: str
    pieces: tuple[bytes, ...]
    ending: Ending
    finish_sent: bool
    terminal_sent: bool

    @property
    def sent(self) -> bytes:
        return b"".join(self.pieces)


def script(wire: str, seed: int, upstream: str) -> Script:
    """``upstream`` marks the text, so that nobody can mistake whose it is."""
    dice = random.Random(f"{seed} {upstream}")
    words = [f"<{upstream}>", *(dice.choice(WORDS) for _ in range(dice.randrange(0, 12)))]
    end = dice.choice(LINE_ENDS)
    frames = [_framed(dice, wire, payload, end) for payload in FRAMES[wire](words)]
    ending = dice.choices(list(Ending), (5, 2, 2, 1))[0]
    body, finished, complete = b"".join(frames), True, True
    if ending is not Ending.PROPER:
        kept = dice.randrange(len(frames) + 1)
        body = b"".join(frames[:kept])
        finished = kept > len(frames) - (2 if wire == "anthropic" else 3)
        complete = kept == len(frames) if wire == "anthropic" else finished
        if ending is Ending.ERROR_EVENT and not complete:
            body += _framed(dice, wire, ERRORS[wire], end)
        elif kept < len(frames) and dice.random() < 0.5:
            body += frames[kept][: dice.randrange(len(frames[kept]) - 4)]
    return Script(wire, "".join(words), tuple(_cut(dice, body)), ending, finished, complete)


def _framed(dice: random.Random, wire: str, payload: bytes, end: bytes) -> bytes:
    lines = []
    if dice.random() < 0.1:
        lines += [b": keep-alive", b""]
    name, _, rest = payload.partition(b"|") if wire == "anthropic" else (b"", b"", payload)
    lines += [b"event: " + name] if name else []
    lines += [(b"data: " if dice.random() < 0.9 else b"data:") + rest, b"", b""]
    return end.join(lines)


def _cut(dice: random.Random, body: bytes) -> list[bytes]:
    """Whole, in every possible piece at the end and somewhere, or anywhere: between the bytes of a character, of a line end, of a name."""
    style = dice.randrange(4)
    if style == 0 or not body:
        return [body]
    if style == 1:
        last = max(0, len(body) - BYTES_ALONE)
        start = dice.randrange(last + 1)
        stop = min(start + BYTES_ALONE, last)
        return [body[:start], *_bytes(body[start:stop]), body[stop:last], *_bytes(body[last:])]
    pieces = []
    while body:
        size = dice.randrange(1, 40 if style == 2 else 400)
        pieces.append(body[:size])
        body = body[size:]
    return pieces


def _bytes(body: bytes) -> list[bytes]:
    return [body[at : at + 1] for at in range(len(body))]


# --------------------------------------------------------------------------- frames


def _openai(words: list[str]) -> list[bytes]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}

    def chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
        return _json({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    usage = {"prompt_tokens": 5, "completion_tokens": len(words), "total_tokens": 5 + len(words)}
    deltas = [chunk({"content": word}) for word in words]
    return [
        chunk({"role": "assistant", "content": ""}),
        *deltas,
        chunk({}, "stop"),
        _json({**head, "choices": [], "usage": usage}),
        b"[DONE]",
    ]


def _anthropic(words: list[str]) -> list[bytes]:
    usage = {"input_tokens": 5, "output_tokens": 1}
    start = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "m", "stop_reason": None, "usage": usage}
    deltas = [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in words]
    events = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *deltas,
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": len(words)}},
        {"type": "message_stop"},
    ]
    return [str(event["type"]).encode() + b"|" + _json(event) for event in events]


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


FRAMES = {"openai": _openai, "anthropic": _anthropic}
ERRORS = {
    "openai": b'{"error":{"message":"broke","type":"server_error","code":500}}',
    "anthropic": b'error|{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
}
