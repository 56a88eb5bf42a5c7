"""What is of the gateway VMs, which all tenants share: no tenant names a device or namespace."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.control.auth.principal import Principal, Scope
from gateway.control.problems import ApiProblem
from gateway.control.registry import Registry
from gateway.control.store.interface import Create, Key
from gateway.control.store.sqlite import open_sqlite
from tests.control.registry import ROOT, fleet, make, running

EVE = Principal("user:eve", "acme", Scope.ADMIN)
ATTACHMENT = {"border_gateway": "bg", "cidrs": ["192.168.7.0/24"]}


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    store = await open_sqlite(tmp_path / "control.db")
    async with running(store) as registry:
        await fleet(registry)
        value = {"tenant": "", "name": "acme", "spec": {"name": "acme"}}
        write = Create(Key("tenant", "acme"), json.dumps(value).encode())
        await registry.mirror.reached(await store.commit([write], "test"))
        await make(registry, "border_gateway", EVE, name="bg")
        yield registry
    await store.close()


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("border_gateway", {"namespace": "red"}),
        ("vpc_attachment", ATTACHMENT | {"interface": "eth1"}),
        ("vpc_attachment", ATTACHMENT | {"interface": "v1", "parent": "eth1", "vlan": 7}),
        ("vpc_attachment", ATTACHMENT | {"interface": "v1", "veth": {"interface": "v2"}}),
    ],
)
async def test_a_tenant_can_not_take_a_device_or_enter_a_namespace(
    registry: Registry, kind: str, fields: dict[str, Any]
) -> None:
    revision = registry.mirror.revision
    for dry_run in (True, False):
        with pytest.raises(ApiProblem, match="the operator sets it") as caught:
            await registry.create(kind, {"name": "x"} | fields, EVE, dry_run=dry_run)
        assert caught.value.status == 403
    assert registry.mirror.revision == revision


async def test_what_the_operator_has_attached_a_tenant_can_only_describe(
    registry: Registry,
) -> None:
    spec = {"name": "x", "interface": "eth2", **ATTACHMENT}
    made = (await registry.create("vpc_attachment", spec, ROOT, tenant="acme")).record
    for patch in ({"interface": "eth1"}, {"veth": {"interface": "v2"}}):
        with pytest.raises(ApiProblem, match="the operator sets it"):
            await registry.update("vpc_attachment", made.id, patch, EVE)
    cidrs = ["192.168.8.0/24"]
    done = await registry.update("vpc_attachment", made.id, {"cidrs": cidrs}, EVE)
    assert done.record.spec["cidrs"] == cidrs
    await registry.delete("vpc_attachment", made.id, EVE)


async def test_a_tenant_does_not_open_the_network_around_the_gateway_vms(
    registry: Registry,
) -> None:
    await make(registry, "customer_gateway", EVE, name="cg", public_addresses=["203.0.113.7"])
    spec = {
        "name": "x",
        "border_gateway": "bg",
        "customer_gateway": "cg",
        "remote_cidrs": ["10.77.0.0/16"],
    }
    with pytest.raises(ApiProblem, match="the operator sets it") as caught:
        await registry.create("vpn_connection", spec | {"revocation_private": True}, EVE)
    assert caught.value.status == 403
    no = await registry.create("vpn_connection", spec | {"revocation_private": False}, EVE)
    id = no.record.id
    with pytest.raises(ApiProblem, match="the operator sets it"):
        await registry.update("vpn_connection", id, {"revocation_private": True}, EVE)
    (tunnel, *_) = registry.mirror.children("vpn_tunnel", id)
    with pytest.raises(ApiProblem, match="the operator sets it"):
        await registry.update("vpn_tunnel", tunnel.id, {"revocation_private": True}, EVE)
    await registry.update("vpn_connection", id, {"revocation_private": True}, ROOT)
    await registry.update("vpn_connection", id, {"description": "as it is"}, EVE)
