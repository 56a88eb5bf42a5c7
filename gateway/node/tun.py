"""
Make TUN devices: one per tunnel, a queue for each lane, segmentation offload, carrier off.

The descriptors go to the data plane, which closes them; a device lives as long as one of them is
open.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from dataclasses import dataclass

from gateway.dataplane.interface import TunQueue
from gateway.errors import GatewayError
from gateway.node.lanes import Layout

# linux/if_tun.h
_TUNSETIFF, _TUNSETOFFLOAD, _TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
_TUNGETIFF, _TUNSETSTEERINGEBPF, _TUNSETCARRIER = 0x800454D2, 0x800454E0, 0x400454E2
_IFF_TUN, _IFF_MULTI_QUEUE, _IFF_NO_PI, _IFF_VNET_HDR, _IFF_TUN_EXCL = (
    0x0001,
    0x0100,
    0x1000,
    0x4000,
    0x8000,
)
_CSUM, _TSO4, _TSO6, _USO4, _USO6 = 0x01, 0x02, 0x04, 0x20, 0x40
_VNET_HDR_LEN = 10  # struct virtio_net_hdr without num_buffers

QUEUE_LEN = 2000  # packets: a burst of two 64 KiB batches of each of several flows fits


class TunError(GatewayError):
    """A TUN device can not be made."""


@dataclass(frozen=True, slots=True)
class TunQueues:
    """The descriptors of a new TUN device, one per queue, and whether UDP segmentation is on."""

    name: str
    queues: tuple[TunQueue, ...]
    uso: bool

    def close(self) -> None:
        """Close the descriptors; only where nobody has taken them."""
        for queue in self.queues:
            os.close(queue.fd)


def open_tun(name: str, layout: Layout) -> TunQueues:
    """
    Make TUN device `name` with a queue for each lane, its carrier off.

    With one it is a plain device. A multi-queue one has 256 transmit queues whatever is asked for;
    `Netlink.set_tunnel_behaviour` keeps them from costing memory.

    Raises TunError: the name is in use, /dev/net/tun is missing, or the right to make devices.
    """
    opened: list[int] = []
    try:
        multi = len(layout.lanes) > 1
        for number in range(len(layout.lanes)):
            opened.append(_open_queue(name, first=number == 0, multi=multi))
        if layout.program is not None:
            fcntl.ioctl(opened[0], _TUNSETSTEERINGEBPF, struct.pack("=i", layout.program))
        uso = _set_offload(opened)
    except OSError as error:
        for fd in opened:
            os.close(fd)
        raise TunError(f"can not make TUN device {name}: {_why(error, name)}") from error
    queues = (
        TunQueue(fd, lane.share, lane.is_urgent)
        for fd, lane in zip(opened, layout.lanes, strict=True)
    )
    return TunQueues(name, tuple(queues), uso)


def _open_queue(name: str, *, first: bool, multi: bool) -> int:
    """
    Return the descriptor of one more queue. The first makes the device, and must: it is not shared
    with strangers.
    """
    flags = _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR | (_IFF_MULTI_QUEUE if multi else 0)
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        request = struct.pack("16sH22x", name.encode(), flags | (_IFF_TUN_EXCL if first else 0))
        fcntl.ioctl(fd, _TUNSETIFF, request)
        fcntl.ioctl(fd, _TUNSETVNETHDRSZ, struct.pack("=i", _VNET_HDR_LEN))
        if first:
            fcntl.ioctl(fd, _TUNSETCARRIER, struct.pack("=i", 0))
    except OSError:
        os.close(fd)
        raise
    return fd


def device_of(queue: int) -> str | None:
    """Return the name of the device that a queue is of, None if that has gone."""
    try:
        found = fcntl.ioctl(queue, _TUNGETIFF, bytes(40))  # struct ifreq
    except OSError:
        return None
    return found[:16].partition(b"\0")[0].decode(errors="replace")


def _set_offload(queues: list[int]) -> bool:
    """
    Let the kernel hand over large segments; return whether UDP ones too (Linux 6.2 and later).
    """
    tcp = _CSUM | _TSO4 | _TSO6
    for offload in (tcp | _USO4 | _USO6, tcp):
        try:
            for fd in queues:
                fcntl.ioctl(fd, _TUNSETOFFLOAD, offload)
        except OSError:
            if offload == tcp:
                raise
            continue
        return offload != tcp
    return False


def _why(error: OSError, name: str) -> str:
    match error.errno:
        case errno.EBUSY | errno.EEXIST:
            return f"an interface named {name} exists already"
        case errno.EPERM:
            return "not permitted: CAP_NET_ADMIN is needed"
        case errno.EACCES:
            return "this user may not open /dev/net/tun"
        case errno.ENOENT | errno.ENODEV | errno.ENXIO:
            return "/dev/net/tun is missing; load the module tun"
        case _:
            return os.strerror(error.errno or 0)
