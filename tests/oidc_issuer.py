"""An issuer of tokens on a real socket: what it publishes, and tokens it signs.

It answers as OpenID Connect Discovery 1.0 (section 4) and RFC 7517 (section 5) have it; nothing of
an identity provider's sign-in is here, as nothing of ours asks for it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "factory"
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

DISCOVERY, JWKS = "/.well-known/openid-configuration", "/keys"


class Issuer:
    """Its keys by id, and what it is asked.

    Attributes:
        answers: instead of what it would answer: status, headers and body, by path.
        asked: the paths, in order.
        slow: holds its answers back until it is set.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.keys: dict[str, Key] = {"ec": ec.generate_private_key(ec.SECP256R1())}
        self.more: list[dict[str, Any]] = []
        self.answers: dict[str, tuple[int, Mapping[str, str], bytes]] = {}
        self.asked: list[str] = []
        self.slow = threading.Event()
        self.slow.set()

    def answer(self, path: str) -> tuple[int, Mapping[str, str], bytes]:
        self.asked.append(path)
        self.slow.wait(20)
        if path in self.answers:
            return self.answers[path]
        told = {
            DISCOVERY: {"issuer": self.url, "jwks_uri": f"{self.url}{JWKS}"},
            JWKS: {"keys": [*(public(key, kid) for kid, key in self.keys.items()), *self.more]},
        }
        if path not in told:
            return 404, {}, b""
        return 200, {"Content-Type": "application/json"}, json.dumps(told[path]).encode()

    def claims(self, **changes: Any) -> dict[str, Any]:
        """What a good token says; a claim that is changed to None is left out."""
        now = int(time.time())
        good = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "ada",
            "iat": now,
            "exp": now + 300,
            "factory_tenant": "acme",
            "factory_roles": ["operator:shop", "viewer"],
            "groups": ["ops"],
        }
        return {name: value for name, value in (good | changes).items() if value is not None}

    def token(self, kid: str = "ec", alg: str = "ES256", *, by: Any = None, **changes: Any) -> str:
        """A token that it has signed, or somebody else by another key."""
        headers = {"kid": kid, **changes.pop("headers", {})}
        signer = self.keys[kid] if by is None else by
        return jwt.encode(self.claims(**changes), signer, alg, headers)


def public(key: Key, kid: str, **more: Any) -> dict[str, Any]:
    """The public half as a JSON Web Key."""
    match key:
        case rsa.RSAPrivateKey():
            told = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case ec.EllipticCurvePrivateKey():
            told = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case ed25519.Ed25519PrivateKey():
            told = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**told, "kid": kid, "use": "sig", **more}


@contextmanager
def an_issuer() -> Generator[Issuer]:
    """One that answers at a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = issuer.answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = Issuer(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=lambda: server.serve_forever(0.02))
    thread.start()
    try:
        yield issuer
    finally:
        issuer.slow.set()
        server.shutdown()
        server.server_close()
        thread.join()
