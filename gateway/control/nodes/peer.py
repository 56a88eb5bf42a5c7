"""HTTP/1.1 for nodes: who is at the other end of TLS, and no time for those who are nobody."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.control.api.server import Protocol

CERTIFICATE = "twinspan.certificate"  # in the ASGI scope: DER, or None without one
STRANGER_S = 15.0  # how long a connection without a certificate may last


class NodeProtocol(Protocol):
    """Puts the certificate that TLS has accepted into each request's scope."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as its base
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        self.app = _Certified(self.app, certificate)
        if certificate is None:
            self._stranger = self.loop.call_later(STRANGER_S, transport.abort)
        elif self.visit is not None:
            self.visit.is_known()  # many nodes may come from one address

    def connection_lost(self, exc: Exception | None) -> None:
        stranger = getattr(self, "_stranger", None)
        if stranger is not None:
            stranger.cancel()
        super().connection_lost(exc)


class _Certified:
    """An app whose requests come with one certificate."""

    def __init__(self, app: object, certificate: bytes | None) -> None:
        self._app: ASGIApp = app  # type: ignore[assignment] # uvicorn's own type of the same
        self._certificate = certificate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, CERTIFICATE: self._certificate}, receive, send)
