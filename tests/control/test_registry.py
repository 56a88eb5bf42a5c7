"""Resources on real stores: what is chosen, what is guarded, what two processes do at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from gateway.control import mirror
from gateway.control.auth.principal import Principal, Scope
from gateway.control.changes.compose import node_table
from gateway.control.problems import ApiProblem
from gateway.control.registry import Registry
from gateway.control.resources.parents import CLAIM, USES
from gateway.control.resources.record import Record
from gateway.control.store.interface import Create, Key, Store
from gateway.model.document import build_document
from gateway.model.tunnels import resolve_tunnels
from tests.control.conftest import Opener
from tests.control.registry import RING, ROOT, connect, fleet, make, refused, running


@pytest.fixture
async def registry(store: Store) -> AsyncIterator[Registry]:
    async with running(store) as one:
        yield one


def opened(record: Record, where: str, value: str) -> str:
    return RING.open(value, record.key, where).reveal().decode()


async def test_a_connection_gets_addresses_of_two_nodes_and_all_that_its_tunnels_need(
    registry: Registry,
) -> None:
    await fleet(registry)
    done = await connect(registry)
    first, second = done.others
    assert done.record.allocated["public_addresses"] == ["198.51.100.11", "198.51.100.12"]
    assert (first.name, second.name) == ("office-1", "office-2")
    assert first.allocated["node"] != second.allocated["node"]
    assert first.of("inner_cidr") == "169.254.8.0/30"
    assert second.of("inner_cidr") == "169.254.8.4/30"
    keys = {opened(one, "allocated/psk", one.allocated["psk"]) for one in done.others}
    assert {len(bytes.fromhex(key.removeprefix("0x"))) for key in keys} == {32}
    assert len(keys) == 2


async def test_each_node_gets_its_own_tunnels_and_keys_in_a_document_without_mistakes(
    registry: Registry,
) -> None:
    await fleet(registry)
    done = await connect(registry)
    for node, tunnel in zip(registry.mirror.of_kind("node"), done.others, strict=True):
        document, problems = build_document(node_table(registry.mirror, node, opened))
        assert [problem for problem in problems if not problem.is_warning] == []
        (resolved,) = resolve_tunnels(document)
        assert resolved.name == tunnel.id
        assert str(resolved.local) == tunnel.of("local_address")
        assert resolved.settings.psk is not None
        key = opened(tunnel, "allocated/psk", tunnel.allocated["psk"])
        assert resolved.settings.psk.get_secret_value() == key
        other = next(one for one in done.others if one is not tunnel)
        assert other.id not in str(document)


async def test_no_secret_is_in_the_store_in_clear(registry: Registry, store: Store) -> None:
    began = await store.revision()
    await fleet(registry)
    psk, password = "correct horse battery staple", "hunter2 hunter2"
    done = await connect(registry, psk=psk, tunnel=[{"bgp_password": password}, {}])
    everything = ""
    for commit in await store.changes(began):
        everything += str([change.value for change in commit.changes])
    assert psk not in everything
    assert password not in everything
    secret = await registry.reveal("vpn_connection", done.record.id, "psk", ROOT)
    assert secret.reveal() == psk.encode()


async def test_all_mistakes_of_a_request_are_told_at_once_and_nothing_is_written(
    registry: Registry,
) -> None:
    await fleet(registry)
    problem = await refused(
        registry,
        "vpn_connection",
        name="a b",
        border_gateway="mian",
        customer_gateway="office",
        liveness_s=-1,
        psk_file="/etc/shadow",
        colour="red",
        tags={"": "x"},
    )
    assert problem.status == 422
    assert {(one.field, one.code) for one in problem.errors} == {
        ("vpn_connection.border_gateway", "reference_not_found"),
        ("vpn_connection.name", "invalid_value"),
        ("vpn_connection.liveness_s", "out_of_range"),
        ("vpn_connection.psk_file", "unknown_field"),
        ("vpn_connection.colour", "unknown_field"),
        ("vpn_connection.tags", "invalid_value"),
    }


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"inner_cidr": "169.254.8.0/29"}, "inner_cidr_invalid", "vpn_tunnel.inner_cidr"),
        ({"inner_cidr": "169.254.0.0/30"}, "inner_cidr_invalid", "vpn_tunnel.inner_cidr"),
        ({"inner_cidr": "8.8.8.8/30"}, "inner_cidr_invalid", "vpn_tunnel.inner_cidr"),
        ({"inner_cidr": "169.254.8.0/30"}, "inner_cidr_in_use", "vpn_tunnel.inner_cidr"),
        (
            {"inner_cidr": "169.254.9.0/30", "inner_local": "169.254.9.3"},
            "inner_local_invalid",
            "vpn_tunnel.inner_local",
        ),
        ({"local_address": "198.51.100.99"}, "invalid", "vpn_tunnel.local_address"),
        ({"remote_address": "203.0.113.50"}, "address_pair_in_use", "vpn_tunnel.remote_address"),
        ({"psk": "short"}, "psk_invalid", "vpn_tunnel.psk"),
        ({"child_lifetime_s": 20000.0}, "limit_conflict", "vpn_tunnel.child_lifetime_s"),
        ({"ike_proposals": ["aes256-sha1"]}, "invalid_value", "vpn_tunnel.ike_proposals[0]"),
    ],
)
async def test_a_tunnel_that_can_not_be_is_refused_with_its_code(
    registry: Registry, fields: dict[str, object], code: str, field: str
) -> None:
    await fleet(registry)
    done = await connect(registry)
    if "remote_address" not in fields:
        await registry.update("vpn_tunnel", done.others[1].id, {"admin": "down"}, ROOT)
        await registry.delete("vpn_tunnel", done.others[1].id, ROOT)
    problem = await refused(registry, "vpn_tunnel", vpn_connection="office", **fields)
    assert (problem.code, problem.field) == (code, field)


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"child_lifetime_s": 20000.0}, "limit_conflict", "vpn_connection.child_lifetime_s"),
        ({"remote_cidrs": ["169.254.0.0/16"]}, "prefix_not_routable", "remote_cidrs[0]"),
        ({"remote_cidrs": ["192.168.0.0/16"]}, "prefix_in_use", "remote_cidrs[0]"),
        ({"routing": "bgp", "probe": "10.0.0.1"}, "invalid_value", "vpn_connection.probe"),
        ({"routing": "policy"}, "invalid_value", "vpn_connection.remote_cidrs"),
    ],
)
async def test_a_connection_without_tunnels_is_judged_as_one_with(
    registry: Registry, fields: dict[str, object], code: str, field: str
) -> None:
    await fleet(registry)
    wanted = {"name": "later", "border_gateway": "main", "customer_gateway": "office"}
    problem = await refused(registry, "vpn_connection", **wanted, tunnels=0, **fields)
    assert (problem.code, str(problem.field).endswith(field)) == (code, True), problem.as_json()
    assert "none-of" not in str(problem.as_json())
    done = await registry.create("vpn_connection", wanted | {"tunnels": 0}, ROOT)
    assert done.others == ()
    assert "none-of" not in str(done.warnings)


async def test_a_customer_gateway_that_no_connection_has_yet_is_judged(registry: Registry) -> None:
    addresses = ["203.0.113.1", "203.0.113.2", "203.0.113.3"]
    problem = await refused(registry, "customer_gateway", name="three", public_addresses=addresses)
    assert (problem.code, problem.field) == (
        "address_count",
        "customer_gateway.public_addresses",
    )


async def test_equal_as_numbers_and_prefixes_of_ours_are_refused(registry: Registry) -> None:
    await fleet(registry)
    await make(
        registry, "customer_gateway", name="same", public_addresses=["203.0.113.9"], asn=65000
    )
    wanted = {"name": "c", "border_gateway": "main", "remote_cidrs": ["192.168.0.0/16"]}
    problem = await refused(
        registry, "vpn_connection", **wanted, customer_gateway="same", routing="bgp"
    )
    assert {one.code for one in problem.errors} == {"asn_conflict", "prefix_in_use"}


async def test_what_is_used_can_not_go_and_what_is_up_neither(registry: Registry) -> None:
    await fleet(registry)
    done = await connect(registry)
    node = next(iter(registry.mirror.of_kind("node")))
    for kind, id in (
        ("border_gateway", done.record.spec["border_gateway"]),
        ("customer_gateway", done.record.spec["customer_gateway"]),
        ("vpn_connection", done.record.id),
        ("node", node.id),
    ):
        with pytest.raises(ApiProblem) as caught:
            await registry.delete(kind, id, ROOT)
        assert (caught.value.status, caught.value.code) == (409, "in_use")
    with pytest.raises(ApiProblem) as caught:
        await registry.delete("vpn_tunnel", done.others[0].id, ROOT)
    assert caught.value.code == "tunnel_admin_up"


async def test_deleting_all_gives_all_back(registry: Registry) -> None:
    await fleet(registry)
    done = await connect(registry)
    for tunnel in done.others:
        await registry.update("vpn_tunnel", tunnel.id, {"admin": "down"}, ROOT)
        await registry.delete("vpn_tunnel", tunnel.id, ROOT)
    await registry.delete("vpn_connection", done.record.id, ROOT)
    for kind in ("vpc_attachment", "border_gateway", "customer_gateway", "node"):
        for record in list(registry.mirror.of_kind(kind)):
            await registry.delete(kind, record.id, ROOT)
    assert list(registry.mirror.of_kind(CLAIM)) == []
    assert list(registry.mirror.of_kind(USES)) == []


async def test_a_patch_leaves_what_it_does_not_name_and_null_is_the_default(
    registry: Registry,
) -> None:
    await fleet(registry)
    done = await connect(registry, psk="correct horse battery staple", liveness_s=5.0)
    sealed = done.record.spec["psk"]
    changed = await registry.update("vpn_connection", done.record.id, {"tags": {"a": "b"}}, ROOT)
    assert changed.record.spec == {**done.record.spec, "tags": {"a": "b"}}
    assert changed.record.spec["psk"] == sealed
    changed = await registry.update(
        "vpn_connection", done.record.id, {"liveness_s": None, "tags": {"a": None, "c": "d"}}, ROOT
    )
    assert "liveness_s" not in changed.record.spec
    assert changed.record.spec["tags"] == {"c": "d"}
    again = await registry.update("vpn_connection", done.record.id, {"tags": {"c": "d"}}, ROOT)
    assert again.record.revision == changed.record.revision


async def test_a_writer_who_has_not_seen_the_last_change_is_refused(registry: Registry) -> None:
    await fleet(registry)
    done = await connect(registry)
    tunnel = done.others[0]
    await registry.update("vpn_tunnel", tunnel.id, {"rate_mbps": 100}, ROOT)
    with pytest.raises(ApiProblem) as caught:
        await registry.update(
            "vpn_tunnel", tunnel.id, {"rate_mbps": 5}, ROOT, expected=tunnel.revision
        )
    assert caught.value.status == 412


async def test_a_customers_addresses_and_asn_of_tunnels_stay(registry: Registry) -> None:
    await fleet(registry)
    done = await connect(registry)
    customer = done.record.spec["customer_gateway"]
    with pytest.raises(ApiProblem) as caught:
        await registry.update(
            "customer_gateway", customer, {"public_addresses": ["203.0.113.77"]}, ROOT
        )
    assert (caught.value.status, caught.value.code) == (409, "in_use")
    with pytest.raises(ApiProblem) as caught:
        await registry.update("vpn_tunnel", done.others[0].id, {"local_address": "1.2.3.4"}, ROOT)
    assert caught.value.code == "field_immutable"


async def test_a_name_and_an_address_of_another_node_are_told_apart(registry: Registry) -> None:
    await fleet(registry)
    problem = await refused(registry, "node", name="gw-a")
    assert (problem.code, problem.field) == ("name_in_use", "node.name")
    problem = await refused(registry, "node", name="c", public_addresses=["198.51.100.11"])
    assert (problem.code, problem.field) == ("public_addresses_in_use", "node.public_addresses")
    assert problem.value == "198.51.100.11"


async def test_border_gateways_of_one_node_never_get_the_same_inner_network(
    registry: Registry,
) -> None:
    await fleet(registry)
    await make(registry, "border_gateway", name="second")
    await make(registry, "customer_gateway", name="b", public_addresses=["203.0.113.60"])
    one = await connect(registry)
    two = await connect(
        registry, "b", border_gateway="second", customer_gateway="b", routing="static"
    )
    networks = [tunnel.of("inner_cidr") for done in (one, two) for tunnel in done.others]
    assert len(set(networks)) == 4
    problem = await refused(
        registry,
        "vpn_connection",
        name="c",
        border_gateway="second",
        customer_gateway="office",
        tunnel=[{"inner_cidr": networks[0]}, {}],
    )
    assert problem.code in ("inner_cidr_in_use", "address_pair_in_use")


async def test_a_broken_watch_holds_no_writer_for_ever(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "SETTLED_S", 0.1)
    async with running(store) as registry:
        await fleet(registry)

        async def never(revision: int) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(registry.mirror, "reached", never)
        made = await registry.create("border_gateway", {"name": "second"}, ROOT)
        assert made.record.revision == await store.revision()
        monkeypatch.undo()
        await registry.mirror.reached(made.record.revision)
        assert registry.mirror.get("border_gateway", made.record.id) is not None


async def test_a_border_gateway_gets_addresses_of_its_own_pool(registry: Registry) -> None:
    await fleet(registry)
    pool = await make(registry, "address_pool", name="region-b", addresses=["198.51.100.12"])
    await make(registry, "address_pool", name="region-a", addresses=["198.51.100.11"])
    await make(registry, "border_gateway", name="b", address_pool="region-b")
    done = await connect(registry, border_gateway="b", routing="static", tunnels=0)
    assert done.record.allocated["public_addresses"] == ["198.51.100.12"]
    with pytest.raises(ApiProblem) as caught:
        await registry.delete("address_pool", pool.id, ROOT)
    assert caught.value.code == "in_use"


async def test_eight_tunnels_of_exclusive_addresses_are_one_commit(registry: Registry) -> None:
    await fleet(registry)
    addresses = ["198.51.100.11", "198.51.100.12"]
    await make(registry, "address_pool", name="own", addresses=addresses, exclusive=True)
    four = [f"203.0.113.{n}" for n in range(1, 5)]
    await make(registry, "customer_gateway", name="four", public_addresses=four)
    done = await connect(registry, "four", customer_gateway="four", routing="static", tunnels=8)
    assert len(done.others) == 8
    problem = await refused(
        registry,
        "vpn_connection",
        name="more",
        border_gateway="main",
        customer_gateway="office",
    )
    assert problem.code == "no_public_address"


async def test_a_dry_run_says_what_would_be_and_writes_nothing(registry: Registry) -> None:
    await fleet(registry)
    before = registry.mirror.revision
    wanted = {"name": "x", "border_gateway": "main", "customer_gateway": "office"}
    done = await registry.create("vpn_connection", wanted, ROOT, dry_run=True)
    assert len(done.others) == 2
    assert any("no route leads" in warning for warning in done.warnings)
    assert registry.mirror.revision == before


async def test_a_quota_ends_what_a_tenant_may_have(registry: Registry, store: Store) -> None:
    value = json.dumps({"tenant": "", "spec": {"border_gateway": 2}}).encode()
    revision = await store.commit([Create(Key("setting", "quotas"), value)], "test")
    await registry.mirror.reached(revision)
    await make(registry, "border_gateway", name="a")
    await make(registry, "border_gateway", name="b")
    problem = await refused(registry, "border_gateway", name="c")
    assert (problem.status, problem.code, problem.value) == (409, "quota_exceeded", 2)


async def test_another_tenants_resource_does_not_exist(registry: Registry, store: Store) -> None:
    await fleet(registry)
    done = await connect(registry)
    stranger = Principal("user:eve", "acme", Scope.ADMIN)
    with pytest.raises(ApiProblem) as caught:
        registry.get("vpn_connection", done.record.id, stranger)
    assert caught.value.status == 404
    assert registry.all("vpn_connection", stranger) == []
    with pytest.raises(ApiProblem) as caught:
        await registry.update("vpn_connection", done.record.id, {"name": "mine"}, stranger)
    assert caught.value.status == 404


async def test_a_mistake_in_a_tunnel_is_told_where_it_stands_in_the_request(
    registry: Registry,
) -> None:
    await fleet(registry)
    with pytest.raises(ApiProblem) as caught:
        await connect(registry, tunnel=[{}, {"inner_cidr": "169.254.8.0/29"}])
    assert caught.value.field == "vpn_connection.tunnel[1].inner_cidr"
    done = await connect(registry)
    with pytest.raises(ApiProblem) as caught:
        await registry.update(
            "vpn_tunnel", done.others[1].id, {"inner_cidr": "169.254.8.0/29"}, ROOT
        )
    assert caught.value.field == "vpn_tunnel.inner_cidr"


async def test_a_connection_has_no_more_tunnels_than_pairs_of_addresses(
    registry: Registry,
) -> None:
    await make(registry, "node", name="alone", public_addresses=["198.51.100.99"])
    await make(registry, "border_gateway", name="small")
    one = {"border_gateway": "small", "routing": "static"}
    for number, addresses in enumerate((["203.0.113.1"], ["203.0.113.2", "203.0.113.3"]), 1):
        await make(registry, "customer_gateway", name=f"c{number}", public_addresses=addresses)
        done = await connect(
            registry,
            f"x{number}",
            customer_gateway=f"c{number}",
            remote_cidrs=[f"10.{number}.0.0/16"],
            **one,
        )
        assert len(done.others) == number
    with pytest.raises(ApiProblem, match="every pair"):
        await connect(registry, "more", customer_gateway="c1", tunnels=1, **one)


async def test_two_processes_that_make_connections_at_once_never_choose_the_same(
    opener: Opener,
) -> None:
    one, two = await opener(), await opener()
    async with running(one) as first, running(two) as second:
        await fleet(first)
        await second.mirror.reached(first.mirror.revision)
        for at in range(10):
            await make(
                first, "customer_gateway", name=f"c{at}", public_addresses=[f"203.0.113.{at + 1}"]
            )
        await second.mirror.reached(first.mirror.revision)
        made = await asyncio.gather(
            *(
                connect(
                    [first, second][at % 2],
                    f"x{at}",
                    customer_gateway=f"c{at}",
                    routing="static",
                    remote_cidrs=[f"10.{at}.0.0/16"],
                )
                for at in range(10)
            )
        )
        tunnels = [tunnel for done in made for tunnel in done.others]
        assert len({tunnel.of("inner_cidr") for tunnel in tunnels}) == 20
        same = await asyncio.gather(
            *(make(side, "border_gateway", name="once") for side in (first, second)),
            return_exceptions=True,
        )
        assert sorted(type(each).__name__ for each in same) == ["ApiProblem", "Record"]


async def test_a_parent_that_goes_while_a_child_comes_is_never_left_without_one(
    opener: Opener,
) -> None:
    one, two = await opener(), await opener()
    async with running(one) as first, running(two) as second:
        for at in range(3):
            gateway = await make(first, "border_gateway", name=f"g{at}")
            await second.mirror.reached(first.mirror.revision)
            child = make(
                first, "vpc_attachment", name=f"a{at}", border_gateway=gateway.id, interface="eth1"
            )
            await asyncio.gather(
                child, second.delete("border_gateway", gateway.id, ROOT), return_exceptions=True
            )
            await first.mirror.reached(await one.revision())
            left = first.mirror.get("border_gateway", gateway.id) is not None
            assert left == any(first.mirror.children("vpc_attachment", gateway.id))
