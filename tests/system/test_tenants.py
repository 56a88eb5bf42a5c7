"""Two tenants with equal address ranges on one gateway VM; the picture is in lab/tenants.py."""

from __future__ import annotations

import json
import os
import signal
import sys
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from lab import probe, tenants
from lab.commands import LabError, Process, run, wait_for
from lab.netns import Lab
from lab.tenants import COLOURS, OFFICE, OFFICE_HOST, VPC, VPC_HOST, Network, Tenant
from lab.twinspan import Twinspan, table
from tests.system.support import Since, assert_nothing_lost, ping

pytestmark = pytest.mark.system

Json = Mapping[str, object]
PORT = 7000

# Answers each datagram with the colour of its house, and tells of datagrams of another colour.
_SERVER = f"""
import socket, sys
link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
link.bind(("", {PORT}))
print("ready", flush=True)
while True:
    data, peer = link.recvfrom(2048)
    if data.decode() != sys.argv[1]:
        print("stranger", data.decode(), flush=True)
    link.sendto(sys.argv[1].encode(), peer)
"""
_CLIENT = f"""
import socket, sys
link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
link.settimeout(2)
answers = []
for _ in range(200):
    link.sendto(sys.argv[1].encode(), (sys.argv[2], {PORT}))
    answers.append(link.recv(2048).decode())
print(*sorted(set(answers)))
"""


def peers(network: Network, colour: str) -> list[Json]:
    found = network.ours.bgp()
    return [peer for peer in found if peer["border_gateway"] == colour]


def all_up(network: Network) -> bool:
    found = [peer for colour in network.tenants for peer in peers(network, colour)]
    return len(found) == 2 * len(network.tenants) and all(
        peer["state"] == "established" and peer["bfd"] == "up" for peer in found
    )


def wait_sessions(network: Network) -> None:
    try:
        wait_for("sessions", partial(all_up, network), 30.0)
    except LabError as error:
        text = f"{network.ours.cli('bgp')}\n{network.ours.log_text()[-3000:]}"
        raise LabError(f"{error}\n{text}") from error


def wait_traffic(tenant: Tenant) -> None:
    wait_for(
        f"traffic of {tenant.colour}",
        lambda: ping(tenant.vpc, OFFICE_HOST) and ping(tenant.host, VPC_HOST),
        30.0,
        every_s=0.1,
    )


def facts(network: Network, colour: str) -> tuple[object, ...]:
    """Return all of a tenant that an edit of another must leave as it is."""
    tunnels = network.ours.tunnels()
    mine = [tunnels[network.tenants[colour].tunnel(number)] for number in (1, 2)]
    ifindex = network.tenants[colour].namespace.ip("-o", "link")
    return (
        [tunnel.spis for tunnel in mine],
        [tunnel.raw["ike"]["spi_i"] for tunnel in mine],  # type: ignore[index]
        [Since(peer) for peer in peers(network, colour)],
        bird_pid(network, colour),
        [line.split(": ")[:2] for line in ifindex.splitlines()],
    )


def is_at_rest(network: Network, colour: str) -> bool:
    """Return whether each of a tenant's tunnels has one Child SA, the one that replaced others."""
    tunnels = network.ours.tunnels()
    mine = [tunnels[network.tenants[colour].tunnel(number)] for number in (1, 2)]
    return all(tunnel.is_up and len(tunnel.spis) == 1 for tunnel in mine)


def bird_pid(network: Network, colour: str) -> int:
    name = network.tenants[colour].namespace.netns
    file = network.ours.directory / f"bgw-{name}" / "bird.pid"
    return int(file.read_text() or 0) if file.exists() else 0


def namespaces() -> set[str]:
    return {line.split()[0] for line in run("ip", "netns", "list").splitlines()}


def start_probe(tenant: Tenant) -> probe.Probe:
    return probe.start(tenant.vpc, tenant.host, OFFICE_HOST)


