"""A small identity provider on loopback, with keys of its own and whatever mistakes a test wants of it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT_ID = "gateway-client"
CLIENT_SECRET = "the client secret of these tests"
AUDIENCE = "gateway-api"


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024 if name == "short" else 2048)


def public_jwk(name: str = "k1") -> dict[str, Any]:
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key(name).public_key()))
    return {**jwk, "kid": name, "use": "sig", "alg": "RS256"}


class SmallIssuer:
    """``subject`` is who signs in; ``asked`` counts requests by path; ``answers`` replaces what a path answers."""

    def __init__(self) -> None:
        self.url = ""
        self.keys = [public_jwk()]
        self.answers: dict[str, Any] = {}
        self.asked: dict[str, int] = {}
        self.codes: dict[str, dict[str, Any]] = {}

    # ----------------------------------------------------------------- tokens

    def claims(self, **changed: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": "person-1", "iat": now, "nbf": now, "exp": now + 300, **changed}
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self, *, kid: str = "k1", algorithm: str = "RS256", key: Any = None, headers: dict[str, Any] | None = None, **changed: Any
    ) -> str:
        signer = None if algorithm == "none" else key or rsa_key(kid)
        return jwt.encode(self.claims(**changed), signer, algorithm, headers={"kid": kid, **(headers or {})})

    def confused(self, secret: bytes, **changed: Any) -> str:
        """Signed with a shared secret that everybody knows: the public key."""
        parts = [{"alg": "HS256", "kid": "k1", "typ": "JWT"}, self.claims(**changed)]
        signed = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
        mac = hmac.digest(secret, signed.encode(), "sha256")
        return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"

    def authorize(self, location: str, **changed: Any) -> dict[str, str]:
        """What the browser brings back after the person said yes: the parameters of the callback."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        code = f"code-{len(self.codes)}"
        claims = {"aud": CLIENT_ID, "nonce": asked["nonce"], "nbf": None, **changed}
        self.codes[code] = {"challenge": asked["code_challenge"], "claims": claims, "redirect_uri": asked["redirect_uri"]}
        return {"code": code, "state": asked["state"]}

    # ----------------------------------------------------------------- what it answers

    def answer(self, path: str, form: dict[str, str]) -> tuple[int, Any]:
        self.asked[path] = self.asked.get(path, 0) + 1
        if path in self.answers:
            given = self.answers[path]
            return given if isinstance(given, tuple) else (200, given)
        if path == "/.well-known/openid-configuration":
            places = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/jwks"}
            return 200, {"issuer": self.url, **{name: self.url + place for name, place in places.items()}}
        if path == "/jwks":
            return 200, {"keys": self.keys}
        if path == "/token":
            return self._exchanged(form)
        return 404, {}

    def _exchanged(self, form: dict[str, str]) -> tuple[int, Any]:
        grant = self.codes.pop(form.get("code", ""), None)
        proof = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(proof).rstrip(b"=").decode()
        if grant is None or form.get("client_secret") != CLIENT_SECRET or challenge != grant["challenge"]:
            return 400, {"error": "invalid_grant"}
        if form["redirect_uri"] != grant["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        made = grant["claims"].pop("token", None) or self.token(**grant["claims"])
        return 200, {"access_token": "opaque", "token_type": "Bearer", "id_token": made}


@contextmanager
def running_issuer() -> Iterator[SmallIssuer]:
    issuer = SmallIssuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer({name: values[0] for name, values in parse_qs(body).items()})

        def _answer(self, form: dict[str, str]) -> None:
            status, said = issuer.answer(self.path, form)
            body = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            if status == 302:
                self.send_header("Location", issuer.url + "/jwks")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    issuer.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
