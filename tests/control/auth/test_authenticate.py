"""From headers to who asks: tokens, cookies, the CSRF token, rate limits."""

from __future__ import annotations

import io

import pytest

from gateway.control.auth.authenticate import Limits, Peer
from gateway.control.auth.buckets import Rate
from gateway.control.auth.principal import Principal, Scope
from gateway.control.auth.service import Auth, make_auth
from gateway.control.auth.sessions import SESSIONS_MAX
from gateway.control.problems import ApiProblem
from gateway.node.journal import Journal
from tests.control.auth.conftest import CHEAP
from tests.control.auth.support import PASSWORD, PEER, ROOT, Clock, add_token, add_user, bearer

SECURE = Peer("192.0.2.7", is_secure=True)


async def refused(call: object) -> ApiProblem:
    with pytest.raises(ApiProblem) as error:
        await call  # type: ignore[misc] # a coroutine
    return error.value


async def test_a_bearer_token_says_who_asks(auth: Auth) -> None:
    ann = await add_user(auth, "ann", "operate", "red")
    headers = bearer(await add_token(auth, ann, "operate"))
    who = await auth.authenticator.authenticate(headers, PEER, "POST")
    assert (who.tenant, who.scope) == ("red", Scope.OPERATE)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Basic YW5uOng="},
        {"authorization": "Bearer "},
        {"authorization": "Bearer tsp_" + "a" * 43},
        {"authorization": "Bearer a.b.c"},
        {"authorization": "Bearer " + "x" * (1 << 20)},
        {"cookie": "twinspan_session="},
        {"cookie": "twinspan_session=tss_" + "a" * 43},
        {"cookie": "\0\u202e; twinspan_session"},
    ],
)
async def test_no_or_a_wrong_credential_is_401(auth: Auth, headers: dict[str, str]) -> None:
    problem = await refused(auth.authenticator.authenticate(headers, PEER))
    assert (problem.status, problem.code) == (401, "unauthenticated")


async def test_a_login_is_a_session_and_logout_ends_it(auth: Auth) -> None:
    await add_user(auth, "ann", "read", "red")
    started = await auth.authenticator.login("ann", PASSWORD, PEER)
    headers = {"cookie": f"other=1; twinspan_session={started.cookie}"}
    who = await auth.authenticator.authenticate(headers, PEER)
    assert who == started.principal == Principal("user:ann", "red", Scope.READ)
    await auth.authenticator.logout(headers, PEER, who)
    assert (await refused(auth.authenticator.authenticate(headers, PEER))).status == 401
    await auth.authenticator.logout(headers, PEER, who)


async def test_a_write_with_a_cookie_needs_the_csrf_token(auth: Auth) -> None:
    await add_user(auth, "ann")
    started = await auth.authenticator.login("ann", PASSWORD, PEER)
    other = await auth.authenticator.login("ann", PASSWORD, PEER)
    headers = {"cookie": f"twinspan_session={started.cookie}"}
    for given in ({}, {"x-csrf-token": other.csrf_token}):
        call = auth.authenticator.authenticate({**headers, **given}, PEER, "DELETE")
        assert (await refused(call)).status == 403
    headers["x-csrf-token"] = started.csrf_token
    assert await auth.authenticator.authenticate(headers, PEER, "DELETE") == started.principal


async def test_over_tls_only_the_cookie_bound_to_the_host_counts(auth: Auth) -> None:
    await add_user(auth, "ann")
    started = await auth.authenticator.login("ann", PASSWORD, SECURE)
    plain, bound = f"twinspan_session={started.cookie}", f"__Host-twinspan_session={started.cookie}"
    assert (await refused(auth.authenticator.authenticate({"cookie": plain}, SECURE))).status == 401
    assert await auth.authenticator.authenticate({"cookie": bound}, SECURE) == started.principal


async def test_a_session_ends_without_use_and_after_a_day(auth: Auth, clock: Clock) -> None:
    await add_user(auth, "ann")
    started = [await auth.authenticator.login("ann", PASSWORD, PEER) for _ in range(2)]
    idle, used = ({"cookie": f"twinspan_session={each.cookie}"} for each in started)
    for _ in range(7):
        clock.now += 3 * 3600
        await auth.authenticator.authenticate(used, PEER)
    assert (await refused(auth.authenticator.authenticate(idle, PEER))).status == 401
    clock.now += 3 * 3600
    assert (await refused(auth.authenticator.authenticate(used, PEER))).status == 401
    await auth.tidy()
    assert list(auth.desk.mirror.of_kind("session")) == []