@pytest.fixture(scope="module")
def network(lab: Lab) -> Iterator[Network]:
    """Return the network with all sessions up and traffic of both tenants."""
    made = tenants.build(lab)
    for gateway in made.customers.values():
        gateway.start()
    made.ours.start()
    made.ours.wait_up()
    for tenant in made.tenants.values():
        tenant.vpc.route("default", "via", tenants.VPC_GATEWAY)
    wait_sessions(made)
    for tenant in made.tenants.values():
        wait_traffic(tenant)
    yield made
    made.ours.end()


def test_each_tenant_has_devices_routes_and_bird_of_its_own(network: Network) -> None:
    for colour, tenant in network.tenants.items():
        there = tenant.namespace
        assert f"dev ts-{colour}-1 proto bird" in there.ip("route", "show", OFFICE)
        assert "unreachable" in there.ip("route", "show", OFFICE, "proto", "85")
        assert "169.254.10.1/30" in there.ip("addr", "show", f"ts-{colour}-1")
        assert bird_pid(network, colour) in there.pids()
    assert network.machine.ip("route", "show", OFFICE) == ""
    assert "ts-" not in network.machine.ip("-br", "link")
    assert not (network.ours.directory / "bird.conf").exists()


def test_commands_name_the_border_gateway(network: Network) -> None:
    routes = network.ours.routes()
    best = {
        (route["border_gateway"], route["prefix"], route["owner"])
        for route in routes
        if route["standing"] == "best"
    }
    assert {("red", OFFICE, "red-1"), ("blue", OFFICE, "blue-1")} <= best
    assert {("red", VPC, "vpc-red"), ("blue", VPC, "vpc-blue")} <= best
    for command in ("status", "bgp", "routes"):
        head = network.ours.cli(command).splitlines()
        assert any("GATEWAY" in line for line in head[:2]), command
    states = {one["name"]: one for one in network.ours.status()["interfaces"]}  # type: ignore[attr-defined]
    assert {one["status"] for one in states.values()} == {"up"}
    assert states["vpc-red"]["namespace"] == network.tenants["red"].namespace.netns


def test_path_doctor_and_bugreport_look_into_each_tenants_namespace(
    network: Network, tmp_path: Path
) -> None:
    gateway, red = network.ours, network.tenants["red"].namespace
    answer = json.loads(gateway.cli("path", VPC_HOST, OFFICE_HOST, "-o", "json"))
    assert {
        (*place["border_gateways"], place["came_by"]["name"], place["tunnel"]["name"])
        for place in answer["places"]
    } == {(colour, f"vpc-{colour}", f"{colour}-1") for colour in COLOURS}
    only = ("path", VPC_HOST, OFFICE_HOST, "--border-gateway", "blue", "-o", "name")
    assert gateway.cli(*only) == "blue-1\n"
    red.sysctl("net.ipv4.ip_forward=0")
    file = tmp_path / "report.tar.gz"
    try:
        gateway.cli("bugreport", str(file))
    finally:
        red.sysctl("net.ipv4.ip_forward=1")
    with tarfile.open(file) as report:
        found = {entry.name.partition("/")[2]: report.extractfile(entry) for entry in report}
        assert {f"bird/bgw-{red.netns}-bird.conf", f"network/{red.netns}/ip-rule.txt"} <= set(found)
        told = found["doctor.json"]
        assert told is not None
        findings = json.loads(told.read())["findings"]
    failures = [one for one in findings if one["verdict"] == "failure"]
    assert [(one["check"], one["about"]) for one in failures] == [
        ("forwarding", f"IPv4 in {red.netns}")
    ]
    assert failures[0]["remedy"].startswith(f"ip netns exec {red.netns} sysctl -w")


def is_ready(process: Process) -> bool:
    return "ready" in process.log.read_text()


def test_a_packet_of_one_never_reaches_the_other(network: Network) -> None:
    servers: dict[str, Process] = {}
    for colour, tenant in network.tenants.items():
        servers[colour] = tenant.host.start("server", sys.executable, "-c", _SERVER, colour)
        wait_for("the server", partial(is_ready, servers[colour]), 10.0)
    clients = {
        colour: tenant.vpc.start("client", sys.executable, "-c", _CLIENT, colour, OFFICE_HOST)
        for colour, tenant in network.tenants.items()
    }
    for colour in COLOURS:
        assert clients[colour].child.wait(30) == 0
        assert clients[colour].log.read_text().split() == [colour]
        servers[colour].stop()
        assert "stranger" not in servers[colour].log.read_text()


