"""Tenants: main is there, one with something in it stays, nobody sees another's."""

from __future__ import annotations

import pytest

from gateway.control.auth.principal import Principal, Scope
from gateway.control.auth.service import Auth
from gateway.control.problems import ApiProblem
from gateway.control.store.interface import Create, Key
from tests.control.auth.support import ROOT, add_user


async def test_main_is_there_and_uses_the_machines_namespace(auth: Auth) -> None:
    await auth.tenants.ensure_main()
    (main,) = auth.tenants.list(ROOT)
    assert (main["id"], main["name"], main["own_namespaces"]) == ("main", "main", False)
    with pytest.raises(ApiProblem, match="main"):
        await auth.tenants.delete("main", ROOT)


async def test_a_tenant_is_made_changed_and_ended(auth: Auth) -> None:
    made = await auth.tenants.create({"name": "red", "description": "a customer"}, ROOT)
    assert (made["tenant"], made["own_namespaces"]) == ("red", True)
    changed = await auth.tenants.update(
        "red", {"own_namespaces": False}, ROOT, expected=made["revision"]
    )
    assert (changed["description"], changed["own_namespaces"]) == ("a customer", False)
    with pytest.raises(ApiProblem) as error:
        await auth.tenants.delete("red", ROOT, expected=made["revision"])
    assert error.value.status == 412
    await auth.tenants.delete("red", ROOT, dry_run=True)
    await auth.tenants.delete("red", ROOT)
    with pytest.raises(ApiProblem, match="does not exist"):
        auth.tenants.show("red", ROOT)


@pytest.mark.parametrize(
    "name", ["", "Red", "*", "a\0", "\u202ered", "x" * (1 << 20), "a/b", "../x", 7, None]
)
async def test_a_name_that_is_none(auth: Auth, name: object) -> None:
    with pytest.raises(ApiProblem) as error:
        await auth.tenants.create({"name": name}, ROOT)
    assert (error.value.status, error.value.field) == (422, "tenant.name")


async def test_a_name_is_there_once(auth: Auth) -> None:
    with pytest.raises(ApiProblem) as error:
        await auth.tenants.create({"name": "main"}, ROOT)
    assert (error.value.status, error.value.code) == (409, "not_unique")


async def test_a_tenant_with_something_in_it_stays(auth: Auth) -> None:
    await add_user(auth, "ann", tenant="red")
    write = Create(Key("border_gateway", "bgw-1"), b'{"tenant":"red","name":"hub"}')
    await auth.desk.mirror.reached(await auth.desk.store.commit([write], "test"))
    with pytest.raises(ApiProblem, match="still has 1 border_gateway, 1 user") as error:
        await auth.tenants.delete("red", ROOT)
    assert (error.value.status, error.value.code) == (409, "in_use")
    with pytest.raises(ApiProblem, match="while the tenant has Border Gateways"):
        await auth.tenants.update("red", {"own_namespaces": False}, ROOT)


async def test_a_tenant_sees_itself_and_only_the_operator_writes(auth: Auth) -> None:
    red = await add_user(auth, "ann", tenant="red")
    await auth.tenants.create({"name": "blue"}, ROOT)
    assert [each["name"] for each in auth.tenants.list(red)] == ["red"]
    with pytest.raises(ApiProblem, match="does not exist"):
        auth.tenants.show("blue", red)
    for who in (red, Principal("user:x", "", Scope.OPERATE)):
        for call in (
            auth.tenants.create({"name": "green"}, who),
            auth.tenants.update("red", {"description": "x"}, who),
            auth.tenants.delete("red", who),
        ):
            with pytest.raises(ApiProblem) as error:
                await call
            assert error.value.status == 403
