"""
Wires that hand packets over as network cards do, and what goes first on the CPUs.

    host a --- gw a ==== wan1 ==== gw b --- host b            plain forwarding
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from bench import losses
from gateway.dataplane.kernel import version_of
from lab import card, pacer, topology
from lab.ahead import ahead
from lab.commands import LabError
from lab.netns import Lab
from lab.peers import Joined
from lab.topology import Pair

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Pair:
    """Return two sites joined by plain forwarding."""
    made = topology.four_machines(lab, paths=1)
    topology.plain_routes(made)
    return made


@pytest.fixture(scope="module")
def poller(pair: Pair) -> int:
    """Return the thread of the kernel that polls the inner device of gateway a."""
    if version_of(platform.release()) < card.PUSHES_BACK:
        pytest.skip("this kernel's veth pairs can not be polled without loss")
    (found,) = card.poll(pair.a.gateway, "lan", pair.a.host, "eth0")
    return found


def test_a_polled_device_takes_what_is_sent_and_hands_it_on(pair: Pair, poller: int) -> None:
    assert Path(f"/proc/{poller}/comm").read_text().startswith("napi/lan-")
    shown = pair.a.gateway.run("ethtool", "-k", "lan")
    assert "rx-udp-gro-forwarding: on" in shown
    assert "generic-receive-offload: on" in shown
    assert "qdisc pfifo" in pair.a.host.run("tc", "qdisc", "show", "dev", "eth0")
    sent = pacer.send(pair.a.host, pair.b.host, pair.b.host4, 5_000, (1400,), 0.3)
    assert sent.arrived > 0.9 * sent.sent > 0


def test_what_a_full_queue_drops_is_told_with_its_place(pair: Pair, poller: int) -> None:
    joined = Joined(pair, (), frozenset({poller}))
    tc = ("tc", "qdisc", "replace", "dev", "eth0", "root")
    try:  # 700 packets a second of 5,000
        pair.a.host.run(*tc, "tbf", "rate", "8mbit", "burst", "1600", "latency", "1ms")
    except LabError:
        pytest.skip("this kernel has no token buckets")
    try:
        found = losses.look(joined, "plain", 5_000, 1400)
    finally:
        pair.a.host.run(*tc, "pfifo")
    lost = found["plain.lost"]
    assert lost > 2_000
    assert 0.9 * lost <= found["plain.lost.host_a.queue"] <= lost + 10
    assert found["plain.waited_ms.pollers"] >= 0


def test_what_goes_ahead_does_so_in_the_block_alone(pair: Pair, poller: int) -> None:
    process = pair.a.host.start("sleep", "sleep", "60")
    session = Path(f"/proc/{process.pid}/autogroup")
    if not session.exists():
        pytest.skip("this kernel shares no CPUs by session")
    with ahead([process.pid, poller]):
        assert session.read_text().endswith(" nice -20\n")
        assert os.getpriority(os.PRIO_PROCESS, poller) == -20
    assert session.read_text().endswith(" nice 0\n")
    assert os.getpriority(os.PRIO_PROCESS, poller) == 0
    process.stop()


def test_our_own_session_does_not_go_ahead_of_all(pair: Pair) -> None:
    with pytest.raises(LabError, match="our own session"), ahead([os.getpid()]):
        pass
