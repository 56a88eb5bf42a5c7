"""Post a message to a webhook: one request, no redirects, a bounded answer. Runs in a thread."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

import gateway
from gateway.control.alarms.deadline import connected
from gateway.control.alarms.reach import NotDelivered, Reach

TIMEOUT_S = 10.0
MOST_S = 30.0  # for the whole request and its answer
ANSWER_MAX = 1024  # bytes of the answer that are read


def post(url: str, body: bytes, headers: Mapping[str, str], reach: Reach) -> None:
    """Post a body. Raises NotDelivered unless the answer is 2xx."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    is_tls = parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    with (
        connected(reach, host, port, TIMEOUT_S, MOST_S) as sock,
        contextlib.closing(connection),
    ):
        try:
            connection.sock = _wrapped(sock, host) if is_tls else sock
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", path, body, {**_HEADERS, **headers})
            with connection.getresponse() as answer:  # its rest is not read: it closes by this
                said = answer.read(ANSWER_MAX)
        except (OSError, http.client.HTTPException) as error:
            raise NotDelivered(f"{host} port {port}: {_why(error)}") from None
    _judge(host, answer.status, said)


_HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": f"twinspan/{gateway.__version__}",
    "Connection": "close",
}


def _wrapped(sock: socket.socket, host: str) -> socket.socket:
    return ssl.create_default_context().wrap_socket(sock, server_hostname=host)


def _judge(host: str, status: int, said: bytes) -> None:
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        text = f"{host}: answers {status}, a redirect: these are not followed"
        raise NotDelivered(text, is_final=True)
    words = said.decode("utf-8", "replace").strip()[:100]
    text = f"{host}: answers {status}" + (f": {words!r}" if words else "")
    # Asked too often, or too late: again. Else the request itself is refused.
    raise NotDelivered(text, is_final=status < 500 and status not in (408, 425, 429))


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_S:.0f} s"
    return str(error) or type(error).__name__
