"""`twinspan doctor` on a real machine: a network namespace of the test's own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli import app
from gateway.cli.bugreport.known import secrets_of
from gateway.cli.doctor.checkup import examine, findings
from gateway.cli.doctor.facts import Facts, Holder, NamespaceSeen
from gateway.cli.doctor.look import mtu, network, proc
from gateway.cli.doctor.look.document import Place, table
from gateway.cli.doctor.verdict import Finding, Unseen, Verdict
from gateway.fleet.messages import Position, Wanted
from gateway.node.fleet.cache import Cache
from tests.cli.doctor_facts import RUNNING
from tests.node import process
from tests.node.network import ip, own_network
from tests.node.process import DOCUMENT, Running

pytestmark = pytest.mark.system

NOBODY = 65534
NOWHERE = Path("/nowhere")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A network with both public addresses, and a directory with the document."""
    with own_network():
        for address in ("192.0.2.1/32", "198.51.100.1/32"):
            ip(f"addr add {address} dev lo")
        file = tmp_path / "gateway.toml"
        file.write_text(DOCUMENT)
        file.chmod(0o600)
        yield tmp_path


def seen(place: Path) -> Facts:
    return examine(Place(place / "gateway.toml", NOWHERE, NOWHERE), place)


def named(facts: Facts, check: str) -> dict[str, Finding]:
    return {one.about: one for one in findings(facts, 0.0) if one.check == check}


def test_a_stranger_on_a_port_is_named_with_its_pid(place: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("0.0.0.0", 4500))
        found = named(seen(place), "ports")
    held = found["UDP 198.51.100.1 port 4500"]
    assert held.verdict is Verdict.FAILURE
    assert f"(pid {os.getpid()}" in held.found
    assert found["UDP 198.51.100.1 port 500"].found == "free"


def test_routes_rules_and_policies_of_the_kernel_are_seen(place: Path) -> None:
    ip("link add eth9 type veth peer name eth9-far")
    ip("link set eth9 up")
    ip("route add 10.20.3.0/24 dev eth9")
    ip("rule add from 10.9.0.0/16 lookup 77")
    ip("xfrm policy add src 10.0.0.0/8 dst 10.20.0.0/16 dir out action block")
    facts = seen(place)
    assert isinstance(facts.own, NamespaceSeen)
    assert (facts.own.rules, facts.own.xfrm) == (1, 1)
    about = named(facts, "routes")
    assert about["10.20.0.0/16 of office"].remedy == "ip route del 10.20.3.0/24 dev eth9"
    assert about["routing rules"].verdict is Verdict.WARNING


def test_offloads_of_a_device_are_those_that_ethtool_shows(place: Path) -> None:
    subprocess.run(["ethtool", "-K", "lo", "gro", "off"], check=True)
    said = subprocess.run(["ethtool", "-k", "lo"], check=True, capture_output=True, text=True)
    lines = (line.split() for line in said.stdout.splitlines()[1:])
    shown = {words[0].rstrip(":"): words[1] == "on" for words in lines}
    assert network.device("lo").offloads == {
        "tx checksum": shown["tx-checksumming"],
        "GSO": shown["generic-segmentation-offload"],
        "GRO": False,
    }


def test_a_node_of_a_control_plane_is_examined_by_the_document_that_it_keeps(place: Path) -> None:
    state = place / "node"
    state.mkdir()
    kept = Place(None, NOWHERE, state)
    wanted = Wanted(node="node-a", at=Position(epoch=1), document=tomllib.loads(DOCUMENT))
    Cache(state).save(wanted)
    facts = examine(kept, place)
    assert facts.document.path == str(state / "document.sealed")
    runs = replace(RUNNING, state_dir=str(state))  # without --state-dir
    assert Place(None, NOWHERE, NOWHERE).of(runs) == kept
    assert kept.of(facts.gateway) == kept.of(RUNNING) == kept
    assert named(facts, "document")[facts.document.path].found == "2 tunnels, no mistake"
    assert named(facts, "addresses")["address 192.0.2.1"].verdict is Verdict.OK
    assert b"correct-horse-battery-staple" in secrets_of(table(kept), kept, "", place)
    (state / "document.key").unlink()
    assert "which is gone" in named(examine(kept, place), "document")[facts.document.path].found


