"""The far end of a tunnel, for the tests of probes: a plain TUN device and what comes out of it."""

from __future__ import annotations

import fcntl
import os
import struct
from functools import partial
from ipaddress import ip_interface

from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.packet import Packet

from lab.commands import wait_for
from tests.node.network import ip

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h


class FarEnd:
    """A TUN device of the calling thread's namespace with our addresses, up and with carrier."""

    def __init__(self, name: str, *addresses: str) -> None:
        self.name = name
        self._fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        request = struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI)
        fcntl.ioctl(self._fd, _TUNSETIFF, request)
        ip(f"link set {name} up addrgenmode none")
        for address in addresses:
            ip(f"addr add {address} dev {name} nodad")
        for address in addresses:
            wait_for(f"{address} to be local", partial(self._is_local, address), 10.0)

    def _is_local(self, address: str) -> bool:
        """Say whether the kernel takes what is for an address; IPv6 begins to a while later."""
        own = ip_interface(address)
        routes = ip(f"-{own.version} route show table local dev {self.name}")
        return f"local {own.ip} " in routes

    def close(self) -> None:
        os.close(self._fd)

    def requests(self) -> list[Packet]:
        """Return the echo requests that were sent into the tunnel since the last call."""
        found: list[Packet] = []
        while True:
            try:
                data = os.read(self._fd, 2000)
            except BlockingIOError:
                return found
            packet = IP(data) if data[0] >> 4 == 4 else IPv6(data)
            if ICMPv6EchoRequest in packet or (ICMP in packet and packet[ICMP].type == 8):
                found.append(packet)

    def put(self, packet: Packet) -> None:
        """Let a packet come out of the tunnel at our end."""
        os.write(self._fd, bytes(packet))

    def answer(self) -> int:
        """Answer the requests that have come, as a peer does; return how many."""
        requests = self.requests()
        for request in requests:
            self.put(reply_to(request))
        return len(requests)


def reply_to(request: Packet) -> Packet:
    """Return the echo reply to a request (RFC 792, RFC 4443 section 4.2)."""
    if IP in request:
        asked = request[ICMP]
        answer = ICMP(type=0, id=asked.id, seq=asked.seq) / bytes(asked.payload)
        return IP(src=request.dst, dst=request.src) / answer
    asked = request[ICMPv6EchoRequest]
    answer6 = ICMPv6EchoReply(id=asked.id, seq=asked.seq, data=asked.data)
    return IPv6(src=request.dst, dst=request.src) / answer6
