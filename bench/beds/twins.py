"""Two of our gateways with twin tunnels, the first preferred, by BGP or by static routes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from bench.beds import Bed, Trial
from gateway.routing.router import STABLE_S
from lab import impair, sites, twins
from lab.commands import LabError, wait_for
from lab.netns import Lab
from lab.twins import Twins
from lab.twinspan import Twinspan, Value

_FIRST = sites.tunnel_name(1)
_NOTHING_S = 3.0
_SETTLED_S = 120.0  # a tunnel that failed again and again is begun anew after up to 75 s
_NO_SETTINGS: Mapping[str, Value] = {}


def build(bfd: str | None, lab: Lab, settings: Mapping[str, Value] = _NO_SETTINGS) -> Bed:
    """
    Make the two gateways, with BGP and that BFD or, without it, with static routes.

    `settings` are further ones of the connection, at both ends.
    """
    # What fails again and again is to be used again at once, unlike in real life.
    network = twins.build(lab, bfd, {"flap_damping": False, **settings})
    office = network.pair.b.gateway
    cut = Trial(partial(_cut, network), partial(impair.mend, office, "wan1"))
    trials = {
        "nothing": Trial(partial(time.sleep, _NOTHING_S)),
        "carrier": Trial(partial(_down, network, "--now"), partial(_up, network)),
        "drain": Trial(partial(_drain, network)),
        "edit": Trial(partial(_edit, network)),
        "gateway_restart": Trial(partial(_restart, network, Twinspan.stop)),
        "gateway_killed": Trial(partial(_restart, network, Twinspan.kill)),
        "plane_restart": Trial(partial(_end_plane, network, signal.SIGTERM)),
        "plane_killed": Trial(partial(_end_plane, network, signal.SIGKILL)),
        # One that ends soon after its start is not started again at once.
        "bird_killed": Trial(partial(_kill_bird, network), partial(time.sleep, STABLE_S)),
        **dict.fromkeys(
            ("path_cut.bfd300", "path_cut.bfd50", "bgp_hold", "static_probe", "liveness"), cut
        ),
    }
    return Bed(network.pair, partial(network.wait_settled, _SETTLED_S), trials)


def _cut(network: Twins) -> None:
    impair.cut(network.pair.b.gateway, "wan1")
    network.wait_by(2)


def _down(network: Twins, *options: str) -> None:
    network.b.cli("down", _FIRST, *options)
    network.wait_by(2)


def _up(network: Twins) -> None:
    network.b.cli("up", _FIRST)


def _drain(network: Twins) -> None:
    """Take the first tunnel down as planned work does, and up again: traffic moves twice."""
    _down(network)
    _up(network)
    network.wait_settled()


def _edit(network: Twins) -> None:
    """Change at both tunnels of a what an IKE SA is bound to; each is closed and begun anew."""
    end = network.a
    (connection,) = end.document.connections
    encap = "auto" if connection.settings.get("encap", "prefer") == "prefer" else "prefer"
    edited = replace(connection, settings={**connection.settings, "encap": encap})
    before = end.spis()
    end.write(replace(end.document, connections=[edited]))
    end.cli("reload")
    end.wait_renewed(before)
    network.wait_settled()


def _restart(network: Twins, way: Callable[[Twinspan], None]) -> None:
    """End a's gateway process and start the next one, which is to go on with its IKE SAs."""
    end = network.a
    before = end.spis()
    way(end)
    end.start()
    network.wait_settled()
    if end.spis() != before:
        raise LabError(f"other Child SAs than before:\n{end.log_text()[-3000:]}")


def _end_plane(network: Twins, number: signal.Signals) -> None:
    """End a's data plane process; its sessions with b are to go on."""
    end = network.a
    before, log = end.spis(), end.log_text()
    sessions = [row["since"] for row in end.bgp()]
    (pid,) = set(end.pids()) - {end.pid}
    os.kill(pid, number)
    wait_for("other keys", lambda: "data_plane replaced" in end.log_text()[len(log) :], 10.0)
    network.wait_settled()
    if end.spis() & before or [row["since"] for row in end.bgp()] != sessions:
        raise LabError(f"keys or sessions are not as they should be:\n{end.log_text()[-3000:]}")


def _kill_bird(network: Twins) -> None:
    pid = twins.bird_pid(network.a)
    if pid is None:
        raise LabError("the gateway has no BIRD")
    os.kill(pid, signal.SIGKILL)
    wait_for("another BIRD", lambda: twins.bird_pid(network.a) not in (0, pid, None), 10.0)
    network.wait_settled()
