"""The nodes' listener: uvicorn with TLS 1.3, our own certificate, clients asked for theirs."""

from __future__ import annotations

import asyncio
import datetime
import os
import ssl

import uvicorn
from starlette.types import ASGIApp

from gateway.control.api.server import Server
from gateway.control.nodes.ca import Authority
from gateway.control.nodes.peer import NodeProtocol

RENEW_S = 24 * 3600.0  # the listener's certificate holds for months
KEEP_ALIVE_S = 75  # between reports are five seconds
HEAD_BYTES = 16384
STOP_S = 2


def make_context(authority: Authority) -> ssl.SSLContext:
    """Return TLS for the listener: a client may have no certificate, but none of another CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=authority.pem)
    context.set_alpn_protocols(["http/1.1"])
    # A session that is taken up again is not checked against the credentials' own dates.
    context.num_tickets = 0
    load_own_certificate(context, authority)
    return context


def load_own_certificate(context: ssl.SSLContext, authority: Authority) -> None:
    """Give the listener a new certificate; the next connections have it."""
    pem = authority.server(datetime.datetime.now(datetime.UTC))
    # ssl takes files only: this one is nowhere but in memory.
    handle = os.memfd_create("twinspan-node-listener", os.MFD_CLOEXEC)
    try:
        os.write(handle, pem)
        context.load_cert_chain(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


async def keep_certificate_fresh(context: ssl.SSLContext, authority: Authority) -> None:
    """Renew the listener's certificate every day, for ever."""
    while True:
        await asyncio.sleep(RENEW_S)
        load_own_certificate(context, authority)


def make_server(app: ASGIApp, context: ssl.SSLContext) -> Server:
    """Return the server. Serve it with `serve(sockets=[...])`."""
    config = uvicorn.Config(
        app,
        http=NodeProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # what clients do wrong is no line of the journal
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S,
        ssl_context_factory=lambda _config, _default: context,
    )
    return Server(config)
