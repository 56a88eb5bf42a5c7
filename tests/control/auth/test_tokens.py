"""API tokens: shown once, never more than their user has, and over when they should be."""

from __future__ import annotations

import json

import pytest

from gateway.control.auth.principal import Principal, Scope
from gateway.control.auth.service import Auth
from gateway.control.problems import ApiProblem
from gateway.control.store.interface import Create, Key
from tests.control.auth.support import PASSWORD, ROOT, Clock, add_token, add_user

DAY_S = 86400


async def test_a_token_is_told_once_and_kept_as_a_hash(auth: Auth) -> None:
    ann = await add_user(auth, "ann")
    made = await auth.tokens.create({"name": "ci", "scope": "operate"}, ann, tenant="main")
    text = made.pop("token")
    assert auth.tokens.show(made["id"], ann) == made
    assert (made["user"], made["tenant"], made["scope"]) == ("ann", "main", "operate")
    assert (made["expires_at"], made["expired"]) == ("2028-01-15T08:00:00.000Z", False)
    stored = (await auth.desk.store.get(Key("token", made["id"]))).value.decode()
    assert text not in stored
    assert auth.tokens.principal(text) == Principal(f"token:{made['id']}", "main", Scope.OPERATE)


@pytest.mark.parametrize(
    ("table", "field"),
    [
        ({}, "token.name"),
        ({"name": ""}, "token.name"),
        ({"name": "x" * (1 << 20)}, "token.name"),
        ({"name": "a\0"}, "token.name"),
        ({"name": "\u202eevil"}, "token.name"),
        ({"name": "a", "lifetime_days": -1}, "token.lifetime_days"),
        ({"name": "a", "lifetime_days": 10**30}, "token.lifetime_days"),
        ({"name": "a", "lifetime_days": True}, "token.lifetime_days"),
        ({"name": "a", "scope": ["admin"]}, "token.scope"),
        ({"name": "a", "token": "tsp_mine"}, "token.token"),
    ],
)
async def test_a_bad_field_is_named(auth: Auth, table: dict[str, object], field: str) -> None:
    with pytest.raises(ApiProblem) as error:
        await auth.tokens.create(table, ROOT, tenant="main")
    assert (error.value.status, error.value.field) == (422, field)


async def test_an_expired_token_is_none_and_goes_in_the_end(auth: Auth, clock: Clock) -> None:
    token = await add_token(auth, ROOT, lifetime_days=1)
    forever = await add_token(auth, ROOT, lifetime_days=0)
    clock.now += DAY_S - 1
    assert auth.tokens.principal(token) is not None
    clock.now += 1
    assert auth.tokens.principal(token) is None
    assert [each["expired"] for each in auth.tokens.list(ROOT)].count(True) == 1
    await auth.tidy()
    assert len(auth.tokens.list(ROOT)) == 2
    clock.now += 30 * DAY_S
    await auth.tidy()
    assert len(auth.tokens.list(ROOT)) == 1
    assert auth.tokens.principal(forever) is not None


async def test_a_revoked_token_is_none(auth: Auth) -> None:
    token = await add_token(auth, ROOT)
    (row,) = auth.tokens.list(ROOT)
    await auth.tokens.delete(row["id"], ROOT)
    assert auth.tokens.principal(token) is None


async def test_a_token_has_never_more_than_its_user_has_now(auth: Auth) -> None:
    ann = await add_user(auth, "ann", "admin")
    token = await add_token(auth, ann, "admin")
    await auth.users.update("ann", {"scope": "read"}, ROOT)
    now = auth.tokens.principal(token)
    assert now is not None
    assert now.scope is Scope.READ
    await auth.users.update("ann", {"disabled": True}, ROOT)
    assert auth.tokens.principal(token) is None


async def test_nobody_makes_a_token_of_more_than_he_has(auth: Auth) -> None:
    ann = await add_user(auth, "ann", "operate")
    await add_user(auth, "bob", "read")
    with pytest.raises(ApiProblem, match=r"admin is more than operate") as error:
        await add_token(auth, ann, "admin")
    assert error.value.status == 403
    with pytest.raises(ApiProblem, match=r"admin is more than read"):
        await add_token(auth, ROOT, "admin", user="bob")


async def test_a_token_that_leaks_makes_no_other_unless_it_is_an_admins(auth: Auth) -> None:
    ann = await add_user(auth, "ann", "admin")
    weak = auth.tokens.principal(await add_token(auth, ann, "operate"))
    strong = auth.tokens.principal(await add_token(auth, ann, "admin"))
    assert weak is not None
    assert strong is not None
    with pytest.raises(ApiProblem, match="scope admin is needed"):
        await add_token(auth, weak)
    made = auth.tokens.principal(await add_token(auth, strong))
    assert made is not None
    assert {each["user"] for each in auth.tokens.list(ROOT)} == {"ann"}


