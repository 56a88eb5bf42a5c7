"""What facts mean to `twinspan doctor`: one fact changed, one finding."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from gateway.cli.diagnose import report, report_lines
from gateway.cli.doctor.checkup import findings
from gateway.cli.doctor.facts import (
    ClockSeen,
    CpuSeen,
    DeviceSeen,
    DocumentSeen,
    Facts,
    Json,
    OpenSocket,
    PathSeen,
    TunnelSeen,
)
from gateway.cli.doctor.judge.firewall import Fate, Kind, fate_of
from gateway.cli.doctor.judge.routing import BFD_BUFFER_BYTES, WANTED_SETTINGS
from gateway.cli.doctor.verdict import Finding, Unseen, Verdict
from gateway.dataplane.kernel import spoils_equal_segments, version_of
from gateway.sa import Address
from tests.cli.doctor_facts import (
    CHARON,
    OWN_NAMESPACE,
    SOCKETS,
    THEM,
    UNITS,
    US,
    WELL,
    own,
    planned,
    route,
    running,
    setting,
)
from tests.node.process import DOCUMENT

NOW = 2000.0
NEVER = DOCUMENT.replace('start = "respond"', 'start = "respond"\nencap = "never"')
BGP = DOCUMENT.replace('remote_cidrs = ["10.20.0.0/16"]', 'routing = "bgp"').replace(
    'name = "office"\npublic', 'name = "office"\nasn = 65010\npublic', 1
)
AO = BGP.replace(
    'routing = "bgp"', 'routing = "bgp"\nbgp_password = "k"\nbgp_auth = "ao-hmac-sha256"'
)


def bad(facts: Facts) -> list[Finding]:
    return [one for one in findings(facts, NOW) if one.verdict is not Verdict.OK]


def with_document(text: str, facts: Facts = WELL) -> Facts:
    return replace(facts, document=replace(facts.document, plan=planned(text)))


def held(address: Address, port: int) -> Facts:
    others = [one for one in SOCKETS if one.port != port]
    return replace(WELL, sockets=(*others, OpenSocket(address, port, CHARON)))


def takes(found: int | Unseen, device: str | None = "eth0", kernel: int | None = 1500) -> Facts:
    return replace(WELL, paths=(PathSeen(US, THEM, device, kernel, found),))


def offloads(gro: bool | None) -> Facts:
    states = {"tx checksum": gro, "GSO": gro, "GRO": gro}
    return replace(WELL, devices=(DeviceSeen("eth0", 1500, states),))


def inner(**changes: bool) -> Facts:
    (card,) = WELL.inner_devices
    names = {name.replace("_", "-"): state for name, state in changes.items()}
    return replace(WELL, inner_devices=(replace(card, offloads={**card.offloads, **names}),))


def cpu(**changes: object) -> Facts:
    return replace(WELL, cpu=replace(WELL.cpu, **changes))  # type: ignore[arg-type]


def kernel(**changes: object) -> Facts:
    return replace(WELL, kernel=replace(WELL.kernel, **changes))  # type: ignore[arg-type]


def tunnel(**changes: object) -> Facts:
    seen = TunnelSeen("office-1", "up", False, False, 1438)
    changed = replace(seen, **changes)  # type: ignore[arg-type]
    return running(tunnels=(changed, replace(seen, name="office-2")))


def test_a_machine_that_is_well_has_nothing_but_ok() -> None:
    assert bad(WELL) == []
    assert len(findings(WELL, NOW)) > 30


CASES: Sequence[tuple[str, Facts, str, Verdict, str, str]] = [
    (
        "charon has the port",
        held(US, 500),
        "ports",
        Verdict.FAILURE,
        "held by charon (pid 200 of strongswan.service)",
        "systemctl disable --now strongswan.service",
    ),
    (
        "it has it on any address",
        held(ip_address("::"), 4500),
        "ports",
        Verdict.FAILURE,
        "charon",
        "systemctl",
    ),
    (
        "nobody has the port",
        replace(WELL, sockets=()),
        "ports",
        Verdict.FAILURE,
        "free, though the gateway runs",
        "systemctl restart twinspan-gateway",
    ),
    (
        "a port of another user",
        replace(
            WELL,
            sockets=tuple(
                replace(one, holder=Unseen("by a process of another user")) for one in SOCKETS
            ),
        ),
        "ports",
        Verdict.UNKNOWN,
        "another user",
        "root",
    ),
    (
        "no raw sockets",
        running(capabilities=frozenset({"cap_net_admin", "cap_net_bind_service"})),
        "raw_esp",
        Verdict.FAILURE,
        "may not open",
        "CAP_NET_RAW",
    ),
    (
        "no raw sockets",
        running(capabilities=frozenset({"cap_net_admin", "cap_net_bind_service"})),
        "capabilities",
        Verdict.FAILURE,
        "without cap_net_raw",
        "AmbientCapabilities=CAP_NET_RAW",
    ),
    (
        "another reads ESP",
        replace(WELL, raw_sockets=(OpenSocket(US, 50, CHARON),)),
        "other_ipsec",
        Verdict.WARNING,
        "charon",
        "strongswan",
    ),
    (
        "policies of the kernel",
        own(xfrm=4),
        "other_ipsec",
        Verdict.WARNING,
        "4: packets",
        "ip xfrm policy flush",
    ),
    (
        "an address is away",
        own(addresses=frozenset({US, ip_address("10.0.0.4")})),
        "addresses",
        Verdict.FAILURE,
        "10.0.0.4, 192.0.2.1",
        "ip address add 198.51.100.1/32",
    ),
    (
        "ESP behind a NAT",
        with_document(NEVER, tunnel(nat_local=True)),
        "nat",
        Verdict.FAILURE,
        "we are behind one",
        'encap = "auto" for office-1',
    ),
    ("IKE was not heard", tunnel(nat_local=None), "nat", Verdict.UNKNOWN, "has not spoken", ""),
    (
        "a smaller path",
        takes(1400),
        "path_mtu",
        Verdict.FAILURE,
        "1400 bytes; larger packets vanish",
        "mtu = 1326 for office-1",
    ),
    (
        "a silent peer",
        takes(Unseen("the peer answers no echo requests")),
        "path_mtu",
        Verdict.UNKNOWN,
        "no echo",
        "",
    ),
    (
        "no route to the peer",
        takes(Unseen("no route"), None, None),
        "path_mtu",
        Verdict.FAILURE,
        "no route",
        "ip route add 203.0.113.9",
    ),
    (
        "a small device",
        replace(WELL, devices=(DeviceSeen("eth0", 1000, {"GRO": True}),)),
        "device_mtu",
        Verdict.WARNING,
        "1000 bytes",
        "ip link set eth0 mtu 1500",
    ),
    (
        "GRO is off",
        offloads(False),
        "device_offloads",
        Verdict.WARNING,
        "GRO off",
        "ethtool -K eth0 tx on gso on gro on",
    ),
    (
        "UDP toward the tunnels is not merged",
        inner(rx_udp_gro_forwarding=False),
        "inner_offloads",
        Verdict.WARNING,
        "rx-udp-gro-forwarding off",
        "ethtool -K eth1 rx-udp-gro-forwarding on",
    ),
    (
        "it is merged as a list, which no TUN device takes",
        inner(rx_gro=False, rx_gro_list=True),
        "inner_offloads",
        Verdict.WARNING,
        "rx-gro off",
        "ethtool -K eth1 rx-gro on rx-gro-list off",
    ),
    (
        "a driver that says nothing",
        offloads(None),
        "device_offloads",
        Verdict.UNKNOWN,
        "does not say",
        "",
    ),
    (
        "no forwarding",
        setting("ipv4/ip_forward", "0"),
        "forwarding",
        Verdict.FAILURE,
        "off",
        "sysctl -w net.ipv4.ip_forward=1",
    ),
    (
        "a strict filter outside",
        setting("ipv4/conf/eth0/rp_filter", "1"),
        "rp_filter",
        Verdict.WARNING,
        "strict",
        "net.ipv4.conf.eth0.rp_filter=2",
    ),
    (
        "a filter on a tunnel",
        setting("ipv4/conf/ts-office-2/rp_filter", "2"),
        "rp_filter",
        Verdict.WARNING,
        "loose",
        "net.ipv4.conf.ts-office-2.rp_filter=0",
    ),
    (
        "hosts share no tunnels",
        setting("ipv4/fib_multipath_hash_policy", "0"),
        "sysctl",
        Verdict.WARNING,
        "0: two hosts",
        "fib_multipath_hash_policy=1",
    ),
    (
        "no room for BFD",
        with_document(BGP, setting("core/rmem_default", "1000")),
        "sysctl",
        Verdict.WARNING,
        "BFD packets are lost",
        "rmem_default=4194304",
    ),
    (
        "a route in clear",
        own(routes=(route("10.20.5.0/24", 2),)),
        "routes",
        Verdict.FAILURE,
        "10.20.5.0/24 dev eth0 (static) takes it in clear",
        "ip route del 10.20.5.0/24 dev eth0",
    ),
    (
        "a network of our own",
        own(routes=(route("10.20.0.0/24", 2, "kernel"),)),
        "routes",
        Verdict.FAILURE,
        "it is local here",
        "another prefix for office",
    ),
    (
        "a peer within its prefix",
        with_document(DOCUMENT.replace("10.20.0.0/16", "203.0.113.0/24")),
        "routes",
        Verdict.FAILURE,
        "lies within 203.0.113.0/24",
        "ip route add 203.0.113.9/32 via",
    ),
    ("rules", own(rules=2), "routes", Verdict.WARNING, "2 beside the kernel's own", "ip rule"),
    (
        "conntrack is full",
        own(
            settings={
                **OWN_NAMESPACE.settings,
                "netfilter/nf_conntrack_count": "900",
                "netfilter/nf_conntrack_max": "1000",
            }
        ),
        "conntrack",
        Verdict.FAILURE,
        "900 of 1000",
        "nf_conntrack_max=2000",
    ),
    (
        "the old iptables",
        own(legacy_tables=("filter",)),
        "firewall",
        Verdict.UNKNOWN,
        "old iptables",
        "iptables-legacy -S",
    ),
    (
        "no nft",
        own(ruleset=Unseen("the program nft is not here")),
        "firewall",
        Verdict.UNKNOWN,
        "nft is not here",
        "",
    ),
    (
        "BIRD is too old",
        with_document(BGP, replace(WELL, bird=(2, 0, 7))),
        "bird",
        Verdict.FAILURE,
        "2.0.7",
        "newer",
    ),
    ("BIRD knows no TCP-AO", with_document(AO), "bird", Verdict.FAILURE, "2.0.12", "newer"),
    (
        "no BIRD",
        with_document(BGP, replace(WELL, bird=Unseen("not here"))),
        "bird",
        Verdict.FAILURE,
        "not here",
        "apt-get install bird2",
    ),
    (
        "BIRD is silent",
        with_document(BGP, running(birds=(("", "no answer"),))),
        "bird",
        Verdict.FAILURE,
        "no answer",
        "twinspan log",
    ),
    (
        "a bad kernel",
        kernel(release="7.1.4-generic"),
        "kernel",
        Verdict.WARNING,
        "spoils batches",
        "--no-gso",
    ),
    ("an old kernel", kernel(release="4.19.0"), "kernel", Verdict.FAILURE, "4.19.0", "newer"),
    (
        "no UDP_SEGMENT",
        kernel(udp_segment=False),
        "offloads",
        Verdict.WARNING,
        "not offered",
        "4.18",
    ),
    (
        "no large UDP in TUN",
        kernel(release="6.1.0-18-amd64"),
        "offloads",
        Verdict.WARNING,
        "not offered",
        "6.2",
    ),
    (
        "no TUN",
        kernel(tun=Unseen("can not be opened: No such file or directory")),
        "tun",
        Verdict.FAILURE,
        "No such file",
        "modprobe tun",
    ),
    (
        "one queue",
        kernel(tun=frozenset({"vnet_hdr"})),
        "tun",
        Verdict.FAILURE,
        "vnet_hdr",
        "CONFIG_TUN",
    ),
    (
        "no NTP",
        replace(WELL, clock=ClockSeen(False, 16.0)),
        "clock",
        Verdict.WARNING,
        "not synchronised",
        "timedatectl",
    ),
    (
        "a clock far off",
        replace(WELL, clock=ClockSeen(True, 3.0)),
        "clock",
        Verdict.WARNING,
        "wrong by 3.0 s",
        "chrony",
    ),
    (
        "the clock was set",
        running(clock_jump_s=-90.0),
        "clock",
        Verdict.WARNING,
        "set back by 90 s",
        "makestep",
    ),
    (
        "no ipsec-mb",
        cpu(backends={"aes256gcm16": "openssl"}),
        "crypto",
        Verdict.WARNING,
        "ipsec-mb is not here",
        "libipsec-mb1",
    ),
    (
        "no AES",
        cpu(flags=frozenset({"sse2"})),
        "crypto",
        Verdict.WARNING,
        "none",
        "chacha20poly1305",
    ),
    (
        "saving power",
        cpu(governors=frozenset({"powersave"})),
        "cpu",
        Verdict.WARNING,
        "powersave",
        "cpupower",
    ),
    ("stolen time", cpu(steal=0.2), "cpu", Verdict.WARNING, "20.0%", "cores of its own"),
    (
        "few descriptors",
        running(limits={"gateway process": (40, 128)}),
        "descriptors",
        Verdict.FAILURE,
        "40 of 128",
        "LimitNOFILE=262144",
    ),
    (
        "the unit is off",
        replace(
            WELL,
            units={"twinspan-gateway.service": "inactive", "twinspan-dataplane.socket": "active"},
        ),
        "units",
        Verdict.WARNING,
        "inactive",
        "enable --now twinspan-gateway.service",
    ),
    (
        "strongSwan is on",
        replace(WELL, units={**UNITS, "strongswan.service": "active"}),
        "units",
        Verdict.FAILURE,
        "same ports",
        "disable --now strongswan.service",
    ),
    (
        "no systemd",
        replace(WELL, units=Unseen("systemd does not run this machine")),
        "units",
        Verdict.UNKNOWN,
        "systemd",
        "",
    ),
    (
        "no gateway",
        replace(WELL, gateway=Unseen("no gateway process"), sockets=()),
        "gateway",
        Verdict.WARNING,
        "no gateway process",
        "systemctl start",
    ),
    (
        "a tunnel is down",
        tunnel(status="down"),
        "gateway",
        Verdict.WARNING,
        "1 of 2 tunnels up",
        "twinspan explain office-1",
    ),
    (
        "a note",
        running(notes=("the data plane runs 1 workers",)),
        "gateway",
        Verdict.WARNING,
        "1 workers",
        "",
    ),
    (
        "a refused document",
        running(refused_at=1900.0, refused="gateway.name: must be a string"),
        "document",
        Verdict.FAILURE,
        "refused 1m 40s ago: gateway.name",
        "twinspan reload",
    ),
    (
        "a certificate that ends",
        replace(WELL, document=replace(WELL.document, credential_until=NOW + 90000)),
        "credential",
        Verdict.WARNING,
        "ends in 1d 1h",
        "--register-token-file",
    ),
    (
        "a certificate that has ended",
        replace(WELL, document=replace(WELL.document, credential_until=NOW - 60)),
        "credential",
        Verdict.FAILURE,
        "ended 1m 0s ago",
        "--register-token-file",
    ),
    (
        "a newer file",
        replace(WELL, document=replace(WELL.document, changed_at=1500.0)),
        "document",
        Verdict.WARNING,
        "8m 20s younger",
        "twinspan reload",
    ),
    (
        "a warning",
        replace(WELL, document=replace(WELL.document, warnings=("readable by others",))),
        "document",
        Verdict.WARNING,
        "readable by others",
        "twinspan check",
    ),
]


@pytest.mark.parametrize(
    ("facts", "check", "verdict", "found", "remedy"),
    [case[1:] for case in CASES],
    ids=[f"{case[2]}: {case[0]}" for case in CASES],
)
def test_each_fault_is_named_with_its_remedy(
    facts: Facts, check: str, verdict: Verdict, found: str, remedy: str
) -> None:
    named = [one for one in bad(facts) if one.check == check]
    assert any(
        one.verdict is verdict and found in one.found and remedy in one.remedy for one in named
    ), named


def test_a_document_that_is_wrong_is_the_failure_and_the_rest_is_still_examined() -> None:
    wrong = DocumentSeen("gw.toml", Unseen("gw.toml has mistakes"), ("gw.toml:2: gateway.name",))
    found = findings(replace(WELL, document=wrong), NOW)
    assert [one.found for one in found if one.verdict is Verdict.FAILURE] == [
        "gw.toml:2: gateway.name"
    ]
    assert {"kernel", "clock", "crypto"} <= {one.check for one in found}


def test_a_rate_cap_needs_a_descriptor_more_for_each_queue() -> None:
    """Five queues of each of two tunnels, and 256 descriptors beside them."""
    limited = running(limits={"gateway process": (40, 256 + 2 * 5)})
    assert bad(with_document(DOCUMENT, limited)) == []
    capped = DOCUMENT.replace('start = "respond"', 'start = "respond"\nrate_mbps = 100')
    (found,) = bad(with_document(capped, limited))
    assert (found.check, found.wanted) == ("descriptors", f"a limit of {256 + 4 * 5} or more")


def test_who_is_not_root_is_told_what_could_not_be_seen() -> None:
    blind = Unseen("not permitted")
    facts = replace(
        WELL,
        is_root=False,
        may_open_raw=False,
        gateway=blind,
        document=DocumentSeen("gw.toml", blind),
        namespaces={"": replace(OWN_NAMESPACE, ruleset=blind, xfrm=blind)},
    )
    found = bad(facts)
    assert {one.verdict for one in found} == {Verdict.UNKNOWN}
    assert {"document", "gateway", "firewall", "other_ipsec"} <= {one.check for one in found}


def test_a_release_is_read_to_its_numbers() -> None:
    assert version_of("6.1.0-18-amd64") == (6, 1, 0)
    assert version_of("7.1.4") < (7, 1, 5) <= version_of("7.1.5+deb")
    assert version_of("rolling") == ()
    spoilt = ("7.0.0", "7.0.9-generic", "7.1.4")
    assert all(spoils_equal_segments(release) for release in spoilt)
    assert not any(spoils_equal_segments(release) for release in ("6.18.44", "7.1.5", "rolling"))


@pytest.mark.parametrize("release", ["5.10.0", "6.1.0-18-amd64", "7.1.4"])
def test_udp_is_not_to_be_merged_where_the_kernel_cuts_it(release: str) -> None:
    facts = replace(inner(rx_udp_gro_forwarding=False), kernel=kernel(release=release).kernel)
    assert "inner_offloads" not in {one.check for one in findings(facts, NOW)}


def test_the_settings_wanted_are_those_that_are_packaged() -> None:
    file = Path(__file__).parents[2] / "deploy/sysctl.d/60-twinspan.conf"
    packaged = dict(re.findall(r"^net\.(\S+) = (\S+)$", file.read_text(), re.MULTILINE))
    wanted = {name.replace("/", "."): value for name, (value, _) in WANTED_SETTINGS.items()}
    wanted["core.rmem_default"] = str(BFD_BUFFER_BYTES)
    assert wanted.items() <= packaged.items()
    others = {name for name in packaged.keys() - wanted.keys() if "rp_filter" not in name}
    assert others == {
        "ipv4.ip_forward",
        "ipv6.conf.all.forwarding",
        "ipv4.conf.default.ignore_routes_with_linkdown",
    }


# ---- the firewall ----

IKE, ESP = Kind("input", 4, "udp", 500), Kind("input", 4, "esp")
IKE6, FORWARD = Kind("input", 6, "udp", 500), Kind("forward", 4)


def chain(hook: str = "input", policy: str = "accept", table: str = "filter") -> Json:
    place = {"family": "inet", "table": table, "name": hook}
    return {"chain": {**place, "type": "filter", "hook": hook, "prio": 0, "policy": policy}}


def old_chain(family: str) -> Json:
    place = {"family": family, "table": "filter", "name": "INPUT"}
    return {"chain": {**place, "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}}


def rule(*expressions: Json, name: str = "input") -> Json:
    place = {"family": "inet", "table": "filter", "chain": name}
    return {"rule": {**place, "expr": [*expressions, {"counter": {"packets": 0, "bytes": 0}}]}}


def match(left: Json, right: object, op: str = "==") -> Json:
    return {"match": {"op": op, "left": left, "right": right}}


def dport(right: object, protocol: str = "udp") -> Json:
    return match({"payload": {"protocol": protocol, "field": "dport"}}, right)


SOURCE = match({"payload": {"protocol": "ip", "field": "saddr"}}, "203.0.113.9")
STATE = match({"ct": {"key": "state"}}, ["established", "related"], "in")
INVALID = match({"ct": {"key": "state"}}, "invalid", "in")
LO = match({"meta": {"key": "iifname"}}, "lo")
NFPROTO6 = match({"meta": {"key": "nfproto"}}, "ipv6")
PROTOCOL = match({"meta": {"key": "l4proto"}}, "esp")
ACCEPT, DROP = {"accept": None}, {"drop": None}
PORTS = {"set": [500, {"range": [4500, 4510]}]}


@pytest.mark.parametrize(
    ("ruleset", "kind", "fate"),
    [
        ([], IKE, Fate.PASSES),
        ([chain()], IKE, Fate.PASSES),
        ([chain(policy="drop")], IKE, Fate.DROPPED),
        ([chain(policy="drop"), rule(LO, ACCEPT), rule(STATE, ACCEPT)], IKE, Fate.DROPPED),
        ([chain(policy="drop"), rule(INVALID, DROP), rule(dport(PORTS), ACCEPT)], IKE, Fate.PASSES),
        ([chain(policy="drop"), rule(dport(PORTS), ACCEPT)], ESP, Fate.DROPPED),
        ([chain(policy="drop"), rule(PROTOCOL, ACCEPT)], ESP, Fate.PASSES),
        ([chain(policy="drop"), rule(SOURCE, dport(500), ACCEPT)], IKE, Fate.PERHAPS),
        ([chain(policy="drop"), rule(dport("@open"), ACCEPT)], IKE, Fate.PERHAPS),
        ([chain(), rule(dport(500), DROP)], IKE, Fate.DROPPED),
        ([chain(), rule(dport(500, "tcp"), DROP)], IKE, Fate.PASSES),
        ([chain(), rule(SOURCE, DROP)], IKE, Fate.PERHAPS),
        ([chain(), rule(SOURCE, ACCEPT), rule(DROP)], IKE, Fate.PERHAPS),
        ([chain(), rule(SOURCE, DROP), rule({"reject": None})], IKE, Fate.DROPPED),
        ([chain(), rule({"limit": {"rate": 5}}, ACCEPT), rule(DROP)], IKE, Fate.PERHAPS),
        ([chain(), rule({"vmap": {}})], IKE, Fate.PERHAPS),
        (
            [chain(), rule({"jump": {"target": "in"}}), rule(dport(500), DROP, name="in")],
            IKE,
            Fate.DROPPED,
        ),
        (
            [chain(), rule(STATE, {"jump": {"target": "in"}}), rule(DROP, name="in")],
            IKE,
            Fate.PASSES,
        ),
        ([chain(), rule({"jump": {"target": "input"}})], IKE, Fate.PERHAPS),
        ([chain(), rule(NFPROTO6, DROP)], IKE, Fate.PASSES),
        ([chain(), rule(NFPROTO6, DROP)], IKE6, Fate.DROPPED),
        ([chain(policy="drop"), rule(SOURCE, dport(500), ACCEPT)], IKE6, Fate.DROPPED),
        ([old_chain("ip6")], IKE, Fate.PASSES),
        ([old_chain("ip6")], IKE6, Fate.DROPPED),
        ([old_chain("ip")], IKE, Fate.DROPPED),
        ([chain("forward", "drop")], FORWARD, Fate.DROPPED),
        ([chain("forward", "drop"), rule(STATE, ACCEPT, name="forward")], FORWARD, Fate.DROPPED),
        (
            [
                chain("forward", "drop"),
                rule(LO, ACCEPT, name="forward"),
                rule(SOURCE, ACCEPT, name="forward"),
            ],
            FORWARD,
            Fate.PERHAPS,
        ),
        ([chain("forward", "drop", table="twinspan")], FORWARD, Fate.PASSES),
        ([chain("forward", "drop")], IKE, Fate.PASSES),
    ],
)
def test_rules_drop_what_they_drop_for_certain(ruleset: list[Json], kind: Kind, fate: Fate) -> None:
    assert fate_of(ruleset, kind)[0] is fate


def test_a_closed_firewall_is_a_failure_with_the_rule_that_opens_it() -> None:
    closed = own(ruleset=(chain(policy="drop"),))
    assert {one.check for one in bad(closed)} == {"firewall"}
    assert len(bad(closed)) == 2  # ESP is always in UDP here
    found = bad(with_document(NEVER, closed))
    assert [one.remedy for one in found] == [
        "nft insert rule inet filter input udp dport 500 accept",
        "nft insert rule inet filter input udp dport 4500 accept",
        "nft insert rule inet filter input meta l4proto esp accept",
    ]


# ---- what is printed ----


def test_findings_are_printed_the_worst_first_and_ok_ones_on_demand() -> None:
    facts = replace(held(US, 500), clock=ClockSeen(False, 16.0))
    found = findings(facts, NOW)
    answer = report(found)
    lines = report_lines(answer, every=False, colours=False)
    assert lines[:3] == [
        "failure  ports: UDP 192.0.2.1 port 500: held by charon (pid 200 of strongswan.service)",
        "         wanted: held by twinspan alone",
        "         remedy: systemctl disable --now strongswan.service",
    ]
    assert lines[-1].startswith("2 failure, 1 warning, 0 unknown, ")
    assert not any(line.startswith("ok") for line in lines)
    assert any(line.startswith("ok") for line in report_lines(answer, every=True, colours=False))


def test_the_answer_for_programs_has_every_finding_and_the_counts() -> None:
    answer = json.loads(json.dumps(report(findings(WELL, NOW))))
    assert answer["summary"]["failure"] == 0
    assert set(answer["findings"][0]) == {
        *("check", "about", "verdict", "found", "wanted", "remedy")
    }
    assert answer["summary"]["ok"] == len(answer["findings"])


def test_openssl_is_what_other_processors_have() -> None:
    arm = CpuSeen(2, frozenset({"aes", "pmull"}), False, {"aes256gcm16": "openssl"}, frozenset(), 0)
    assert bad(replace(WELL, cpu=arm)) == []
