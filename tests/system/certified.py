"""Certificates of a lab: a CA of our own, and what both ends are told of what it has issued."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.pki import issue
from gateway.pki.certificate import Certificate
from gateway.pki.issue import Issuer, Wish
from gateway.pki.keys import PrivateKey
from lab.commands import Process, wait_for
from lab.strongswan import Connection
from lab.swan_certificates import Certificates
from lab.twinspan import Value
from tests.system.support import Ends

OURS, PEER = "a.gw.test", "b.gw.test"


@dataclass(frozen=True, slots=True)
class Made:
    """A certificate with its key, and those above it but for the root."""

    certificate: Certificate
    key: PrivateKey
    above: tuple[Certificate, ...] = ()

    @property
    def pem(self) -> str:
        return issue.certificate_pem(self.certificate, *self.above)

    @property
    def serial(self) -> int:
        return self.certificate.x509.serial_number


def authority(
    name: str, above: Issuer | None = None, kind: str = "ecdsa", days: int = 200
) -> Issuer:
    """Return a CA, an intermediate one with another `above` it."""
    own = issue.make_key(kind)
    made = issue.issue(Wish(name, days, is_ca=True), own, above, datetime.now(UTC))
    return Issuer(made, own)


ROOT = authority("Root", days=300)


def made(
    name: str,
    kind: str = "ecdsa",
    issuer: Issuer = ROOT,
    above: tuple[Certificate, ...] = (),
    age: timedelta = timedelta(),
    crl: str = "",
    ocsp: str = "",
    days: int = 10,
) -> Made:
    """Return a certificate for a host name."""
    own = issue.make_key(kind)
    wish = Wish(name, days, (name,), crl_urls=_urls(crl), ocsp_urls=_urls(ocsp))
    return Made(issue.issue(wish, own, issuer, datetime.now(UTC) - age), own, above)


def _urls(url: str) -> tuple[str, ...]:
    return (url,) if url else ()


@functools.cache
def ours(kind: str = "ecdsa") -> Made:
    """Return a certificate of our end."""
    return made(OURS, kind)


def settings_of(
    ends: Ends, own: Made, trusted: Sequence[Certificate] = (ROOT.certificate,), **more: Value
) -> Mapping[str, Value]:
    """Write our files and return what our document says of them."""
    place = ends.ours.directory
    (place / "gw.pem").write_text(own.pem)
    (place / "gw.key").write_text(issue.private_pem(own.key))
    (place / "gw.key").chmod(0o600)
    (place / "ca.pem").write_text(issue.certificate_pem(*trusted))
    return {
        "auth": "certificate",
        "certificate_file": "gw.pem",
        "private_key_file": "gw.key",
        "ca_file": "ca.pem",
        "local_id": OURS,
        "remote_id": PEER,
        **more,
    }


def swan_of(
    ends: Ends, own: Made, auth: str = "pubkey", wanted: str = "pubkey", **more: object
) -> Connection:
    """Return charon's connection, with how it signs and how it wants us to."""
    chain = tuple(issue.certificate_pem(one) for one in (own.certificate, *own.above))
    trusted = (issue.certificate_pem(ROOT.certificate),)
    shown = Certificates(chain, issue.private_pem(own.key), trusted, auth, wanted)
    plain = replace(ends.connection(), local_id=PEER, remote_id=OURS, certificates=shown)
    return replace(plain, **more)  # type: ignore[arg-type]  # named by the test


def serve(ends: Ends, place: Path, port: int) -> Process:
    """Serve a directory by HTTP beside the peer."""
    words = ("-u", "-m", "http.server", str(port), "--bind", ends.pair.b.public(4)[0])
    process = ends.pair.b.gateway.start("http", sys.executable, *words, "--directory", str(place))
    wait_for("the web server", lambda: "Serving HTTP" in process.tail(), 10.0)
    return process