async def test_a_token_sees_and_ends_itself_alone(auth: Auth) -> None:
    ann = await add_user(auth, "ann", "admin")
    other = await add_token(auth, ann)
    own = auth.tokens.principal(await add_token(auth, ann))
    assert own is not None
    (row,) = auth.tokens.list(own)
    assert row["id"] == own.actor.removeprefix("token:")
    other_id = next(r["id"] for r in auth.tokens.list(ROOT) if r["id"] != row["id"])
    with pytest.raises(ApiProblem, match="does not exist"):
        await auth.tokens.delete(other_id, own)
    await auth.tokens.delete(row["id"], own)
    assert auth.tokens.principal(other) is not None


async def test_an_operators_token_can_be_of_one_tenant(auth: Auth) -> None:
    root = await add_user(auth, "root", "admin", tenant="")
    await add_user(auth, "ann", tenant="red")
    narrow = auth.tokens.principal(await add_token(auth, root, "admin", tenant="red"))
    assert narrow is not None
    assert narrow.tenant == "red"
    assert [each["name"] for each in auth.users.list(narrow)] == ["ann"]
    for tenant in ("", "main"):
        with pytest.raises(ApiProblem, match="does not exist"):
            await add_token(auth, narrow, tenant=tenant)


async def test_a_tenant_has_so_many_users_and_tokens_and_no_more(auth: Auth) -> None:
    red = await add_user(auth, "ann", tenant="red")
    setting = Create(Key("setting", "quotas:red"), b'{"spec": {"user": 1, "token": 2}}')
    await auth.desk.write([setting], "test")
    for _ in range(2):
        await add_token(auth, red)
    for call in (
        add_token(auth, red),
        auth.users.create({"name": "eve", "password": PASSWORD}, red, tenant="red"),
    ):
        with pytest.raises(ApiProblem, match="are allowed") as error:
            await call
        assert (error.value.status, error.value.code) == (409, "quota_exceeded")
    await add_token(auth, ROOT)


async def test_another_tenants_tokens_do_not_exist(auth: Auth) -> None:
    red = await add_user(auth, "ann", tenant="red")
    blue = await add_user(auth, "bob", tenant="blue")
    await add_token(auth, blue)
    (row,) = auth.tokens.list(ROOT)
    assert auth.tokens.list(red) == []
    for call in (
        auth.tokens.update(row["id"], {"name": "mine"}, red),
        auth.tokens.delete(row["id"], red),
        auth.tokens.create({"name": "a", "tenant": "blue"}, red, tenant="red"),
        auth.tokens.create({"name": "a", "user": "bob"}, red, tenant="red"),
    ):
        with pytest.raises(ApiProblem) as error:
            await call
        assert error.value.status == 404
    with pytest.raises(ApiProblem, match="of the tenant blue"):
        await add_token(auth, ROOT, user="bob", tenant="red")


async def test_a_tokens_name_changes_and_nothing_else(auth: Auth) -> None:
    token = await add_token(auth, ROOT, "operate")
    (row,) = auth.tokens.list(ROOT)
    renamed = await auth.tokens.update(row["id"], {"name": "new", "description": "x"}, ROOT)
    assert (renamed["name"], renamed["description"]) == ("new", "x")
    with pytest.raises(ApiProblem) as error:
        await auth.tokens.update(row["id"], {"scope": "admin"}, ROOT)
    assert error.value.code == "unknown_field"
    assert auth.tokens.principal(token) is not None


async def test_last_use_is_known_at_once_and_written_seldom(auth: Auth, clock: Clock) -> None:
    token = await add_token(auth, ROOT)
    (row,) = auth.tokens.list(ROOT)
    revision = await auth.desk.store.revision()
    for _ in range(100):
        clock.now += 1
        assert auth.tokens.principal(token) is not None
        await auth.seen.flush()
    assert auth.tokens.list(ROOT)[0]["last_used_at"] == "2027-01-15T08:01:40.000Z"
    assert await auth.desk.store.revision() == revision + 1
    assert auth.tokens.list(ROOT)[0]["revision"] == row["revision"]
    await auth.tokens.delete(row["id"], ROOT)
    await auth.tidy()
    page = await auth.desk.store.list("seen")
    assert [json.loads(each.value) for each in page.objects] == []


@pytest.mark.parametrize("text", ["", "tsp_", "tsp_" + "a" * 43, "\0", "x" * (1 << 20), "a.b.c"])
async def test_what_is_no_token_is_nobodys(auth: Auth, text: str) -> None:
    await add_token(auth, ROOT)
    assert auth.tokens.principal(text) is None
