"""Two control processes over one store: what one begins or ends holds in the other."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.control.auth.service import Auth
from gateway.control.problems import ApiProblem
from gateway.control.secrets import KeyRing, new_master_key
from tests.control.auth.conftest import opened
from tests.control.auth.support import PASSWORD, PEER, ROOT, Clock, add_token, add_user, bearer


async def in_step(one: Auth, other: Auth) -> None:
    revision = await one.desk.store.revision()
    await asyncio.gather(*(each.desk.mirror.reached(revision) for each in (one, other)))


async def test_tokens_and_sessions_are_of_all_processes(tmp_path: Path, clock: Clock) -> None:
    file, ring = tmp_path / "store.db", KeyRing([new_master_key()])
    async with opened(file, clock, ring) as one, opened(file, clock, ring) as other:
        ann = await add_user(one, "ann", "operate", "red")
        headers = bearer(await add_token(one, ann))
        started = await one.authenticator.login("ann", PASSWORD, PEER)
        cookie = {"cookie": f"twinspan_session={started.cookie}"}
        await in_step(one, other)
        assert (await other.authenticator.authenticate(headers, PEER)).tenant == "red"
        assert await other.authenticator.authenticate(cookie, PEER) == ann
        await other.authenticator.logout(cookie, PEER, ann)
        (token,) = other.tokens.list(ann)
        await other.tokens.delete(token["id"], ann)
        await in_step(one, other)
        assert one.tokens.list(ROOT) == []
        assert list(one.desk.mirror.of_kind("session")) == []


async def test_of_two_processes_one_makes_a_name(tmp_path: Path, clock: Clock) -> None:
    file, ring = tmp_path / "store.db", KeyRing([new_master_key()])
    async with opened(file, clock, ring) as one, opened(file, clock, ring) as other:
        table = {"name": "ann", "password": PASSWORD}
        done = await asyncio.gather(
            *(each.users.create(table, ROOT, tenant="main") for each in (one, other) * 3),
            return_exceptions=True,
        )
        assert sum(isinstance(each, dict) for each in done) == 1
        assert {each.code for each in done if isinstance(each, ApiProblem)} == {"not_unique"}
        await in_step(one, other)
        assert one.users.list(ROOT) == other.users.list(ROOT)


async def test_the_times_of_use_of_two_processes_come_together(
    tmp_path: Path, clock: Clock
) -> None:
    file, ring = tmp_path / "store.db", KeyRing([new_master_key()])
    async with opened(file, clock, ring) as one, opened(file, clock, ring) as other:
        token = await add_token(one, ROOT)
        await in_step(one, other)
        for each in (one, other) * 2:
            clock.now += 700
            assert each.tokens.principal(token) is not None
            await asyncio.gather(one.tidy(), other.tidy())
            await in_step(one, other)
        assert one.tokens.list(ROOT) == other.tokens.list(ROOT)
