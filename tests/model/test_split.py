"""One description becomes a document for each VM, which has its tunnels as they were."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from gateway.errors import ConfigError
from gateway.model.document import Table, build_document
from gateway.model.resources import Document
from gateway.model.split import Node, nodes_of, on_one_node, split
from gateway.model.tunnels import ResolvedTunnel, resolve_tunnels
from tests.support.documents import (
    CONNECTION,
    FIRST,
    REMOVED,
    SECOND,
    document,
    edited,
    errors,
)

Edit = tuple[tuple[str | int, ...], object]
WORDS = ("vm1=192.0.2.1", "vm2=198.51.100.1")


def parts(
    *edits: Edit, words: tuple[str, ...] = WORDS, lines: tuple[str, ...] = ()
) -> dict[str, Document]:
    """Return the documents of the VMs, each without a mistake."""
    table = edited(*edits)
    whole = document(*edits)
    nodes = nodes_of(whole, words, lines)
    made = {}
    for node, part in zip(nodes, split(table, whole, nodes), strict=True):
        made[node.name], problems = build_document(part)
        assert not errors(problems), errors(problems)
    assert table == edited(*edits)  # the description is as it was
    return made


def mistakes(*words: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        nodes_of(document(), words)
    return caught.value.problems


def traits(tunnel: ResolvedTunnel) -> tuple[object, ...]:
    """Return what must be as it was in the one document."""
    inner = (tunnel.tunnel.inner_cidr, tunnel.tunnel.inner_local)
    outer = (tunnel.local, tunnel.remote, tunnel.local_id, tunnel.remote_id)
    return (tunnel.name, tunnel.interface, tunnel.preference, tunnel.start, *inner, *outer)


EDITS: list[Edit] = [
    ((*FIRST, "inner_local"), "169.254.10.2"),
    ((*SECOND, "preference"), 100),
    ((*SECOND, "interface"), "tun7"),
    ((*SECOND, "name"), "spare"),
    ((*SECOND, "rate_mbps"), 7),
    ((*CONNECTION, "tunnel", 2), {"inner_cidr": "169.254.10.8/30", "preference": 7}),
    ((*CONNECTION, "tunnel", 3), {"inner_cidr": "169.254.10.12/30"}),
    (("vpn_connection", 0, "routing"), "bgp"),
]


@pytest.mark.parametrize("edits", [EDITS[:0], EDITS, EDITS[5:]], ids=["plain", "all", "four"])
def test_every_tunnel_is_where_its_address_is_and_as_it_was(edits: list[Edit]) -> None:
    found = {}
    for part in parts(*edits).values():
        for tunnel in resolve_tunnels(part):
            assert tunnel.local in part.gateway.public_addresses
            found[tunnel.name] = traits(tunnel)
            assert tunnel.settings == next(
                one.settings for one in resolve_tunnels(document(*edits)) if one.name == tunnel.name
            )
    assert found == {one.name: traits(one) for one in resolve_tunnels(document(*edits))}


def test_what_is_shared_is_repeated() -> None:
    whole = document()
    for name, part in parts().items():
        assert part.gateway.name == name
        assert part.gateway.workers == whole.gateway.workers
        assert part.border_gateway == whole.border_gateway
        assert part.vpc_attachment == whole.vpc_attachment
        assert part.customer_gateway == whole.customer_gateway
        assert part.vpn_connection[0].remote_cidrs == whole.vpn_connection[0].remote_cidrs


def test_a_connection_without_tunnels_on_a_vm_is_not_there_with_its_routes() -> None:
    lone: Table = {
        **_connection(),
        "name": "lone",
        "customer_gateway": "lone",
        "remote_cidrs": ["10.30.0.0/16"],
        "tunnel": [{"inner_cidr": "169.254.20.0/30"}],
    }
    route = {"border_gateway": "main", "prefix": "10.31.0.0/16", "vpn_connection": "lone"}
    edits: list[Edit] = [
        (("customer_gateway", 1), {"name": "lone", "public_addresses": ["203.0.113.77"]}),
        (("vpn_connection", 1), lone),
        (("route",), [route]),
    ]
    found = parts(*edits)
    names = {vm: [c.name for c in part.vpn_connection] for vm, part in found.items()}
    assert names == {"vm1": ["office", "lone"], "vm2": ["office"]}
    assert {vm: len(part.route) for vm, part in found.items()} == {"vm1": 1, "vm2": 0}
    whole = document(*edits)
    assert list(on_one_node(whole, nodes_of(whole, WORDS))) == [("lone", "vm1")]


def _connection() -> Table:
    connections = edited()["vpn_connection"]
    assert isinstance(connections, list)
    found = connections[0]
    assert isinstance(found, dict)
    return found


LINE: Edit = (
    ("direct_line",),
    [
        {
            "name": "line",
            "border_gateway": "main",
            "customer_gateway": "office",
            "interface": "eth2",
            "address": "172.16.0.1/30",
            "peer_address": "172.16.0.2",
            "remote_cidrs": ["10.20.0.0/16"],
        }
    ],
)


def test_a_direct_line_ends_at_the_vm_that_is_named() -> None:
    found = parts(LINE, lines=("line=vm2",))
    assert {vm: [line.name for line in part.direct_line] for vm, part in found.items()} == {
        "vm1": [],
        "vm2": ["line"],
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "direct-line: at which VM does line end? Give line=NAME"),
        (("line=vm3",), "direct-line: line: no VM has this name; there is: vm1, vm2 (vm3)"),
        (
            ("line=vm1", "other=vm1"),
            "direct-line: no direct_line has this name; there is: line (other)",
        ),
        (("line",), "direct-line: must be LINE=NAME (line)"),
    ],
)
def test_where_a_direct_line_ends_must_be_said(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        nodes_of(document(LINE), WORDS, words)
    assert caught.value.problems == [said]


ADDRESSES = ("vpc_attachment", 0, "addresses")


def test_an_attachment_has_an_address_for_each_vm() -> None:
    both = ["10.10.255.11/24", "fd00::11/64", "10.10.255.12/24", "fd00::12/64"]
    found = parts((ADDRESSES, both)).values()
    assert [[str(a) for a in part.vpc_attachment[0].addresses] for part in found] == [
        both[:2],
        both[2:],
    ]


@pytest.mark.parametrize("count", [1, 3])
def test_too_few_or_many_addresses_of_an_attachment_are_refused(count: int) -> None:
    edit: Edit = (ADDRESSES, [f"10.10.255.{11 + n}/24" for n in range(count)])
    with pytest.raises(ConfigError) as caught:
        parts(edit)
    assert caught.value.problems == [
        f"vpc_attachment[vpc].addresses: need one of 10.10.255.0/24 for each VM, 2; has {count}"
    ]


def test_both_ends_of_a_veth_pair_are_in_each_vm() -> None:
    veth = {"interface": "inside", "namespace": "tenant", "addresses": ["10.10.255.2/24"]}
    edits: list[Edit] = [
        (ADDRESSES, ["10.10.255.1/24"]),
        (("vpc_attachment", 0, "veth"), veth),
    ]
    for part in parts(*edits).values():
        assert part.vpc_attachment == document(*edits).vpc_attachment


def test_router_ids_differ() -> None:
    bgp: Edit = (("vpn_connection", 0, "routing"), "bgp")
    assert [p.border_gateway[0].router_id for p in parts(bgp).values()] == [None, None]
    given: Edit = (("border_gateway", 0, "router_id"), "10.0.0.9")
    found = [str(p.border_gateway[0].router_id) for p in parts(bgp, given).values()]
    assert found == ["10.0.0.9", "10.0.0.10"]


def test_a_vm_without_an_ipv4_address_gets_a_router_id() -> None:
    edits: list[Edit] = [
        (("vpn_connection", 0, "routing"), "bgp"),
        (("gateway", "public_addresses"), ["192.0.2.1", "2001:db8::1"]),
        (("customer_gateway", 0, "public_addresses"), ["203.0.113.9", "2001:db8::9"]),
    ]
    found = parts(*edits, words=("vm1=192.0.2.1", "vm2=2001:db8::1"))
    ids = [part.border_gateway[0].router_id for part in found.values()]
    assert ids == [None, ip_address("192.0.2.2")]


def test_a_vm_may_have_several_addresses() -> None:
    pool = ["192.0.2.1", "198.51.100.1", "192.0.2.2", "198.51.100.2"]
    remotes = ["203.0.113.9", "203.0.113.10", "203.0.113.11", "203.0.113.12"]
    edits: list[Edit] = [
        (("gateway", "public_addresses"), pool),
        (("customer_gateway", 0, "public_addresses"), remotes),
        *EDITS[5:7],
    ]
    words = ("a=192.0.2.1,198.51.100.1", "b=192.0.2.2,198.51.100.2")
    counts = {vm: len(resolve_tunnels(part)) for vm, part in parts(*edits, words=words).items()}
    assert counts == {"a": 2, "b": 2}


def test_a_customer_with_any_address_is_split_too() -> None:
    edits: list[Edit] = [
        (("customer_gateway", 0, "public_addresses"), "any"),
        ((*FIRST, "remote_id"), "one.test"),
        ((*SECOND, "remote_id"), "two.test"),
    ]
    assert [t.remote_id for p in parts(*edits).values() for t in resolve_tunnels(p)] == [
        "one.test",
        "two.test",
    ]


def test_without_words_every_address_is_a_vm() -> None:
    assert nodes_of(document(), ()) == (
        Node("gw1-1", (ip_address("192.0.2.1"),)),
        Node("gw1-2", (ip_address("198.51.100.1"),)),
    )


def test_the_words_must_share_out_the_addresses() -> None:
    assert mistakes("vm1=192.0.2.1,198.51.100.1") == ["node: needs two or more VMs; has 1"]
    assert mistakes("vm1=192.0.2.1", "vm1=198.51.100.1") == ["node: is named twice (vm1)"]
    assert mistakes("vm1=192.0.2.1", "vm2=192.0.2.1,203.0.113.1") == [
        "node: vm2: vm1 has this address (192.0.2.1)",
        "node: vm2: is not one of gateway.public_addresses (203.0.113.1)",
        "node: no VM has this address of gateway.public_addresses (198.51.100.1)",
    ]
    assert mistakes("vm1") == ["node: must be NAME=ADDRESS, or NAME=ADDRESS,ADDRESS (vm1)"]
    assert mistakes("vm1=here") == ["node: vm1: is not an IP address (here)"]


def test_one_address_can_not_be_split() -> None:
    single = document((("gateway", "public_addresses"), ["192.0.2.1"]), ((*SECOND,), REMOVED))
    with pytest.raises(ConfigError, match="needs two or more VMs; has 1"):
        nodes_of(single, ())
