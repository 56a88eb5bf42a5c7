"""
Frames as the kernel hands them to a tap, taken apart to the packets that were on the wire. Pure.

With UDP_SEGMENT and UDP_GRO one frame holds many datagrams of one flow, equal but for the last;
what tells that is the header of virtio_net before it. TCP is left as it is: nothing in Wireshark
needs it otherwise.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

VNET_HEADER = struct.Struct("=BBHHHH")  # flags, GSO type, header length, GSO size, checksum place
_UDP_SEGMENTS = 5  # VIRTIO_NET_HDR_GSO_UDP_L4
_ETHERNET_BYTES = 14
_UDP_BYTES = 8
_UDP = 17


def packets_of(frame: bytes, *, has_ethernet: bool) -> Iterator[bytes]:
    """Yield the packets in a frame that begins with the header of virtio_net."""
    _, kind, _, size, _, _ = VNET_HEADER.unpack_from(frame)
    whole = frame[VNET_HEADER.size :]
    link = whole[: _ETHERNET_BYTES if has_ethernet else 0]
    packet = whole[len(link) :]
    if kind != _UDP_SEGMENTS or not size or not packet:
        yield whole
        return
    yield from (link + each for each in _datagrams(packet, size))


def _datagrams(packet: bytes, size: int) -> Iterator[bytes]:
    """Yield an IP packet of UDP as several, each with at most `size` bytes of payload."""
    head = (packet[0] & 15) * 4 if packet[0] >> 4 == 4 else 40
    ports = packet[head : head + 4]
    payload = packet[head + _UDP_BYTES :]
    for at in range(0, len(payload), size):
        part = payload[at : at + size]
        length = _UDP_BYTES + len(part)
        # The checksum of the whole says nothing of its parts: 0 means none (RFC 768).
        udp = ports + struct.pack("!HH", length, 0)
        yield _resized(packet[:head], length) + udp + part


def _resized(header: bytes, length: int) -> bytes:
    """Return an IP header for a payload of `length` bytes."""
    if header[0] >> 4 == 6:
        return header[:4] + struct.pack("!H", length) + header[6:]
    total = struct.pack("!H", len(header) + length)
    bare = header[:2] + total + header[4:10] + b"\0\0" + header[12:]
    return bare[:10] + struct.pack("!H", _checksum(bare)) + bare[12:]


def _checksum(data: bytes) -> int:
    return ~(int.from_bytes(data, "big") % 0xFFFF) & 0xFFFF  # RFC 1071