def test_peers_without_a_route_are_failures(place: Path) -> None:
    found = named(seen(place), "path_mtu")
    assert {one.verdict for one in found.values()} == {Verdict.FAILURE}
    assert found["192.0.2.1 to 203.0.113.9"].found == "no route to the peer"


def test_the_largest_packet_is_found_and_loopback_takes_what_its_device_takes(place: Path) -> None:
    ip("link set lo mtu 3000")
    local, remote = ip_address("192.0.2.1"), ip_address("198.51.100.1")
    assert mtu.probe(local, remote, 3000) == 3000
    assert mtu.probe(local, remote, 4000) == 3000  # found by halving


def test_without_a_gateway_it_says_so_and_examines_the_rest(place: Path) -> None:
    facts = seen(place)
    assert isinstance(facts.gateway, Unseen)
    found = named(facts, "gateway")["process"]
    assert (found.verdict, found.remedy) == (Verdict.WARNING, "systemctl start twinspan-gateway")
    assert named(facts, "kernel")["release"].verdict is Verdict.OK
    assert named(facts, "crypto")["ESP aes256gcm16"].found.startswith(("ipsecmb", "openssl"))


def test_without_root_what_can_not_be_seen_is_unknown(place: Path) -> None:
    """A child becomes nobody: all that it needs is imported by now."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        found = [one.as_json() for one in findings(seen(place), 0.0)]
        os.write(writer, json.dumps(found).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        found = json.loads(answer.read())
    assert os.waitpid(child, 0)[1] == 0
    unknown = {one["check"]: one for one in found if one["verdict"] == "unknown"}
    assert {"document", "firewall", "other_ipsec", "gateway"} <= set(unknown)
    assert all(one["found"] for one in unknown.values())
    assert {"kernel", "cpu"} <= {one["check"] for one in found if one["verdict"] == "ok"}
    assert not [one for one in found if one["verdict"] == "failure"]


def test_a_document_with_mistakes_is_said_and_the_status_is_1(place: Path) -> None:
    (place / "gateway.toml").write_text("[gateway]\nname = 7\n")
    shown = doctor(place)
    assert shown.exit_code == 1
    assert "failure  document:" in shown.output
    assert "gateway.toml:2: gateway.name" in shown.output


def doctor(place: Path, *words: str) -> Result:
    options = ["--config", str(place / "gateway.toml"), "--runtime-dir", str(place)]
    return CliRunner().invoke(app, ["doctor", *options, *words])


def test_a_running_gateway_is_known_by_its_sockets(place: Path) -> None:
    with process.gateway(place, "--in-process") as running:
        facts = seen(place)
        ports = named(facts, "ports")
        assert {one.verdict for one in ports.values()} == {Verdict.OK}
        assert f"(pid {running.process.pid}" in ports["UDP 192.0.2.1 port 4500"].found
        holders = [one.holder for one in facts.raw_sockets if one.port == 50]  # type: ignore[union-attr]
        assert holders
        assert all(isinstance(one, Holder) and one.is_ours for one in holders)
        _refuse_a_reload(running)
        found = named(seen(place), "document")
        assert found["last reading"].verdict is Verdict.FAILURE
        assert "gateway.name" in found["last reading"].found
        answer = json.loads(doctor(place, "--json").output)
        assert answer["summary"]["failure"] >= 1
        running.config.write_text(DOCUMENT)


def _refuse_a_reload(running: Running) -> None:
    running.config.write_text("[gateway]\nname = 7\n")
    environment = {"TWINSPAN_RUNTIME_DIR": str(running.place)}
    assert CliRunner().invoke(app, ["reload"], env=environment).exit_code == 1


def test_addresses_of_proc_are_read_in_the_machines_own_order(place: Path) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("::1", 0))
        port = sock.getsockname()[1]
        table = proc.Sockets(proc.holders(), frozenset()).table("udp")
    assert not isinstance(table, Unseen)
    (found,) = [one for one in table if one.port == port]
    assert found.address == ip_address("::1")
