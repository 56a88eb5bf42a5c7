"""
Wires that hand packets over as network cards do.

A veth pair does the receiver's work within the sender's own system call and on its CPU, packet by
packet: a source then pays for its own forwarding, and no two packets ever arrive together. A card
fills a ring; a poll of its own (NAPI), here a thread of the kernel, takes what has gathered, so
segments of a stream, and of UDP where that is on, are merged before anything looks at them (GRO).
A ring that is full keeps the sender's queue waiting, as a slower wire would.
"""

from __future__ import annotations

import platform
from pathlib import Path

from gateway.dataplane.kernel import version_of
from lab.commands import LabError
from lab.netns import Namespace

PUSHES_BACK = (6, 16)  # earlier a veth pair with a full ring drops, queue or not
_QUEUE = ("pfifo", "limit", "1000")  # packets, as a card's default is


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
