"""Users: names, passwords, what an admin of a tenant may, and who is there first."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.control.auth.passwords import Cost
from gateway.control.auth.principal import Principal, Scope
from gateway.control.auth.service import Auth, make_auth
from gateway.control.problems import ApiProblem
from gateway.control.secrets import is_sealed
from gateway.control.store.interface import Create, Key
from tests.control.auth.support import PASSWORD, PEER, ROOT, add_token, add_user


async def refused(call: object) -> ApiProblem:
    with pytest.raises(ApiProblem) as error:
        await call  # type: ignore[misc] # a coroutine
    return error.value


async def test_a_user_is_told_without_his_password(auth: Auth) -> None:
    made = await auth.users.create({"name": "ann", "password": PASSWORD}, ROOT, tenant="main")
    assert made["id"].startswith("user-")
    assert made == {
        **{"id": made["id"], "tenant": "main", "name": "ann", "scope": "read"},
        **{"disabled": False, "description": "", "password_version": 1, "last_login_at": None},
        **{"created_at": "2027-01-15T08:00:00.000Z", "updated_at": "2027-01-15T08:00:00.000Z"},
        "revision": made["revision"],
    }
    assert auth.users.show("ann", ROOT) == auth.users.show(made["id"], ROOT) == made
    stored = json.loads((await auth.desk.store.get(Key("user", made["id"]))).value)
    assert is_sealed(stored["password"])


@pytest.mark.parametrize(
    ("table", "field", "code"),
    [
        ({}, "user.name", "required"),
        ({"name": "Ann"}, "user.name", "invalid_value"),
        ({"name": "x" * (1 << 20)}, "user.name", "invalid_value"),
        ({"name": "a\0b"}, "user.name", "invalid_value"),
        ({"name": "\u202eann"}, "user.name", "invalid_value"),
        ({"name": "' OR 1=1 --"}, "user.name", "invalid_value"),
        ({"name": 7}, "user.name", "wrong_type"),
        ({"name": "ann", "scope": "root"}, "user.scope", "not_one_of"),
        ({"name": "ann", "disabled": "no"}, "user.disabled", "wrong_type"),
        ({"name": "ann", "description": "\x1b[31m"}, "user.description", "invalid_value"),
        ({"name": "ann", "sudo": True}, "user.sudo", "unknown_field"),
        ({"name": "ann", "tenant": "<b>"}, "user.tenant", "invalid_value"),
        ({"name": "ann", "password": "short"}, "user.password", "password_not_allowed"),
        ({"name": "ann", "password": 7}, "user.password", "wrong_type"),
    ],
)
async def test_a_bad_field_is_named_with_its_value_and_nothing_is_written(
    auth: Auth, table: dict[str, object], field: str, code: str
) -> None:
    revision = await auth.desk.store.revision()
    problem = await refused(auth.users.create({"password": PASSWORD, **table}, ROOT, tenant="main"))
    assert (problem.status, problem.field, problem.code) == (422, field, code)
    assert PASSWORD not in json.dumps(problem.as_json())
    assert len(json.dumps(problem.as_json())) < 2000
    assert await auth.desk.store.revision() == revision


async def test_a_name_is_there_once_in_all_tenants(auth: Auth) -> None:
    await add_user(auth, "ann", tenant="red")
    problem = await refused(
        auth.users.create({"name": "ann", "password": PASSWORD}, ROOT, tenant="main")
    )
    assert (problem.status, problem.code, problem.value) == (409, "not_unique", "ann")


async def test_of_two_requests_for_one_name_one_wins(auth: Auth) -> None:
    table = {"name": "ann", "password": PASSWORD}
    done = await asyncio.gather(
        *(auth.users.create(table, ROOT, tenant="main") for _ in range(6)), return_exceptions=True
    )
    assert sum(isinstance(each, dict) for each in done) == 1
    assert {e.code for e in done if isinstance(e, ApiProblem)} == {"not_unique"}
    assert len(auth.users.list(ROOT)) == 1


async def test_a_dry_run_checks_all_and_writes_nothing(auth: Auth) -> None:
    revision = await auth.desk.store.revision()
    table = {"name": "ann", "password": PASSWORD}
    made = await auth.users.create(table, ROOT, tenant="main", dry_run=True)
    assert made["name"] == "ann"
    assert await auth.desk.store.revision() == revision
    problem = await refused(auth.users.create(table, ROOT, tenant="gone", dry_run=True))
    assert problem.status == 404


async def test_what_belongs_to_the_answer_is_in_the_same_commit(auth: Auth) -> None:
    kept = Key("idempotency", "k")
    made = await auth.users.create(
        {"name": "ann", "password": PASSWORD},
        ROOT,
        tenant="main",
        beside=lambda answer: [Create(kept, json.dumps({"id": answer["id"]}).encode())],
    )
    stored = await auth.desk.store.get(kept)
    assert stored.revision == made["revision"]
    assert json.loads(stored.value) == {"id": made["id"]}


async def test_a_partial_change_leaves_the_rest(auth: Auth) -> None:
    await add_user(auth, "ann", "admin")
    await auth.users.update("ann", {"description": "on call"}, ROOT)
    changed = await auth.users.update("ann", {"disabled": True}, ROOT)
    assert (changed["scope"], changed["description"], changed["disabled"]) == (
        ("admin", "on call", True)
    )
    reset = await auth.users.update("ann", {"description": None, "disabled": None}, ROOT)
    assert (reset["scope"], reset["description"], reset["disabled"]) == ("admin", "", False)
    assert (await auth.users.update("ann", {}, ROOT))["revision"] == reset["revision"]


async def test_who_has_not_seen_the_last_change_changes_nothing(auth: Auth) -> None:
    await add_user(auth, "ann")
    seen = auth.users.show("ann", ROOT)["revision"]
    await auth.users.update("ann", {"description": "a"}, ROOT, expected=seen)
    problem = await refused(auth.users.update("ann", {"scope": "read"}, ROOT, expected=seen))
    assert (problem.status, problem.extra) == (
        (412, {"revision": auth.users.show("ann", ROOT)["revision"]})
    )
    assert (await refused(auth.users.delete("ann", ROOT, expected=seen))).status == 412


async def test_a_password_opens_until_it_is_changed(auth: Auth) -> None:
    ann = await add_user(auth, "ann", "read")
    assert await auth.users.with_password("Ann", PASSWORD) is not None
    assert await auth.users.with_password("ann", "another password") is None
    new = "a new long password!"
    table = {"current_password": PASSWORD, "new_password": new}
    assert (await auth.users.change_password(table, ann))["password_version"] == 2
    assert await auth.users.with_password("ann", PASSWORD) is None
    assert await auth.users.with_password("ann", new) is not None
    problem = await refused(auth.users.change_password(table, ann))
    assert (problem.status, problem.code) == (422, "wrong_password")


async def test_a_login_renews_a_hash_of_another_cost_and_ends_no_session(auth: Auth) -> None:
    await add_user(auth, "ann")
    started = await auth.authenticator.login("ann", PASSWORD, PEER)
    dearer = make_auth(auth.desk, cost=Cost(passes=2, memory_kib=8))
    before = auth.users.named("ann")
    assert await dearer.users.with_password("ann", PASSWORD) is not None
    after = auth.users.named("ann")
    assert before is not None
    assert after is not None
    assert after.value["password"] != before.value["password"]
    assert await dearer.users.with_password("ann", PASSWORD) is not None
    assert auth.users.named("ann") == after  # once is enough
    assert auth.sessions.principal(started.cookie) is not None


async def test_an_admin_sets_a_password_that_must_be_good_too(auth: Auth) -> None:
    await add_user(auth, "ann", "read")
    problem = await refused(auth.users.update("ann", {"password": "short"}, ROOT))
    assert problem.code == "password_not_allowed"
    await auth.users.update("ann", {"password": "set by an admin"}, ROOT)
    assert await auth.users.with_password("ann", "set by an admin") is not None


async def test_a_token_can_not_change_the_password_of_its_user(auth: Auth) -> None:
    ann = await add_user(auth, "ann")
    who = auth.tokens.principal(await add_token(auth, ann, "admin"))
    assert who is not None
    table = {"current_password": PASSWORD, "new_password": "a new long password!"}
    assert (await refused(auth.users.change_password(table, who))).status == 403


@pytest.mark.parametrize("name", ["nobody", "", "\0", "\u202eann", "x" * (1 << 20), "user:ann"])
async def test_an_unknown_name_opens_nothing(auth: Auth, name: str) -> None:
    await add_user(auth, "ann")
    assert await auth.users.with_password(name, PASSWORD) is None


async def test_a_disabled_user_has_no_password_that_is_right(auth: Auth) -> None:
    await add_user(auth, "ann")
    await auth.users.update("ann", {"disabled": True}, ROOT)
    assert await auth.users.with_password("ann", PASSWORD) is None


async def test_an_admin_of_a_tenant_knows_of_his_own_users_alone(auth: Auth) -> None:
    red = await add_user(auth, "ann", tenant="red")
    await add_user(auth, "bob", tenant="blue")
    await add_user(auth, "root", tenant="")
    assert [each["name"] for each in auth.users.list(red)] == ["ann"]
    assert auth.users.list(red, tenant="blue") == []
    for other in ("bob", "root", "nobody"):
        assert (await refused(auth.users.update(other, {"scope": "read"}, red))).status == 404
        assert (await refused(auth.users.delete(other, red))).status == 404
    table = {"name": "eve", "password": PASSWORD}
    for tenant in ("blue", "", "gone"):
        problem = await refused(auth.users.create({**table, "tenant": tenant}, red, tenant="red"))
        assert problem.status == 404


async def test_who_is_no_admin_sees_himself_and_changes_nothing(auth: Auth) -> None:
    ann = await add_user(auth, "ann", "operate")
    await add_user(auth, "bob")
    assert [each["name"] for each in auth.users.list(ann)] == ["ann"]
    with pytest.raises(ApiProblem, match="scope admin is needed"):
        auth.users.show("bob", ann)
    for call in (
        auth.users.update("ann", {"scope": "admin"}, ann),
        auth.users.delete("ann", ann),
        auth.users.create({"name": "eve", "password": PASSWORD}, ann, tenant="main"),
    ):
        assert (await refused(call)).status == 403


async def test_a_deleted_user_frees_his_name_and_leaves_no_token(auth: Auth) -> None:
    ann = await add_user(auth, "ann")
    token = await add_token(auth, ann)
    await auth.users.delete("ann", ROOT)
    assert auth.users.list(ROOT) == []
    assert auth.tokens.principal(token) is None
    await add_user(auth, "ann")
    assert auth.tokens.principal(token) is None
    await auth.tidy()
    assert auth.tokens.list(ROOT) == []


async def test_the_first_admin_is_made_once(auth: Auth) -> None:
    made = await auth.users.first_admin("root", PASSWORD, "local:root")
    assert (made["tenant"], made["scope"]) == ("", "admin")
    problem = await refused(auth.users.first_admin("eve", PASSWORD, "local:root"))
    assert (problem.status, problem.code) == (409, "conflict")


async def test_an_admin_of_a_tenant_that_is_gone_makes_nobody(auth: Auth) -> None:
    ghost = Principal("user:ghost", "gone", Scope.ADMIN)
    assert auth.users.list(ghost) == []
    table = {"name": "eve", "password": PASSWORD}
    assert (await refused(auth.users.create(table, ghost, tenant="gone"))).status == 404
