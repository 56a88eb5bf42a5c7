"""The alarms' part of the control process, put together."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from uuid import uuid4

from cryptography import x509

from gateway.control.alarms.delivery import Deliveries
from gateway.control.alarms.facts import Certificate, StatusOf
from gateway.control.alarms.keeper import Keeper
from gateway.control.events.events import Events
from gateway.control.mirror import Mirror
from gateway.control.secrets import KeyRing
from gateway.control.store.interface import Store
from gateway.node.journal import Journal

LOOK_AT_FILE_S = 60.0


class Alarming:
    """All of it: `tasks` run as long as the process does, `deliveries` send a target's test."""

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        ring: KeyRing,
        events: Events,
        journal: Journal,
        status_of: StatusOf,
        certificate: Path | None,
    ) -> None:
        self.deliveries = Deliveries(mirror, ring, events, journal)
        self._keeper = Keeper(
            store,
            mirror,
            events,
            self.deliveries,
            journal,
            holder=f"{socket.gethostname()[:60]}-{os.getpid()}-{uuid4().hex[:8]}",
            status_of=status_of,
            clock=time.time,
            certificate=reading_of(certificate) if certificate is not None else lambda: None,
        )

    def tasks(self) -> list[Coroutine[object, object, None]]:
        """Return what runs for as long as the process does."""
        return [self.deliveries.run(), self._keeper.run()]


def reading_of(path: Path) -> Callable[[], Certificate | None]:
    """Return what reads when a certificate ends, from its file, now and then."""
    read_at = float("-inf")
    found: Certificate | None = None

    def read() -> Certificate | None:
        nonlocal read_at, found
        now = time.monotonic()
        if now - read_at >= LOOK_AT_FILE_S:
            read_at, found = now, certificate_in(path)
        return found

    return read


def certificate_in(path: Path) -> Certificate | None:
    """Return the certificate of a file; None if it has none that can be read."""
    try:
        (first, *_) = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return None
    return Certificate(path.name, first.not_valid_after_utc.timestamp())
