"""
NAT detection in IKE_SA_INIT (RFC 7296 section 2.23): the notifies we send and what the peer's say.
"""

from __future__ import annotations

from gateway.ike.iana import NotifyType
from gateway.ike.ike_sa import Nat
from gateway.ike.message import Message
from gateway.ike.nat import detection_hash
from gateway.ike.payloads import Notify
from gateway.sa import Path

HASH_LEN = 20


def notifies(
    spi_i: bytes, spi_r: bytes, path: Path, source_hash: bytes | None
) -> tuple[Notify, Notify]:
    """
    Return the two notifies for a message that travels on `path`.

    `source_hash` stands in for the true source where we announce a NAT that is not there; the
    destination is always honest, so the peer does not think that it is behind one itself.
    """
    source = source_hash or detection_hash(spi_i, spi_r, path.local, path.local_port)
    destination = detection_hash(spi_i, spi_r, path.remote, path.remote_port)
    return (
        Notify(NotifyType.NAT_DETECTION_SOURCE_IP, source),
        Notify(NotifyType.NAT_DETECTION_DESTINATION_IP, destination),
    )


def read(message: Message, path: Path, announced: bool) -> Nat:
    """
    Return what the peer's notifies say about `path`.

    Several sources are allowed and one match is enough. Notifies of another length are ignored.
    """
    spi_r = message.spi_r if message.is_response else bytes(8)
    return read_at(message, message.spi_i, spi_r, path, announced)


def read_at(message: Message, spi_i: bytes, spi_r: bytes, path: Path, announced: bool) -> Nat:
    """Return the same of a message whose hashes are of these SPIs."""
    sources = _hashes(message, NotifyType.NAT_DETECTION_SOURCE_IP)
    destinations = _hashes(message, NotifyType.NAT_DETECTION_DESTINATION_IP)
    if not sources or not destinations:
        return Nat()
    seen = detection_hash(spi_i, spi_r, path.remote, path.remote_port)
    ours = detection_hash(spi_i, spi_r, path.local, path.local_port)
    return Nat(True, ours not in destinations, seen not in sources, announced)


def _hashes(message: Message, kind: NotifyType) -> list[bytes]:
    return [
        one.data for one in message.all(Notify) if one.type == kind and len(one.data) == HASH_LEN
    ]