def test_one_tenant_is_edited_and_the_other_notices_nothing(network: Network) -> None:
    before, other = facts(network, "blue"), facts(network, "red")
    running = start_probe(network.tenants["blue"])
    network.ours.write(
        network.document(red={"bgp_prefix_limit": 7, "esp_proposals": ["aes128gcm16-x25519"]})
    )
    said = network.ours.cli("reload")
    assert "changed: red-1" in said
    assert "blue" not in said
    wait_for("red anew", lambda: facts(network, "red")[0] != other[0], 30.0)
    network.ours.wait_up()
    wait_traffic(network.tenants["red"])
    network.ours.write(network.document())
    network.ours.cli("reload")
    wait_sessions(network)
    assert_nothing_lost(running.stop())
    assert facts(network, "blue") == before
    wait_for("red to be at rest", partial(is_at_rest, network, "red"), 30.0)


def test_the_bird_of_one_ends_and_the_other_notices_nothing(network: Network) -> None:
    before, pid = facts(network, "blue"), bird_pid(network, "red")
    os.kill(pid, signal.SIGKILL)
    wait_for("another BIRD", lambda: bird_pid(network, "red") not in (0, pid), 20.0)
    wait_sessions(network)
    wait_traffic(network.tenants["red"])
    assert facts(network, "blue") == before


@pytest.mark.parametrize("way", ["stop", "kill"])
def test_the_gateway_process_is_restarted_and_both_go_on(network: Network, way: str) -> None:
    pids = [bird_pid(network, colour) for colour in COLOURS]
    links = [network.tenants[colour].namespace.ip("-o", "link") for colour in COLOURS]
    spis = network.ours.spis()
    running = [start_probe(network.tenants[colour]) for colour in COLOURS]
    getattr(network.ours, way)()
    network.ours.start()
    network.ours.wait_up()
    assert network.ours.spis() == spis
    wait_sessions(network)
    for colour in COLOURS:
        wait_for("rest", partial(is_at_rest, network, colour), 30.0)
    for each in running:
        seen = each.stop()
        assert seen.goes_on
        assert_nothing_lost(seen)
    assert [bird_pid(network, colour) for colour in COLOURS] == pids
    assert [network.tenants[colour].namespace.ip("-o", "link") for colour in COLOURS] == links


def test_the_keeper_ends_and_comes_back_when_it_is_needed(network: Network) -> None:
    (keeper,) = [pid for pid in network.machine.pids() if is_keeper(pid)]
    pid = bird_pid(network, "red")
    os.kill(keeper, signal.SIGKILL)
    wait_traffic(network.tenants["red"])
    os.kill(pid, signal.SIGKILL)
    wait_for("another BIRD", lambda: bird_pid(network, "red") not in (0, pid), 20.0)
    wait_sessions(network)
    (again,) = [pid for pid in network.machine.pids() if is_keeper(pid)]
    assert again != keeper


def is_keeper(pid: int) -> bool:
    try:
        return b"gateway.netns.process" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except FileNotFoundError:
        return False


def test_a_lost_data_plane_is_made_anew_for_both(network: Network) -> None:
    (plane,) = [
        pid
        for pid in network.ours.pids()
        if b"gateway.dataplane.process" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    ]
    os.kill(plane, signal.SIGKILL)
    wait_for("the new one", lambda: plane not in network.ours.pids(), 10.0)
    wait_for("status", network.ours.answers, 20.0)
    network.ours.wait_up(timeout_s=40.0)
    wait_sessions(network)
    for colour, tenant in network.tenants.items():
        wait_traffic(tenant)
        wait_for("rest", partial(is_at_rest, network, colour), 30.0)


