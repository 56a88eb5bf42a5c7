"""
Policy routing with rules against strongSwan: two sources, three destinations, six Child SAs.

    host a --- gw a (twinspan) ==== wan1 ==== gw b (strongSwan) --- host b
    10.10.0.2, .66, .130                                10.20.0.2, .66, .130

The rule has the first two quarters of 10.10.0.0/24 and the first three of 10.20.0.0/24; 10.10.0.130
is in no pair. strongSwan has one child for each pair.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import pytest

from lab import pages, pings, sites
from lab.commands import LabError, Process, wait_for
from lab.strongswan import Connection
from lab.twinspan import Document
from tests.system.support import FIRST, Ends

pytestmark = pytest.mark.system

SOURCES = ("10.10.0.0/26", "10.10.0.64/26")
DESTINATIONS = ("10.20.0.0/26", "10.20.0.64/26", "10.20.0.128/26")
PAIRS = tuple(product(SOURCES, DESTINATIONS))
NAMES = (FIRST, *(f"pair-{number}" for number in range(2, 7)))  # of strongSwan's children
HOSTS = tuple(product(("10.10.0.2", "10.10.0.66"), ("10.20.0.2", "10.20.0.66", "10.20.0.130")))
OUTSIDE = "10.10.0.130"
Rules = Sequence[tuple[Sequence[str], Sequence[str]]]


@pytest.fixture(scope="module")
def quarters(ends: Ends) -> Ends:
    """Return the ends with an address in each quarter, at the hosts and at strongSwan's gateway."""
    for number in (66, 130):
        ends.pair.a.host.ip("addr", "add", f"10.10.0.{number}/24", "dev", "eth0")
        ends.pair.b.host.ip("addr", "add", f"10.20.0.{number}/24", "dev", "eth0")
        # kernel-libipsec wants an address of its own within the local selector.
        ends.pair.b.gateway.ip("addr", "add", f"10.20.0.{number + 3}/24", "dev", "lan")
    return ends


def document(ends: Ends, rules: Rules, start: str = "initiate") -> Document:
    settings = {"routing": "policy", "start": start}
    made = sites.document(ends.pair.a, ends.pair.b, ends.keys, settings=settings, tunnels=1)
    (connection,) = made.connections
    return replace(made, connections=[replace(connection, remote_cidrs=[], rules=rules)])


def children(ends: Ends, names: Sequence[str] = NAMES) -> Connection:
    """Return strongSwan's connection with the children that have these names."""
    base = ends.connection()
    made = {
        name: replace(base.child, local_ts=(remote,), remote_ts=(local,))
        for name, (local, remote) in zip(NAMES, PAIRS, strict=True)
        if name in names
    }
    first = made.pop(FIRST)
    # INITIAL_CONTACT of a gateway that has crashed is to end what charon still has.
    return replace(base, child=first, further=made, unique="no")


def agree(ends: Ends, start: str, names: Sequence[str] = NAMES) -> None:
    ends.agree([children(ends, names)], {"admin": "down"})
    ends.ours.write(document(ends, [(SOURCES, DESTINATIONS)], start))
    ends.ours.cli("reload")
    if start == "respond":
        ends.swan.initiate_all(names)


def pairs(ends: Ends) -> list[dict[str, object]]:
    found = ends.ours.tunnels()[FIRST].raw["pairs"]
    assert isinstance(found, list)
    return found


def states(ends: Ends) -> list[object]:
    return [pair["status"] for pair in pairs(ends)]


def sent(ends: Ends) -> list[int]:
    """Return how many packets each Child SA in use has sent, in the order of the pairs."""
    return [int(str(pair["out_packets"])) for pair in pairs(ends)]


def wait_all_up(ends: Ends) -> None:
    try:
        wait_for("six Child SAs", lambda: states(ends) == ["up"] * 6, 20.0, every_s=0.2)
    except LabError as error:
        raise LabError(f"{error}\n{ends.ours.log_text()[-3000:]}") from error
    wait_for("six at strongSwan", lambda: len(installed(ends)) == 6, 10.0, every_s=0.2)


def installed(ends: Ends) -> list[str]:
    return sorted(child.name for child in ends.swan.children() if child.state == "INSTALLED")


def ping(ends: Ends, source: str, to: str) -> str:
    words = ("ping", "-n", "-q", "-c", "3", "-i", "0.05", "-W", "1", "-I", source, to)
    return ends.pair.a.host.run(*words, check=False)


def answers(ends: Ends, source: str, to: str) -> bool:
    """Say whether each of three pings is answered."""
    return pings.are_answered(ends.pair.a.host, to, "-I", source)


