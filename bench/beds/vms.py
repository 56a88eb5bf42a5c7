"""One connection on two gateway VMs in front of a VPC's router, the first preferred."""

from __future__ import annotations

import os
import signal
import time
from functools import partial

from bench.beds import Bed, Trial
from gateway.routing.router import STABLE_S
from lab import twins, vms
from lab.commands import LabError, wait_for
from lab.netns import Lab
from lab.twinspan import Twinspan
from lab.vms import TwoVms


def build(lab: Lab) -> Bed:
    """Make the VPC, its router, both VMs and the office."""
    two = vms.build(lab)
    for gateway in two.gateways:
        _use_again_at_once(gateway)
    trials = {
        "vm_lost": Trial(partial(_lose, two), two.vms[0].boot),
        "vm_bird_killed": Trial(partial(_kill_bird, two), partial(time.sleep, STABLE_S)),
    }
    return Bed(two.pair, two.wait_settled, trials)


def _use_again_at_once(gateway: Twinspan) -> None:
    """Let what fails again and again be used again at once, unlike in real life."""
    head = "[[vpn_connection]]\n"
    gateway.write(gateway.config.read_text().replace(head, f"{head}flap_damping = false\n"))
    gateway.cli("reload")


def _lose(two: TwoVms) -> None:
    two.vms[0].lose()
    two.wait_by(2)


def _kill_bird(two: TwoVms) -> None:
    """Kill BIRD of the VM that carries the traffic; the other one carries it until it is back."""
    gateway = two.vms[0].gateway
    pid = twins.bird_pid(gateway)
    if pid is None:
        raise LabError("the first VM has no BIRD")
    os.kill(pid, signal.SIGKILL)
    wait_for("another BIRD", lambda: twins.bird_pid(gateway) not in (0, pid, None), 10.0)
    two.wait_settled()
