"""
`twinspan doctor` on a gateway with tunnels up: one thing after the other is broken, and named.

    host a --- gw a (twinspan) ==== wan1, wan2 ==== gw b (twinspan) --- host b
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from lab import twins
from lab.commands import wait_for
from lab.netns import Lab
from lab.strongswan import StrongSwan
from lab.twins import Twins
from lab.twinspan import ROOT
from tests.system.support import wait_status

pytestmark = pytest.mark.system

Finding = dict[str, str]


@pytest.fixture(scope="module")
def made(lab: Lab) -> Twins:
    """Return the two gateways with BGP up, site a with the system parameters that are shipped."""
    built = twins.build(lab, "300x3")
    shipped = str(ROOT / "deploy/sysctl.d/60-twinspan.conf")
    built.pair.a.gateway.run("sysctl", "-qp", shipped)
    return built


def findings(made: Twins) -> list[Finding]:
    words = ("doctor", "--config", str(made.a.config), "-o", "json")
    found = json.loads(made.a.cli(*words, check=False))["findings"]
    assert isinstance(found, list)
    return found


def named(seen: list[Finding], verdict: str, check: str, found: str) -> list[Finding]:
    return [
        one
        for one in seen
        if (one["verdict"], one["check"]) == (verdict, check)
        and found in f"{one['about']}: {one['found']}"
    ]


def test_a_gateway_that_is_well_has_no_failure_and_its_paths_are_measured(made: Twins) -> None:
    seen = findings(made)
    assert [one for one in seen if one["verdict"] == "failure"] == []
    for number in (1, 2):
        local, remote = (end.public4[number - 1] for end in (made.pair.a, made.pair.b))
        assert named(seen, "ok", "path_mtu", f"{local} to {remote}: 1500 bytes")
    assert named(seen, "ok", "gateway", "2 of 2 tunnels up")
    assert named(seen, "ok", "bird", "answers")
    ours = f"port 500: held by python (pid {made.a.pid})"  # both processes hold 4500
    assert len(named(seen, "ok", "ports", ours)) == 2


def _nft(hook: str, rule: str) -> str:
    """Return what makes a table "fault" with one rule in one chain."""
    family = "netdev" if hook.startswith("ingress") else "inet"
    chain = f"chain {family} fault in"
    hooked = f"{{ type filter hook {hook} priority 0; }}"
    return f"nft 'add table {family} fault; add {chain} {hooked}; add rule {chain[6:]} {rule}'"


# What is done, what undoes it, and the finding that names it.
FAULTS: Sequence[tuple[str, str, str, str, str]] = [
    (
        _nft("ingress device wan1", "meta length > 1400 drop"),
        "nft delete table netdev fault",
        "failure",
        "path_mtu",
        "192.0.2.1 to 192.0.2.2: 1400 bytes; larger packets vanish",
    ),
    (
        "ip addr del 198.51.100.1/24 dev wan2",
        "ip addr add 198.51.100.1/24 dev wan2",
        "failure",
        "addresses",
        "address 198.51.100.1: not on this machine",
    ),
    (
        "sysctl -qw net.ipv4.ip_forward=0",
        "sysctl -qw net.ipv4.ip_forward=1",
        "failure",
        "forwarding",
        "IPv4: off",
    ),
    (
        "sysctl -qw net.ipv4.conf.wan1.rp_filter=1",
        "sysctl -qw net.ipv4.conf.wan1.rp_filter=0",
        "warning",
        "rp_filter",
        "wan1: strict",
    ),
    (
        "sysctl -qw net.ipv4.conf.ts-office-1.rp_filter=2",
        "sysctl -qw net.ipv4.conf.ts-office-1.rp_filter=0",
        "warning",
        "rp_filter",
        "ts-office-1: loose",
    ),
    (
        "sysctl -qw net.ipv4.fib_multipath_hash_policy=0",
        "sysctl -qw net.ipv4.fib_multipath_hash_policy=1",
        "warning",
        "sysctl",
        "fib_multipath_hash_policy",
    ),
    (
        "ip route add 10.20.0.128/25 via 192.0.2.2",
        "ip route del 10.20.0.128/25",
        "failure",
        "routes",
        "10.20.0.128/25 dev wan1 (boot) takes it in clear",
    ),
    (
        "ip rule add from 10.10.0.0/24 lookup 99",
        "ip rule del from 10.10.0.0/24",
        "warning",
        "routes",
        "routing rules: 1 beside",
    ),
    (
        _nft("input", "udp dport 500 drop"),
        "nft delete table inet fault",
        "failure",
        "firewall",
        "UDP 500 inbound over IPv4: dropped by inet fault in",
    ),
    (
        "ip xfrm policy add src 10.10.0.0/24 dst 10.20.0.0/24 dir out action block",
        "ip xfrm policy flush",
        "warning",
        "other_ipsec",
        "IPsec policies of the kernel: 1",
    ),
]


@pytest.mark.parametrize(
    ("fault", "mended", "verdict", "check", "found"),
    FAULTS,
    ids=[f"{check}: {fault[:30]}" for fault, _, _, check, _ in FAULTS],
)
def test_each_fault_is_named(
    made: Twins, fault: str, mended: str, verdict: str, check: str, found: str
) -> None:
    machine = made.pair.a.gateway
    machine.run("sh", "-c", fault)
    try:
        (finding,) = named(findings(made), verdict, check, found)
    finally:
        machine.run("sh", "-c", mended)
    assert finding["remedy"]


def test_a_document_that_a_reload_refuses_is_named_with_the_mistake(made: Twins) -> None:
    text = made.a.config.read_text()
    made.a.config.write_text(text.replace("[gateway]", "[gateway]\nworkers = -1", 1))
    try:
        made.a.cli("reload", check=False)
        seen = findings(made)
    finally:
        made.a.config.write_text(text)
    assert named(seen, "failure", "document", "gateway.workers")
    assert named(seen, "failure", "document", "last reading: refused")


def test_what_is_mended_is_named_no_more(made: Twins) -> None:
    made.a.cli("reload")
    wait_for("the sessions", lambda: twins.has_all_sessions(made.a), 15.0)
    named_still = {
        one["check"] for one in findings(made) if one["verdict"] in ("failure", "warning")
    }
    assert named_still <= {"clock", "units", "device_offloads", "cpu"}  # the machine's own


def test_a_tunnel_that_is_down_is_named_with_the_command_that_says_more(made: Twins) -> None:
    made.b.cli("down", "office-2")
    wait_status(made.a, "office-2", "down")
    (finding,) = named(findings(made), "warning", "gateway", "1 of 2 tunnels up")
    assert finding["remedy"] == "twinspan explain office-2"
    made.b.cli("up", "office-2")
    wait_status(made.a, "office-2", "up")


def test_strongswan_on_our_ports_is_named_by_its_pid(made: Twins) -> None:
    """The gateway is away; the doctor then looks where it is run."""
    made.a.end()
    swan = StrongSwan(made.pair.a.gateway)
    swan.start()
    try:
        words = ("--config", str(made.a.config), "--runtime-dir", str(made.a.directory))
        shown = made.pair.a.gateway.run(
            *("env", f"PYTHONPATH={ROOT}", str(ROOT / ".venv/bin/twinspan"), "doctor", *words),
            *("-o", "json"),
            check=False,
        )
    finally:
        swan.stop()
    found = json.loads(shown)["findings"]
    ports = [one for one in found if one["check"] == "ports"]
    assert len(ports) == 4
    assert all("held by charon" in one["found"] for one in ports), ports
    assert all(one["remedy"].startswith("end it: kill ") for one in ports)
    assert any(one["check"] == "gateway" and one["verdict"] == "warning" for one in found)