@pytest.mark.parametrize("start", ["initiate", "respond"])
def test_each_pair_goes_by_its_own_child_sa(quarters: Ends, start: str) -> None:
    ends = quarters
    agree(ends, start)
    wait_all_up(ends)
    assert installed(ends) == sorted(NAMES)
    assert len(ends.swan.sas()) == 1
    assert 'pair="10.10.0.64/26 === 10.20.0.128/26"' in ends.ours.log_text()
    for slot, (source, to) in enumerate(HOSTS):
        before = sent(ends)
        assert answers(ends, source, to)
        more = [now - then for now, then in zip(sent(ends), before, strict=True)]
        assert more == [3 * (at == slot) for at in range(6)]
    carried = {child.name: (child.packets_in, child.packets_out) for child in ends.swan.children()}
    assert carried == dict.fromkeys(NAMES, (3, 3))
    assert [pair["in_packets"] for pair in pairs(ends)] == [3] * 6


def test_a_packet_of_no_pair_is_dropped_and_counted(quarters: Ends) -> None:
    ends = quarters
    agree(ends, "initiate")
    wait_all_up(ends)
    before = ends.ours.tunnels()[FIRST].drops.get("selector_out", 0)
    assert " 100% packet loss" in ping(ends, OUTSIDE, "10.20.0.2")
    # The kernel's own multicast on the device is of no pair either.
    assert ends.ours.tunnels()[FIRST].drops["selector_out"] >= before + 3
    assert sent(ends) == [0] * 6
    assert verdict(ends, OUTSIDE, "10.20.0.2") == "no_selector"
    assert verdict(ends, *HOSTS[0]) == "carried"


def verdict(ends: Ends, source: str, to: str) -> str:
    """Return what `twinspan path` says of a flow."""
    (place,) = json.loads(ends.ours.cli("path", source, to, "-o", "json", check=False))["places"]
    return str(place["verdict"])


@pytest.mark.parametrize("who", ["ours", "theirs"])
def test_each_is_rekeyed_under_traffic(quarters: Ends, who: str) -> None:
    ends = quarters
    agree(ends, "initiate")
    wait_all_up(ends)
    running = [stream(ends, *hosts) for hosts in HOSTS]
    before = set(ends.ours.tunnels()[FIRST].spis)
    if who == "ours":
        ends.ours.cli("rekey", FIRST)
    else:
        for name in NAMES:
            ends.swan.rekey_child(name)
    wait_for("other SPIs", lambda: before.isdisjoint(spis_in_use(ends)), 10.0, every_s=0.2)
    for process in running:
        assert " 0% packet loss" in ended(process)
    wait_for("six again", lambda: len(ends.ours.tunnels()[FIRST].spis) == 6, 15.0, every_s=0.5)
    wait_for("six at strongSwan", lambda: installed(ends) == sorted(NAMES), 10.0, every_s=0.2)


def stream(ends: Ends, source: str, to: str) -> Process:
    words = ("ping", "-n", "-q", "-c", "200", "-i", "0.02", "-W", "2", "-I", source, to)
    return ends.pair.a.host.start(f"ping-{source}-{to}", *words)


def ended(process: Process) -> str:
    wait_for("ping to end", lambda: not process.is_alive, 20.0)
    return process.log.read_text()


def spis_in_use(ends: Ends) -> set[object]:
    found = ends.ours.tunnels()[FIRST].raw["children"]
    assert isinstance(found, list)
    return {child["spi_in"] for child in found if child["sends"]}


def test_one_that_strongswan_deletes_comes_back_and_the_others_stay(quarters: Ends) -> None:
    ends = quarters
    agree(ends, "initiate")
    wait_all_up(ends)
    before = spis_in_use(ends)
    ends.swan.terminate_child("pair-4")
    wait_for("a new one", lambda: len(before & spis_in_use(ends)) == 5, 5.0, every_s=0.1)
    wait_all_up(ends)
    assert len(before & spis_in_use(ends)) == 5
    assert answers(ends, *HOSTS[3])


def test_one_that_strongswan_refuses_is_named_and_the_others_carry_on(quarters: Ends) -> None:
    ends = quarters
    agree(ends, "initiate", NAMES[:5])
    wait_for("five Child SAs", lambda: states(ends) == ["up"] * 5 + ["down"], 15.0, every_s=0.2)
    wait_for("its reason", lambda: pairs(ends)[5]["reason"] is not None, 10.0, every_s=0.2)
    reason = pairs(ends)[5]["reason"]
    assert isinstance(reason, dict)
    assert reason["code"] == "ts_unacceptable"
    assert reason["ours"] == " === ".join(PAIRS[5])
    words = f"{FIRST}: no Child SA for {reason['ours']}: ts_unacceptable"
    assert words in ends.ours.cli("status")
    assert ends.ours.tunnels()[FIRST].is_up
    for hosts in HOSTS[:5]:
        assert answers(ends, *hosts)
    assert " 100% packet loss" in ping(ends, *HOSTS[5])