def test_a_namespace_that_was_removed_by_hand_is_made_anew(network: Network) -> None:
    before, red = facts(network, "blue"), network.tenants["red"]
    pid = bird_pid(network, "red")
    run("ip", "netns", "del", red.namespace.netns)
    # Looked at every ten seconds, and all is made anew at once.
    wait_for("it to be there", lambda: red.namespace.netns in namespaces(), 15.0)
    wait_for("another BIRD", lambda: bird_pid(network, "red") not in (0, pid), 30.0)
    network.ours.wait_up(timeout_s=40.0)
    near = tenants.VPC_GATEWAY.rpartition(".")[0] + "."
    wait_for("the attachment", lambda: near in red.vpc.ip("-4", "addr", "show"), 5.0)
    red.vpc.route("default", "via", tenants.VPC_GATEWAY)
    wait_sessions(network)
    wait_traffic(red)
    wait_for("rest", partial(is_at_rest, network, "red"), 30.0)
    assert bird_pid(network, "red") in red.namespace.pids()
    assert facts(network, "blue") == before
    assert "bug" not in {event["code"] for event in network.ours.events()}


def test_attachments_that_overlap_warn_and_clean_up_when_deleted(
    network: Network, lab: Lab
) -> None:
    """F21: two VPCs at one Border Gateway, the second within the first."""
    before = facts(network, "blue")
    second = lab.namespace("vpc2")
    text = table(
        "[[vpc_attachment]]",
        {
            "name": "vpc2",
            "border_gateway": "red",
            "interface": "vpc2",
            "cidrs": ["10.10.0.128/25", "10.30.0.0/24"],
            "addresses": ["10.30.0.1/24"],
        },
    ) + table(
        "[vpc_attachment.veth]",
        {"namespace": second.netns, "interface": "eth0", "addresses": ["10.30.0.2/24"]},
    )
    document = network.document()
    network.ours.write(replace(document, attachments=[*document.attachments, text]))
    network.ours.cli("reload")
    assert "overlaps 10.10.0.0/24 of vpc_attachment vpc-red" in network.ours.log_text()
    second.route("default", "via", "10.30.0.1")
    customer = network.customers["red"]
    wait_for("the new prefix", lambda: "10.30.0.0/24" in routes_at(customer), 20.0)
    network.ours.write(document)
    network.ours.cli("reload")
    wait_for("it to go", lambda: "10.30.0.0/24" not in routes_at(customer), 20.0)
    red = network.tenants["red"].namespace
    assert "vpc2" not in red.ip("-br", "link")
    assert red.ip("route", "show", "10.30.0.0/24") == ""
    assert "eth0" not in second.ip("-br", "link")
    assert facts(network, "blue") == before


def routes_at(gateway: Twinspan) -> set[str]:
    found = gateway.routes()
    return {str(route["prefix"]) for route in found}


def test_a_tenant_leaves_and_comes_back(network: Network) -> None:
    before, blue = facts(network, "red"), network.tenants["blue"].namespace.netns
    pid = bird_pid(network, "blue")
    network.ours.write(tenants.document({"red": network.tenants["red"]}, {}))
    network.ours.cli("reload")
    wait_for("blue to go", lambda: blue not in namespaces(), 20.0)
    wait_for("its BIRD to end", lambda: not Path(f"/proc/{pid}").exists(), 5.0)
    assert not (network.ours.directory / f"bgw-{blue}").exists()
    assert facts(network, "red") == before
    network.ours.write(network.document())
    network.ours.cli("reload")
    network.ours.wait_up()
    network.tenants["blue"].vpc.route("default", "via", tenants.VPC_GATEWAY)
    wait_sessions(network)
    wait_traffic(network.tenants["blue"])
    assert facts(network, "red") == before


def test_the_end_leaves_nothing_behind(network: Network) -> None:
    pids = [bird_pid(network, colour) for colour in COLOURS]
    network.ours.end()
    wait_for("all to end", lambda: not network.ours.pids(), 10.0)
    mine = {tenant.namespace.netns for tenant in network.tenants.values()}
    assert not mine & namespaces()
    wait_for("each BIRD to end", lambda: not any(Path(f"/proc/{p}").exists() for p in pids), 5.0)
    for tenant in network.tenants.values():
        assert "eth0" not in tenant.vpc.ip("-br", "link")
    assert list(network.ours.directory.glob("bgw-*")) == []
    assert network.machine.ip("route", "show", "proto", "85") == ""
