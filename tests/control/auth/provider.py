"""A little OpenID Connect provider: real HTTP on loopback, real signatures, PKCE, codes once."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

Table = dict[str, Any]
CLIENT, SECRET = "twinspan", "s3cret: of the client"


@dataclass(slots=True)
class Provider:
    """
    The provider. A test sets what it does: `claims` of who logs in, `wrong` for what it gets wrong.
    """

    claims: Table = field(default_factory=dict)
    wrong: str = ""
    asked: list[str] = field(default_factory=list)
    kid: str = "one"
    _keys: Table = field(default_factory=dict)
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)
    _server: ThreadingHTTPServer | None = None

    @property
    def issuer(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        self.rotate("one")
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # http.server's name
                provider.answer(self, None)

            def do_POST(self) -> None:  # http.server's name
                body = self.rfile.read(int(self.headers["content-length"]))
                provider.answer(self, {k: v[0] for k, v in parse_qs(body.decode()).items()})

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def rotate(self, kid: str) -> None:
        """Sign with another key from now on; the old one is not told any more."""
        self.kid = kid
        self._keys = {kid: ec.generate_private_key(ec.SECP256R1())}

    def token(self, audience: str, **claims: object) -> str:
        """Return a JWT that is signed with the key of today; claims of None are left out."""
        now = int(time.time())
        table = {"iss": self.issuer, "aud": audience, "sub": "u-1", "iat": now, "exp": now + 300}
        table = {k: v for k, v in {**table, **self.claims, **claims}.items() if v is not None}
        headers = {"kid": self.kid}
        return jwt.encode(table, self._keys[self.kid], algorithm="ES256", headers=headers)

    def answer(self, handler: BaseHTTPRequestHandler, form: dict[str, str] | None) -> None:
        path, query = urlsplit(handler.path).path, urlsplit(handler.path).query
        self.asked.append(path)
        if path == "/authorize":
            location = self._authorize({k: v[0] for k, v in parse_qs(query).items()})
            self._send(handler, 302, {}, location)
            return
        if path == "/token":
            assert form is not None
            self._send(handler, *self._exchange(form, handler.headers.get("authorization", "")))
            return
        if self.wrong == "redirect":
            self._send(handler, 302, {}, self.issuer + "/elsewhere")
        elif self.wrong == "huge":
            self._send(handler, 200, {"issuer": "x" * (1 << 20)})
        elif path == "/jwks":
            self._send(handler, 200, {"keys": self._told_keys()})
        else:
            self._send(handler, 200, self._description())

    def _description(self) -> Table:
        issuer = self.issuer if self.wrong != "issuer" else "https://evil.example.net"
        keys = "http://keys.example.net/" if self.wrong == "plain keys" else self.issuer + "/jwks"
        return {
            "issuer": issuer,
            "authorization_endpoint": self.issuer + "/authorize",
            "token_endpoint": self.issuer + "/token",
            "jwks_uri": keys,
            "authorization_response_iss_parameter_supported": True,
        }

    def _told_keys(self) -> list[Table]:
        other = rsa.generate_private_key(65537, 2048).public_key()
        return [
            {"kty": "oct", "k": "c2VjcmV0", "kid": "mac"},
            {"kty": "a kind of tomorrow", "kid": "new"},
            {**RSAAlgorithm.to_jwk(other, as_dict=True), "kid": "rsa"},
            *(
                {**ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig"}
                for kid, key in self._keys.items()
            ),
        ]

    def _authorize(self, query: dict[str, str]) -> str:
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        code = f"code-{len(self._codes)}"
        self._codes[code] = query
        issuer = "https://evil.example.net" if self.wrong == "mix-up" else self.issuer
        back = {"code": code, "state": query["state"], "iss": issuer}
        if self.wrong == "denied":
            back = {"error": "access_denied", "state": query["state"], "iss": issuer}
        return f"{query['redirect_uri']}?{urlencode(back)}"

    def _exchange(self, form: dict[str, str], authorization: str) -> tuple[int, Table]:
        pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        if pair != "twinspan:s3cret%3A+of+the+client":
            return 401, {"error": "invalid_client"}
        begun = self._codes.pop(form["code"], None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if (
            begun is None
            or begun["code_challenge"] != challenge
            or begun["redirect_uri"] != form["redirect_uri"]
        ):
            return 400, {"error": "invalid_grant"}
        nonce = "another" if self.wrong == "nonce" else begun["nonce"]
        azp = "another client" if self.wrong == "azp" else None
        token = self.token(begun["client_id"], nonce=nonce, azp=azp)
        return 200, {"id_token": token, "access_token": "unused", "token_type": "Bearer"}

    def _send(
        self, handler: BaseHTTPRequestHandler, status: int, table: Table, location: str = ""
    ) -> None:
        data = json.dumps(table).encode()
        handler.send_response(status)
        if location:
            handler.send_header("Location", location)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)