def test_swanctl_sees_each_pair_as_a_child_of_its_own(quarters: Ends) -> None:
    ends = quarters
    agree(ends, "initiate")
    wait_all_up(ends)
    names = [f"{FIRST}/{number}" for number in range(1, 7)]
    text = ends.ours.swanctl("--list-sas")
    assert re.findall(r"^  (\S+): #\d+, reqid \d+, INSTALLED", text, re.MULTILINE) == names
    assert len(set(re.findall(r"reqid (\d+)", text))) == 6
    text = ends.ours.swanctl("--list-sas", "--child", names[3])
    assert re.findall(r"^    (?:local|remote) +(\S+)", text, re.MULTILINE) == list(PAIRS[3])
    assert all(f"{name}: TUNNEL" in ends.ours.swanctl("--list-conns") for name in names)
    before = spis_in_use(ends)
    ends.ours.swanctl("--rekey", "--child", names[3])
    wait_for("one other SPI", lambda: len(before & spis_in_use(ends)) == 5, 10.0, every_s=0.1)
    ends.ours.swanctl("--terminate", "--child", names[4])
    assert installed(ends) == sorted({*NAMES} - {NAMES[4]})
    assert states(ends) == ["up"] * 4 + ["down", "up"]
    assert "initiate completed" in ends.ours.swanctl("--initiate", "--child", names[4])
    assert states(ends) == ["up"] * 6
    for hosts in HOSTS:
        assert answers(ends, *hosts)


@pytest.mark.parametrize("way", ["stop", "kill"])
def test_a_restarted_gateway_goes_on_with_all_six(quarters: Ends, way: str) -> None:
    ends = quarters
    agree(ends, "initiate")
    wait_all_up(ends)
    before = spis_in_use(ends)
    running = [stream(ends, *hosts) for hosts in HOSTS]
    getattr(ends.ours, way)()
    ends.ours.start()
    for process in running:
        assert " 0% packet loss" in ended(process)
    assert spis_in_use(ends) == before
    assert states(ends) == ["up"] * 6


def test_the_page_brings_up_all_six(quarters: Ends) -> None:
    """docs/scenarios/policy.md: our document as it stands there, the device as it is made of it."""
    ends, key = quarters, "4f0c6c9f5d6b1c0c8e0f3b6b3f7f5a9d"
    (text,) = pages.blocks("policy", "toml")
    ends.agree([], {"admin": "down"})
    (ends.ours.directory / "office.psk").write_text(key + "\n")
    (ends.ours.directory / "office.psk").chmod(0o600)
    ends.ours.write(text)
    out = ends.ours.directory / "device"
    words = ("--device", "strongswan-libipsec", "--secrets", "--out", str(out))
    ends.ours.cli("customer-config", "office", "--config", str(ends.ours.config), *words)
    ends.swan.load_text((out / "swanctl.conf").read_text())
    ends.ours.cli("reload")
    wait_all_up(ends)
    for hosts in HOSTS:
        assert answers(ends, *hosts)
    explained = ends.ours.cli("explain", FIRST)
    assert "pair      10.10.0.64/26 === 10.20.0.128/26: up, 3 packets received, 3 sent" in explained


REFUSED: list[tuple[Rules, str]] = [
    (
        [(SOURCES, DESTINATIONS), (["10.10.0.0/24"], ["10.20.0.0/25"])],
        "overlaps 10.10.0.0/26 to 10.20.0.0/26 of rule 1 (10.10.0.0/24 to 10.20.0.0/25)",
    ),
    (
        [([f"10.10.0.{16 * number}/28"], DESTINATIONS) for number in range(6)],
        "has 6 rules, at most 5",
    ),
]


@pytest.mark.parametrize(("rules", "words"), REFUSED, ids=["overlap", "sixth"])
def test_wrong_rules_are_refused_and_change_nothing(
    quarters: Ends, rules: Rules, words: str
) -> None:
    ends = quarters
    agree(ends, "initiate")
    wait_all_up(ends)
    before = spis_in_use(ends)
    ends.ours.write(document(ends, rules))
    with pytest.raises(LabError) as refused:
        ends.ours.cli("reload")
    assert words in str(refused.value)
    assert spis_in_use(ends) == before
    assert answers(ends, *HOSTS[0])
