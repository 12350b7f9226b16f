"""Headers of the answers in the OpenAPI document, in one place for all operations of both planes (C09).

A header that no middleware and no view is known to send is an error of the fuzz tests, so a new one is described here or where
its operation is.
"""

from __future__ import annotations

from typing import Any

COMPONENTS = "#/components/headers/"


def _text(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}


EVERYWHERE = {
    "X-Request-ID": {**_text("Quote it when you ask for help: the client's own where it is well formed."), "required": True},
    "Allow": _text("The methods of this address."),
    "Cache-Control": _text("Answers about somebody are `private, no-store`."),
    "Vary": _text("The request headers the answer depends on."),
    "Content-Security-Policy": _text("Nothing of an answer runs in a browser."),
    "Cross-Origin-Opener-Policy": _text("`same-origin`"),
    "Referrer-Policy": _text("`same-origin`"),
    "X-Content-Type-Options": _text("`nosniff`"),
    "X-Frame-Options": _text("`DENY`"),
}
DECISION = {
    "X-Gateway-Request-ID": _text("The gateway's own id of the request: what the ledger and support go by."),
    "X-Gateway-Provider": _text("Who answered."),
    "X-Gateway-Model": _text("Which of its models."),
    "X-Gateway-Attempts": _text("How many calls to providers it took."),
    "X-Gateway-Cached": _text("`true`: no provider was asked."),
    "X-Gateway-Policy": _text("The policy that chose."),
    "X-Gateway-Why": _text("The choice in words."),
    "X-Gateway-Degraded": _text("What was left out or passed over, and why."),
    "X-Gateway-Unchecked": _text("Fields that were passed on unread."),
    "X-Gateway-Cost-USD": _text("What it cost, to the nano-dollar; not on streams."),
}
"""On answers of a model."""
CHALLENGE = {"WWW-Authenticate": _text("How to say who you are.")}
WAIT = {"Retry-After": {"description": "Seconds until the same request may succeed.", "schema": {"type": "integer"}}}
REPLAYED = {"Idempotent-Replayed": _text("`true`: the first answer to this Idempotency-Key, again.")}
FILE = {
    "Content-Disposition": _text("The name to save the file under."),
    "Repr-Digest": _text("Of a finished file: its SHA-256 (RFC 9530)."),
    "X-Accel-Buffering": _text("`no`: proxies pass a stream on as it comes."),
}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "Printable ASCII, best a new UUID. The same request again within 24 hours gets the first answer.",
}
WRITES = ("post", "put", "patch", "delete")


def describe(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """``POSTPROCESSING_HOOKS``, the last one."""
    described = EVERYWHERE | DECISION | CHALLENGE | WAIT | REPLAYED | FILE
    result["components"]["headers"] = {name: {**header} for name, header in described.items()}
    for item in result["paths"].values():
        for method, operation in item.items():
            is_inference = "inference" in operation.get("tags", ())
            for status, answer in operation["responses"].items():
                own = answer.get("headers", {})
                answer["headers"] = {
                    name: {"$ref": COMPONENTS + name} for name in _names(method, status, answer, is_inference=is_inference)
                } | own
            if method in WRITES and operation.get("security"):
                _add_parameter(operation, IDEMPOTENCY_KEY)
    return result


def _names(method: str, status: str, answer: dict[str, Any], *, is_inference: bool) -> list[str]:
    names = [*EVERYWHERE]
    if is_inference and status == "200":
        names += DECISION
    if status == "401":
        names += CHALLENGE
    if status in ("409", "429", "503"):
        names += WAIT
    if method in WRITES and status.startswith("2"):
        names += REPLAYED
    if not {"application/json"} >= set(answer.get("content", {})):
        names += FILE
    return names


def _add_parameter(operation: dict[str, Any], parameter: dict[str, Any]) -> None:
    parameters = operation.setdefault("parameters", [])
    if not any(each["name"] == parameter["name"] for each in parameters):
        parameters.append(parameter)
