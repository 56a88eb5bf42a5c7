"""What a path does to packets: silence, loss, address translation (by nft: netem is rare)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lab.netns import Namespace


def cut(machine: Namespace, device: str) -> None:
    """Drop everything that comes in or goes out by a device, silently: the link stays up."""
    _nft(machine, _netdev(device, "cut", "drop"))


def mend(machine: Namespace, device: str) -> None:
    """Take away `cut`."""
    _nft(machine, f"delete table netdev {_table(device, 'cut')}\n")


def lose(machine: Namespace, device: str, percent: int) -> None:
    """Drop that many packets in a hundred, chosen at random, each way."""
    _nft(machine, _netdev(device, "lose", f"numgen random mod 100 < {percent} drop"))


def lose_none(machine: Namespace, device: str) -> None:
    """Take away `lose`."""
    _nft(machine, f"delete table netdev {_table(device, 'lose')}\n")


def double(machine: Namespace, device: str) -> None:
    """Send half of what goes out by a device twice, chosen at random."""
    rule = f'numgen random mod 100 < 50 dup to "{device}"'
    _nft(machine, _netdev(device, "double", rule, hooks=("egress",)))


def double_none(machine: Namespace, device: str) -> None:
    """Take away `double`."""
    _nft(machine, f"delete table netdev {_table(device, 'double')}\n")


@contextmanager
def cut_off(machine: Namespace, device: str) -> Iterator[None]:
    """Keep a device silent while the block runs."""
    cut(machine, device)
    try:
        yield
    finally:
        mend(machine, device)


def nat(router: Namespace, *, first_port: int | None = None) -> None:
    """
    Hide what comes in by device "in" behind the router's address on device "out".

    With `first_port`, every flow also gets a source port from there on, so port 4500 is not kept.
    """
    ports = "" if first_port is None else f" to :{first_port}-{first_port + 99}"
    protocol = "" if first_port is None else "meta l4proto udp "
    _nft(
        router,
        # Declared and deleted first: one transaction replaces what was there, without a gap.
        "table ip nat\ndelete table ip nat\ntable ip nat {\n"
        "  chain out {\n    type nat hook postrouting priority 100\n"
        f'    oifname "out" {protocol}masquerade{ports}\n  }}\n}}\n',
    )


def nat_away(router: Namespace) -> None:
    """Take away `nat`, with the translations in use."""
    _nft(router, "delete table ip nat\n")


def forget_flows(router: Namespace) -> None:
    """Make a router forget its translations, as a restart of it would."""
    router.run(sys.executable, "-c", _FORGET_FLOWS)


# One netlink message to the connection tracking: IPCTNL_MSG_CT_DELETE without a flow means all.
_FORGET_FLOWS = """
import socket, struct
NETLINK_NETFILTER, REQUEST_ACK, CT_DELETE = 12, 5, 1 << 8 | 2
with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as link:
    link.send(struct.pack("=LHHLL", 20, CT_DELETE, REQUEST_ACK, 1, 0) + bytes(4))
    error, = struct.unpack_from("=i", link.recv(4096), 16)
    assert error == 0, error
"""


def _table(device: str, name: str) -> str:
    return f"{name}_{device.replace('-', '_')}"


def _netdev(
    device: str, name: str, verdict: str, hooks: tuple[str, ...] = ("ingress", "egress")
) -> str:
    chains = "".join(
        f'  chain {hook} {{\n    type filter hook {hook} device "{device}" priority 0\n'
        f"    {verdict}\n  }}\n"
        for hook in hooks
    )
    return f"table netdev {_table(device, name)} {{\n{chains}}}\n"


def _nft(machine: Namespace, rules: str) -> None:
    machine.run("nft", "-f", "-", text=rules)
