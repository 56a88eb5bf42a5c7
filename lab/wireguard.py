"""wireguard-go of the distribution, one process a gateway."""

from __future__ import annotations

import os
from pathlib import Path

from lab.commands import LabError, run, wait_for
from lab.topology import Pair, Site

_SOCKETS = Path("/var/run/wireguard")
_AROUND = 80  # bytes around a packet, over IPv6


def start_pair(pair: Pair, mtu: int) -> list[int]:
    """
    Start wireguard-go at both sites over the first wire and return the two process ids.

    `mtu` is that of the wire.
    """
    keys = {site.name: run("wg", "genkey").strip() for site in (pair.a, pair.b)}
    public = {name: run("wg", "pubkey", text=key).strip() for name, key in keys.items()}
    return [
        _start(here, there, keys[here.name], public[there.name], mtu - _AROUND)
        for here, there in ((pair.a, pair.b), (pair.b, pair.a))
    ]


def _start(here: Site, there: Site, key: str, peer: str, mtu: int) -> int:
    # The control socket's name is the device's, in one directory for the whole machine.
    device = f"wg{os.getpid()}{here.name}"
    machine, control = here.gateway, _SOCKETS / f"{device}.sock"
    machine.lab.outside.append(control)
    process = machine.start("wireguard", "wireguard-go", "-f", device)

    def is_ready() -> bool:
        if not process.is_alive:
            raise LabError(f"wireguard-go ended:\n{process.tail()}")
        return control.exists()

    wait_for("wireguard-go", is_ready, 5.0)
    key_file = machine.lab.directory / f"{here.name}.key"
    key_file.write_text(key)
    machine.run(
        *("wg", "set", device, "private-key", str(key_file), "listen-port", "51820"),
        *("peer", peer, "endpoint", f"{there.public4[0]}:51820"),
        *("allowed-ips", f"{there.lan4},{there.lan6}"),
    )
    machine.ip("link", "set", device, "mtu", str(mtu), "up")
    machine.route(there.lan4, "dev", device)
    machine.route(there.lan6, "dev", device)
    return process.pid
