"""
The laboratory itself: its instruments see what they are there to see.

    host a --- gw a ==== wan1 ==== gw b --- host b            plain forwarding
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lab import impair, pacer, probe, topology
from lab.commands import LabError, run, wait_for
from lab.netns import Lab, directory_of, remove
from lab.topology import Pair
from tests.system.support import ping

pytestmark = pytest.mark.system

GONE, KEPT = f"tsg{os.getpid()}", f"tsk{os.getpid()}"


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Pair:
    """Return two sites joined by plain forwarding."""
    made = topology.four_machines(lab, paths=1)
    topology.plain_routes(made)
    assert ping(made.a.host, made.b.host4)
    return made


def test_the_probe_sees_a_silence_and_counts_what_it_cost(pair: Pair) -> None:
    running = probe.start(pair.a.host, pair.b.host, pair.b.host4, rate=200)
    time.sleep(0.3)
    with impair.cut_off(pair.a.gateway, "wan1"):
        time.sleep(0.5)
    time.sleep(0.5)
    seen = running.stop()
    assert 450 < seen.silence_ms < 1500
    assert 80 < len(seen.lost) < 300
    assert seen.goes_on


def test_the_probe_says_when_traffic_does_not_come_back(pair: Pair) -> None:
    running = probe.start(pair.a.host, pair.b.host, pair.b.host4, rate=200)
    with impair.cut_off(pair.a.gateway, "wan1"):
        time.sleep(0.5)
        seen = running.stop()
    assert not seen.goes_on


def test_the_probe_loses_nothing_on_a_whole_path(pair: Pair) -> None:
    running = probe.start(pair.a.host, pair.b.host, pair.b.host6)
    time.sleep(0.5)
    seen = running.stop()
    assert (seen.lost, seen.duplicates, seen.spoiled) == ((), 0, 0)


def test_loss_is_as_much_as_was_asked_for(pair: Pair) -> None:
    running = probe.start(pair.a.host, pair.b.host, pair.b.host4, rate=1000)
    impair.lose(pair.a.gateway, "wan1", 20)
    time.sleep(1.5)
    seen = running.stop()
    impair.lose_none(pair.a.gateway, "wan1")
    # 36 % of the round trips, but for the first.
    assert 0.25 < len(seen.lost) / seen.sent < 0.42


@pytest.mark.parametrize("train", [1, 16])
def test_the_paced_source_sends_and_counts_each_datagram(pair: Pair, train: int) -> None:
    """Of a train, too: one message, which the kernel cuts. One waits in the sink, uncounted."""
    hosts = (pair.a.host, pair.b.host, pair.b.host4)
    sent = pacer.send(*hosts, 3200, (1400,), 0.25, train)
    assert (sent.sent, sent.arrived) == (800, 799)


def test_a_lab_leaves_nothing_behind() -> None:
    with Lab(GONE) as lab:
        machine = lab.namespace("one")
        process = machine.start("sleep", "sleep", "60")
        wait_for("the program to be inside", lambda: process.pid in machine.pids(), 5.0)
    assert not process.is_alive
    assert not list(Path("/run/netns").glob(f"{GONE}-*"))
    assert not directory_of(GONE).exists()


def test_a_lab_is_removed_by_name_with_what_runs_in_it() -> None:
    lab = Lab(KEPT, keep=True)
    with lab:
        machine = lab.namespace("one")
        process = machine.start("sleep", "sleep", "60")
        wait_for("the program to be inside", lambda: process.pid in machine.pids(), 5.0)
    assert process.is_alive
    remove(KEPT)
    assert not process.is_alive
    assert not list(Path("/run/netns").glob(f"{KEPT}-*"))


def test_failures_have_the_words_of_the_program() -> None:
    with pytest.raises(LabError, match=r"exit 2.*nonexistent"):
        run("ls", "/nonexistent", timeout_s=5.0, check=True)
    with pytest.raises(LabError, match="no end after"):
        run("sleep", "5", timeout_s=0.1)
    with pytest.raises(LabError, match="in vain for the moon"):
        wait_for("the moon", lambda: False, 0.1)
