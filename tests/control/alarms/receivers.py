"""Real receivers of messages on loopback: a webhook's server, a mail server."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


@dataclass
class Hook:
    """A webhook. `answers` are the statuses of the next answers, then 204."""

    port: int = 0
    answers: list[int] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    come: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def wait_for(self, count: int) -> None:
        """Wait for so many requests."""
        for _ in range(count):
            assert self.come.acquire(timeout=5)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?x=1"


@contextlib.contextmanager
def hook(*answers: int) -> Iterator[Hook]:
    """Run a webhook's server."""
    seen = Hook(answers=list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # http.server's name
            seen.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            seen.headers.append(dict(self.headers.items()))
            seen.come.release()
            status = seen.answers.pop(0) if seen.answers else 204
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", f"http://127.0.0.1:{seen.port}/elsewhere")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        seen.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield seen
        server.shutdown()
        thread.join()


@dataclass
class Mailbox:
    """What a mail server has taken. `refuse` is its answer to each mail, if it has one."""

    port: int = 0
    mails: list[Message] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)
    refuse: str = ""

    async def handle_DATA(  # noqa: N802 # aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        if self.refuse:
            return self.refuse
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content))
        self.recipients.append(list(envelope.rcpt_tos))
        return "250 taken"


@contextlib.contextmanager
def mailbox(
    context: ssl.SSLContext | None = None, *, is_tls: bool = False, password: bytes = b""
) -> Iterator[Mailbox]:
    """Run a mail server: with TLS from the start, with STARTTLS that it demands, or plain."""
    box = Mailbox(_free_port())

    def judge(
        server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        box.logins.append((data.login, data.password))
        return AuthResult(success=data.password == password, handled=False)

    options: dict[str, Any] = {"ssl_context": context} if is_tls else {"tls_context": context}
    if password:
        options |= {"authenticator": judge, "auth_required": True, "auth_require_tls": not is_tls}
    if context is not None and not is_tls:
        options["require_starttls"] = True
    controller = Controller(box, hostname="127.0.0.1", port=box.port, ready_timeout=10, **options)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def drip(said: bytes) -> Iterator[int]:
    """Run a server that says something, then a byte every few milliseconds for ever; its port."""

    def serve(listening: socket.socket, over: threading.Event) -> None:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(said)
            while not over.wait(0.02):
                connection.sendall(b"x")

    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening, over))
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            over.set()
            thread.join()
