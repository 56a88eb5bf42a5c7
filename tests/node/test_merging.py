"""Inner devices merge UDP that is forwarded: ioctls on real devices, judged by ethtool."""

from __future__ import annotations

import contextlib
import io
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.cli.doctor.look.network import inner_device
from gateway.node.features import Features
from gateway.node.journal import Journal
from gateway.node.merging import Merging
from gateway.node.namespaces import Namespaces
from gateway.node.port import GRO, GRO_LIST, UDP_GRO_FORWARDING, PortPlan
from tests.node.network import ip

RELEASE = "6.12.9-amd64"
LAN = PortPlan("vpc_attachment a", "", "lan")

system = pytest.mark.system


@pytest.fixture
def control(network: None) -> Iterator[socket.socket]:
    """Return a socket of a network in which there are lan and trunk, pairs of virtual devices."""
    for name in ("lan", "trunk"):
        ip(f"link add {name} type veth peer name {name}-far")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        yield made


@dataclass(slots=True)
class Parts:
    """What is tried, and the log that it writes."""

    namespaces: Namespaces
    log: io.StringIO

    def merging(self, release: str = RELEASE) -> Merging:
        return Merging(self.namespaces, Journal(self.log, time.time), release)


@pytest.fixture
def parts(control: socket.socket, tmp_path: Path) -> Iterator[Parts]:
    log = io.StringIO()
    with contextlib.closing(Namespaces(tmp_path, Journal(log, time.time))) as namespaces:
        yield Parts(namespaces, log)


def ethtool(*words: str) -> str:
    return subprocess.run(["ethtool", *words], check=True, capture_output=True, text=True).stdout


@system
def test_features_are_those_that_ethtool_shows(control: socket.socket) -> None:
    for device in ("lan", "lo"):
        lines = (line.split() for line in ethtool("-k", device).splitlines()[1:])
        shown = {words[0].rstrip(":"): words[1] == "on" for words in lines}
        found = Features(control).of(device)
        assert len(found) > 40
        same = found.keys() & shown.keys()
        assert len(same) > 30
        assert {name: found[name] for name in same} == {name: shown[name] for name in same}


@system
def test_a_feature_is_switched_on_once(control: socket.socket) -> None:
    features = Features(control)
    assert features.of("lan")[GRO] is False  # of a veth pair, from the start
    assert features.switch_on("lan", GRO)
    assert features.of("lan")[GRO] is True
    assert features.of("trunk")[GRO] is False
    assert not features.switch_on("lan", GRO)


@system
def test_what_can_not_be_had_changes_nothing(control: socket.socket) -> None:
    features = Features(control)
    before = features.of("lo")
    assert not features.switch_on("lo", "netns-local")  # the kernel's alone
    assert not features.switch_on("lo", "rx-of-tomorrow")
    assert features.of("lo") == before
    with pytest.raises(OSError, match="No such device"):
        features.of("lan9")


@system
def test_drivers_have_names(control: socket.socket) -> None:
    assert Features(control).driver("lan") == "veth"


@system
def test_the_devices_of_attachments_merge_udp_and_the_log_says_so_once(
    parts: Parts, control: socket.socket
) -> None:
    merging = parts.merging()
    tagged = PortPlan("vpc_attachment b", "", "vpc7", vlan=("trunk", 7))
    missing = PortPlan("vpc_attachment c", "", "lan9")
    elsewhere = PortPlan("vpc_attachment d", "red", "lan")
    for _ in range(2):
        merging.apply((missing, elsewhere, LAN, tagged))
    features = Features(control)
    assert features.of("lan")[UDP_GRO_FORWARDING]
    assert features.of("trunk")[UDP_GRO_FORWARDING]
    assert features.of("lan")[GRO] is False  # as it was
    assert not features.of("lan-far")[UDP_GRO_FORWARDING]
    told = [line.split()[3] for line in parts.log.getvalue().splitlines()]
    assert told == ["name=lan", "name=trunk"]


@system
def test_an_operator_may_switch_it_off_again_and_a_new_device_is_told(
    parts: Parts, control: socket.socket
) -> None:
    merging, features = parts.merging(), Features(control)
    merging.apply((LAN,))
    ethtool("-K", "lan", UDP_GRO_FORWARDING, "off")
    merging.apply((LAN,))
    assert not features.of("lan")[UDP_GRO_FORWARDING]
    ip("link del lan")
    ip("link add lan type veth peer name lan-far")
    assert not features.of("lan")[UDP_GRO_FORWARDING]
    merging.apply((LAN,))
    assert features.of("lan")[UDP_GRO_FORWARDING]


@system
@pytest.mark.parametrize("release", ["7.0.0", "7.1.4", "6.1.0-18-amd64"])
def test_kernels_that_cut_it_wrongly_or_early_are_left_alone(
    parts: Parts, control: socket.socket, release: str
) -> None:
    parts.merging(release).apply((LAN,))
    assert not Features(control).of("lan")[UDP_GRO_FORWARDING]
    assert parts.log.getvalue() == ""


@system
def test_the_doctor_sees_a_card_and_what_it_merges(control: socket.socket) -> None:
    ip("tuntap add card0 mode tap")  # the kernel takes it for a card: GRO is on
    before = {GRO: True, UDP_GRO_FORWARDING: False, GRO_LIST: False}
    seen = inner_device("card0")
    assert seen is not None
    assert seen.offloads == before
    Features(control).switch_on("card0", UDP_GRO_FORWARDING)
    seen = inner_device("card0")
    assert seen is not None
    assert seen.offloads == {**before, UDP_GRO_FORWARDING: True}
    assert inner_device("lan") is None  # a veth pair has nothing to merge
    assert inner_device("lan9") is None
