"""
Wires that hand packets over as network cards do.

A veth pair does the receiver's work within the sender's own system call and on its CPU, packet by
packet: a source then pays for its own forwarding, and no two packets ever arrive together. A card
fills a ring; a poll of its own (NAPI), here a thread of the kernel, takes what has gathered, so
segments of a stream, and of UDP where that is on, are merged before anything looks at them (GRO).
A ring that is full keeps the sender's queue waiting, as a slower wire would.

Ring and queue together hold 4096 packets. Rings of cards of 25 Gbit/s begin with 1024 to 2048 and
can be set to 8192 (mlx5, ena); the queue of the sending host, which holds 1,000 packets more with
pfifo_fast and 10,240 with fq_codel, comes before them. A card's poll goes before all processes of
its machine. Here it waits for its turn among senders, receivers and gateways, for several slices
of 4 ms, and a source that waited so sends at once what had become due. 1,000 packets are 3 ms of
300,000 a second: with so few the laboratory's own waiting is measured, not a gateway.
"""

from __future__ import annotations

import platform
from pathlib import Path

from gateway.dataplane.kernel import version_of
from lab.commands import LabError
from lab.netns import Namespace

PUSHES_BACK = (6, 16)  # earlier a veth pair with a full ring drops, queue or not
_HELD, _RING = 4096, 256  # packets; the ring of a veth pair (VETH_RING_SIZE) can not be set
_QUEUE = ("pfifo", "limit", str(_HELD - _RING))


def poll(machine: Namespace, device: str, sender: Namespace, far_device: str) -> set[int]:
    """
    Make a device of `machine` poll what `sender` sends at the other end. Raises LabError.

    GRO is on, for UDP that is only forwarded as well. Returns the threads of the kernel that poll.
    """
    release = platform.release()
    if version_of(release) < PUSHES_BACK:
        wanted = ".".join(map(str, PUSHES_BACK))
        raise LabError(f"a polled veth pair needs Linux {wanted} or later, this is {release}")
    machine.run("ethtool", "-K", device, "gro", "on", "rx-udp-gro-forwarding", "on")
    # `ip netns exec` shows it the /sys of its own network namespace. NAPI exists once GRO is on.
    before = _pollers(device)
    machine.run("tee", f"/sys/class/net/{device}/threaded", text="1\n")
    sender.run("tc", "qdisc", "replace", "dev", far_device, "root", *_QUEUE)
    return _pollers(device) - before


def _pollers(device: str) -> set[int]:
    """Return the threads of the kernel that poll devices of that name, in any namespace."""
    names = Path("/proc").glob("[0-9]*/comm")
    return {int(name.parent.name) for name in names if _name(name).startswith(f"napi/{device}-")}


def _name(comm: Path) -> str:
    try:
        return comm.read_text()
    except OSError:
        return ""  # it has ended