async def test_the_oldest_of_too_many_sessions_makes_room(auth: Auth, clock: Clock) -> None:
    await add_user(auth, "ann")
    await add_user(auth, "bob")
    bob = await auth.authenticator.login("bob", PASSWORD, PEER)
    cookies = []
    for _ in range(SESSIONS_MAX + 2):
        clock.now += 1
        cookies.append((await auth.authenticator.login("ann", PASSWORD, PEER)).cookie)
    alive = [auth.sessions.principal(each) is not None for each in cookies]
    assert alive == [False] * 2 + [True] * SESSIONS_MAX
    assert auth.sessions.principal(bob.cookie) is not None


@pytest.mark.parametrize("how", ["password", "disabled", "deleted"])
async def test_a_session_ends_with_the_password_and_the_user(auth: Auth, how: str) -> None:
    await add_user(auth, "ann")
    started = await auth.authenticator.login("ann", PASSWORD, PEER)
    if how == "password":
        await auth.users.update("ann", {"password": "a new long password!"}, ROOT)
    elif how == "disabled":
        await auth.users.update("ann", {"disabled": True}, ROOT)
    else:
        await auth.users.delete("ann", ROOT)
    headers = {"cookie": f"twinspan_session={started.cookie}"}
    assert (await refused(auth.authenticator.authenticate(headers, PEER))).status == 401


async def test_logins_that_fail_are_limited_by_source(auth: Auth) -> None:
    await add_user(auth, "ann")
    problems = [
        await refused(auth.authenticator.login(name, "a wrong password", PEER))
        for name in ["ann", "nobody"] * 6
    ]
    assert [each.status for each in problems] == [401] * 10 + [429] * 2
    assert len({str(each) for each in problems[:10]}) == 1  # nobody learns which users there are
    assert problems[-1].retry_after_s is not None
    assert problems[-1].retry_after_s <= 30
    assert (await refused(auth.authenticator.login("ann", PASSWORD, PEER))).status == 429
    elsewhere = Peer("192.0.2.8")
    for _ in range(12):
        await auth.authenticator.login("ann", PASSWORD, elsewhere)


async def test_a_failed_login_is_a_line_of_the_journal_that_a_stranger_can_not_break(
    auth: Auth,
) -> None:
    stream = io.StringIO()
    journal = Journal(stream, auth.desk.clock)
    made = make_auth(auth.desk, cost=CHEAP, journal=journal).authenticator
    await refused(made.login("ann\nlogin_ok user=root", "a wrong password", PEER))
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("login_failed name=")
    assert "source=192.0.2.7" in line
    assert "a wrong password" not in line


async def test_who_has_got_a_session_can_not_try_the_password_for_long(auth: Auth) -> None:
    ann = await add_user(auth, "ann")
    wrong = {"current_password": "a wrong password", "new_password": "a new long password!"}
    change = auth.authenticator.change_password
    problems = [await refused(change(wrong, ann)) for _ in range(11)]
    assert [each.status for each in problems] == [422] * 10 + [429]
    assert (await refused(change({**wrong, "current_password": PASSWORD}, ann))).status == 429
    assert await auth.users.with_password("ann", PASSWORD) is not None


async def test_wrong_tokens_are_limited_and_right_ones_are_not(auth: Auth) -> None:
    right = bearer(await add_token(auth, ROOT))
    wrong = bearer("tsp_" + "a" * 43)
    for _ in range(50):
        assert (await refused(auth.authenticator.authenticate(wrong, PEER))).status == 401
    assert (await refused(auth.authenticator.authenticate(wrong, PEER))).status == 429
    await auth.authenticator.authenticate(right, PEER)


async def test_requests_are_limited_by_principal(auth: Auth) -> None:
    limits = Limits(requests=Rate(burst=3, per_s=0.01))
    limited = make_auth(auth.desk, cost=CHEAP, limits=limits).authenticator
    one, other = bearer(await add_token(auth, ROOT)), bearer(await add_token(auth, ROOT))
    for _ in range(3):
        await limited.authenticate(one, PEER)
    problem = await refused(limited.authenticate(one, PEER))
    assert (problem.status, problem.code) == (429, "rate_limited")
    await limited.authenticate(other, PEER)


async def test_a_session_of_an_identity_provider_has_what_it_was_given(auth: Auth) -> None:
    await auth.tenants.create({"name": "red"}, ROOT)
    who = Principal("oidc:ann", "red", Scope.OPERATE)
    started = await auth.sessions.start_as(who, "192.0.2.7")
    assert auth.sessions.principal(started.cookie) == who
    await auth.tenants.delete("red", ROOT)
    assert auth.sessions.principal(started.cookie) is None
