"""
Every value is traced from the document to the text: each is changed alone, and the text follows.

What a device has no word for is listed with it, and that list is proved too: its files may not
change at all, and a note names the key.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import pytest

from gateway.customer.catalog import DEVICES
from gateway.model.locate import Path
from tests.customer.documents import PAIRS, Edit, as_text, rendered
from tests.support.documents import CONNECTION, FIRST

CUSTOMER: Path = ("customer_gateway", 0)
BORDER: Path = ("border_gateway", 0)
VPC: Path = ("vpc_attachment", 0)
RULE: Path = (*CONNECTION, "rule", 0)


@dataclass(frozen=True)
class Change:
    """One value, changed: a text of the first of `shown` that the device uses must appear."""

    edits: tuple[Edit, ...]
    shown: tuple[str, ...] = ()  # none: any change will do
    modes: tuple[str, ...] = ("bgp", "static", "policy")


ROUTED = ("bgp", "static")
BGP = ("bgp",)


def on(path: Path, value: object, *shown: str, modes: tuple[str, ...] = ()) -> Change:
    return Change(((path, value),), shown, modes or Change.modes)


CHANGES: dict[str, Change] = {
    "gateway name": on(("gateway", "name"), "gw77", "gw77"),
    "customer": Change(
        (((*CUSTOMER, "name"), "branch"), ((*CONNECTION, "customer_gateway"), "branch")),
        ("customer branch", "device of branch"),
    ),
    "tunnel name": on((*FIRST, "name"), "first-way", "first-way", "first_way"),
    "our address": Change(
        ((("gateway", "public_addresses"), ["192.0.2.77", "198.51.100.1"]),), ("192.0.2.77",)
    ),
    "their address": on(
        (*CUSTOMER, "public_addresses"), ["203.0.113.77", "203.0.113.10"], "203.0.113.77"
    ),
    "their identity": on((*CUSTOMER, "identity"), "z.gw.test", "z.gw.test"),
    "our identity": on((*FIRST, "local_id"), "us.gw.test", "us.gw.test"),
    "key": on((*FIRST, "psk"), "yetAnotherKeyForTheFirstTunnel", "yetAnotherKeyForTheFirstTunnel"),
    "IKE proposal": on((*FIRST, "ike_proposals"), ["aes128-sha256-modp2048"]),
    "ESP proposal": on((*FIRST, "esp_proposals"), ["aes128-sha256-modp2048"]),
    "ESP without PFS": on((*FIRST, "esp_proposals"), ["aes256gcm16", "aes256-sha256"]),
    "IKE lifetime": on((*FIRST, "ike_lifetime_s"), 10000.0, "12000", "3h20m"),
    "ESP lifetime": on((*FIRST, "child_lifetime_s"), 3000.0, "3600", "1h"),
    "ESP lifetime in bytes": on((*FIRST, "child_lifetime_bytes"), 10**9, "1200000", "1000000000"),
    "ESP lifetime in packets": on((*FIRST, "child_lifetime_packets"), 10**6, "1200000", "1000000"),
    "liveness": on((*FIRST, "liveness_s"), 17.0, "17"),
    "liveness timeout": on((*CONNECTION, "liveness_timeout_s"), 30.0, "30", "2.27", "3"),
    "encapsulation": on((*FIRST, "encap"), "never"),
    "who begins": on((*FIRST, "start"), "respond"),
    "inner addresses": on((*FIRST, "inner_cidr"), "169.254.77.0/30", "169.254.77.2"),
    "our inner address": on((*FIRST, "inner_local"), "169.254.10.2", "169.254.10.1"),
    "preference": on((*FIRST, "preference"), 7777),
    "MTU": on((*FIRST, "mtu"), 1333, "1333", "1293"),
    "replay window": on((*FIRST, "replay_window"), 256, "256"),
    "DSCP": on((*FIRST, "copy_dscp"), False),
    "a Child SA for each CPU": Change(
        (((*FIRST, "workers"), 2), ((*FIRST, "per_resource_sas"), True)),
        ("a Child SA for each CPU of the gateway",),
        ("bgp", "static"),
    ),
    "IKE fragments": on((*FIRST, "fragment_size"), 1111, "1111"),
    "admin": on((*FIRST, "admin"), "down", "admin = down"),
    "prefix of the VPC": on((*VPC, "cidrs"), ["10.77.0.0/16"], "10.77.0.0", modes=ROUTED),
    "prefix of the office": on(
        (*CONNECTION, "remote_cidrs"), ["10.78.0.0/16"], "10.78.0.0", modes=BGP
    ),
    "rule, ours": on((*RULE, "local_cidrs"), ["10.77.0.0/16"], "10.77.0.0", modes=("policy",)),
    "rule, theirs": on((*RULE, "remote_cidrs"), ["10.78.0.0/16"], "10.78.0.0", modes=("policy",)),
    "probe": on((*FIRST, "probe"), "200x3", "pings", modes=("static", "policy")),
    "measuring": on((*FIRST, "measure_s"), 29.0, "29"),
    "our AS number": on((*BORDER, "asn"), 64777, "64777", modes=BGP),
    "our AS number here": on((*CONNECTION, "local_asn"), 64778, "64778", modes=BGP),
    "their AS number": on((*CUSTOMER, "asn"), 64779, "64779", modes=BGP),
    "hold time": on((*FIRST, "bgp_hold_s"), 77, "77", modes=BGP),
    "keepalive": on((*FIRST, "bgp_keepalive_s"), 7, "7", modes=BGP),
    "BFD interval": on((*FIRST, "bfd"), "777x3", "777", modes=BGP),
    "BFD count": on((*FIRST, "bfd"), "300x7", "7", modes=BGP),
    "BFD off": on((*FIRST, "bfd"), "off", modes=BGP),
    "BGP password": on((*FIRST, "bgp_password"), "0ther-Pass", "0ther-Pass", modes=BGP),
}

# What a device has no word for is said in a note that names its key.
KEYS = {
    "IKE fragments": "fragment_size",
    "DSCP": "copy_dscp",
    "a Child SA for each CPU": "per_resource_sas",
    "ESP lifetime in bytes": "child_lifetime_bytes",
    "ESP lifetime in packets": "child_lifetime_packets",
    "replay window": "replay_window",
    "liveness timeout": "liveness_timeout_s",
}
# What changes nothing at a device. BGP says the order of the tunnels by itself; a device that
# chooses by its policies has no tunnel interface, and none of its values.
STILL: dict[str, set[str]] = {
    **{device: {"measuring"} for device in DEVICES if device != "generic"},
    **{device: {"measuring", "who begins"} for device in ("cisco-ios-xe", "h3c", "huawei-usg")},
}
NO_INTERFACE = {"inner addresses", "our inner address", "MTU", "preference"}
STILL_IN: dict[tuple[str, str], set[str]] = {
    **{(device, "bgp"): {"preference"} for device in DEVICES if device != "generic"},
    **{
        (device, "policy"): NO_INTERFACE
        for device in ("strongswan-libipsec", "vyos", "pfsense", "opnsense")
    },
    **{(device, "policy"): {*NO_INTERFACE, "encapsulation"} for device in ("h3c", "huawei-usg")},
    ("mikrotik", "policy"): NO_INTERFACE - {"MTU", "preference"},
    ("juniper-srx", "policy"): {"preference"},
    ("strongswan-libipsec", "bgp"): {"preference", "MTU"},
    ("strongswan-libipsec", "static"): {"MTU"},
    ("juniper-srx", "bgp"): {"preference", "keepalive"},
}
CASES = [
    (device, mode, name)
    for device, mode in PAIRS
    for name, change in CHANGES.items()
    if mode in change.modes
]


@pytest.mark.parametrize(("device", "mode", "name"), CASES)
def test_a_changed_value_changes_the_text(device: str, mode: str, name: str) -> None:
    change = CHANGES[name]
    before, after = rendered(device, mode), rendered(device, mode, *change.edits)
    if name in STILL.get(device, set()) | STILL_IN.get((device, mode), set()):
        assert before == after, "the device says it after all: take it off the list"
        return
    assert before != after
    if KEYS.get(name) in DEVICES[device].unsaid:
        assert before.files == after.files
        assert any(KEYS[name] in note for note in after.notes)
        return
    lines = difflib.ndiff(as_text(before).splitlines(), as_text(after).splitlines())
    added = [line[1:] for line in lines if line.startswith("+")]
    if change.shown:
        assert any(shown in line for shown in change.shown for line in added), added
