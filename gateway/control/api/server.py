"""
uvicorn in our event loop: no signals of its own, and who is at the other end of a Unix socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import Generator, Sequence
from http import HTTPStatus
from pathlib import Path

import h11
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.control.api.door import Door, Visit, Visited, Visits, free_networks
from gateway.control.api.pace import Pace, Part
from gateway.control.problems import MEDIA_TYPE, ApiProblem
from gateway.errors import ConfigError
from gateway.unix import bind_private, peer_of

PEER = "twinspan.peer_uid"  # in the ASGI scope: the user id at the other end of the Unix socket
STOP_S = 5  # for answers that are on their way when the process ends
LOOK_S = 1.0  # between two looks how fast a request comes
UNREAD_S = 30.0  # for an answer that waits to be read
MAX_HEAD = 64 << 10  # bytes of a request's line and headers
BACKLOG = 512


class Protocol(H11Protocol, Visited):
    """HTTP/1.1 whose refusals are problem documents, and which knows the Unix socket's peer."""

    visit: Visit | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as its base
        super().connection_made(transport)
        self._pace = Pace(self.loop.time())
        self._looking: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._watch()
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family == socket.AF_UNIX:
            self.app = _Peered(self.app, peer_of(sock)[1])

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._looking, self._unread):
            if timer is not None:
                timer.cancel()
        self._looking = self._unread = None
        super().connection_lost(exc)
        if self.visit is not None:
            self.visit.end()

    # ---- how slowly a request comes, and an answer goes ----

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._pace.got(self._incomplete(is_begun=True), len(data))
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        rest, _ = self.conn.trailing_data
        self._pace.got(self._incomplete(is_begun=bool(rest)), 0)
        self._watch()

    def _incomplete(self, *, is_begun: bool) -> Part:
        """Return what is still to come; `is_begun`: of the next head there is something."""
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            return Part.BODY
        return Part.HEAD if state is h11.IDLE and is_begun else Part.NOTHING

    def _watch(self) -> None:
        is_needed = self._pace.part is not Part.NOTHING and not self.transport.is_closing()
        if is_needed and self._looking is None:
            self._pace.at = self.loop.time()
            self._looking = self.loop.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        self._looking = None
        pace = self._pace
        if pace.look(self.loop.time(), is_reading=not self.flow.read_paused):
            if not pace.size:  # a browser connects ahead of what it may ask for
                self.transport.close()
                return
            text = f"the {pace.part.value} of the request comes too slowly"
            self._refuse(ApiProblem(408, "too_slow", text))
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    # ---- what the app never sees ----

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or has too long headers."""
        text = "this is no HTTP request, or its head is too long"
        self._refuse(ApiProblem(400, "bad_request", text))

    def _refuse(self, problem: ApiProblem) -> None:
        """Answer with a problem, unless an answer has begun already, and close the connection."""
        body = json.dumps(problem.as_json()).encode()
        headers = [("content-type", MEDIA_TYPE), ("connection", "close")]
        headers.append(("content-length", str(len(body))))
        reason = HTTPStatus(problem.status).phrase.encode()
        with contextlib.suppress(h11.LocalProtocolError):  # an answer has begun already
            for event in (
                h11.Response(status_code=problem.status, headers=headers, reason=reason),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # the app has nobody to answer any more
            self.cycle.message_event.set()
        self.transport.close()


class _Peered:
    """An app whose requests come from one user of this machine."""

    def __init__(self, app: object, uid: int) -> None:
        self._app: ASGIApp = app  # type: ignore[assignment] # uvicorn's own type of the same
        self._uid = uid

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, PEER: self._uid}, receive, send)


class Server(uvicorn.Server):
    """A server that its process ends: `should_exit`. It answers once `is_up` is set."""

    def __init__(self, config: uvicorn.Config, free: Sequence[str] = ()) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()
        self.visits = Visits(free=free_networks(free))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        given = sockets or []
        await super().startup([one for one in given if one.family == socket.AF_UNIX])
        tls = self.config.ssl
        doors = (
            Door(one, self._make, tls, self.visits) for one in given if one.family != socket.AF_UNIX
        )
        self.servers += doors  # type: ignore[arg-type] # which it closes, and no more
        self.is_up.set()

    def _make(self) -> Protocol:
        """Return what serves a connection, as uvicorn makes it."""
        made = self.config.http_protocol_class(  # type: ignore[call-arg] # as uvicorn does
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        assert isinstance(made, Protocol)
        return made

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def make_server(
    app: ASGIApp, tls: ssl.SSLContext | None = None, proxies: Sequence[str] = ()
) -> Server:
    """
    Return a server. `proxies` are the networks whose X-Forwarded-For is believed.

    Serve it with `serve(sockets=[...])`.
    """
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # what clients do wrong is no line of the journal
        access_log=False,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=",".join(proxies),
        h11_max_incomplete_event_size=MAX_HEAD,
        timeout_graceful_shutdown=STOP_S,
        ssl_context_factory=(lambda _config, _default: tls) if tls else None,
    )
    return Server(config, proxies)


def tls_context(cert: Path, key: Path) -> ssl.SSLContext:
    """Return TLS 1.2 and later with a certificate chain and its key. Raises ConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load_certificate(context, cert, key)
    return context


def load_certificate(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    """Read certificate and key anew: the next connections have them. Raises ConfigError."""
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        why = str(error.strerror or error).lower()
        raise ConfigError([f"--tls-cert {cert}, --tls-key {key}: {why}"]) from None


def listen_tcp(host: str, port: int, option: str = "--listen") -> socket.socket:
    """Return a listening socket. Raises ConfigError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Of all its connections: who lives but reads nothing is no reason to keep an answer.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(2000 * UNREAD_S))
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        text = f"{option} {host}:{port}: {(error.strerror or str(error)).lower()}"
        raise ConfigError([text]) from None
    return sock


def listen_unix(path: Path) -> socket.socket:
    """Return a listening Unix socket of this user's alone, mode 0600. Raises ConfigError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        bind_private(sock, path)
    except OSError as error:
        sock.close()
        text = f"--socket {path}: {(error.strerror or str(error)).lower()}"
        raise ConfigError([text]) from None
    return sock
