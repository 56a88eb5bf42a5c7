"""Login by an identity provider, and its JWTs, against a real little provider on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.control.auth import fetch
from gateway.control.auth.fetch import Fetch
from gateway.control.auth.oidc import COOKIE, Oidc
from gateway.control.auth.principal import Principal, Scope
from gateway.control.auth.provider import AGAIN_S
from gateway.control.auth.service import Auth
from gateway.control.problems import ApiProblem
from gateway.control.secrets import is_sealed
from gateway.control.store.interface import Key
from tests.control.auth.provider import CLIENT, SECRET, Provider
from tests.control.auth.support import PEER, ROOT, Clock, add_user, bearer

RULES = [
    {"claim": "groups", "value": "fleet", "scope": "admin", "tenant": ""},
    {"claim": "groups", "value": "red-ops", "scope": "operate", "tenant": "red"},
    {"claim": "role", "value": "viewer", "scope": "read", "tenant_claim": "org"},
]


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def oidc(auth: Auth, provider: Provider) -> Oidc:
    await auth.tenants.create({"name": "red"}, ROOT)
    await auth.oidc_settings.put(table_for(provider), ROOT)
    return auth.oidc


def table_for(provider: Provider, **more: object) -> dict[str, Any]:
    return {
        "issuer": provider.issuer,
        "client_id": CLIENT,
        "client_secret": SECRET,
        "redirect_uri": "https://vpn.example.net/v1/oidc/callback",
        "rules": RULES,
        "api_audience": "twinspan-api",
        **more,
    }


async def browse(url: str) -> dict[str, str]:
    """Follow a login to the provider as a browser does; return the query it comes back with."""
    place = urlsplit(url)

    def get() -> str:
        connection = HTTPConnection(place.netloc, timeout=5)
        connection.request("GET", f"{place.path}?{place.query}")
        answer = connection.getresponse()
        connection.close()
        return answer.headers["Location"]

    back = urlsplit(await asyncio.to_thread(get))
    return {name: values[0] for name, values in parse_qs(back.query).items()}


async def log_in(oidc: Oidc) -> Principal:
    begun = await oidc.begin()
    return (await oidc.finish(await browse(begun.url), begun.cookie))[0]


async def refused(call: object) -> ApiProblem:
    with pytest.raises(ApiProblem) as error:
        await call  # type: ignore[misc] # a coroutine
    return error.value


@pytest.mark.parametrize(
    ("claims", "who"),
    [
        ({"groups": ["fleet"]}, Principal("oidc:u-1", "", Scope.ADMIN)),
        ({"groups": ["x", "red-ops"]}, Principal("oidc:u-1", "red", Scope.OPERATE)),
        ({"groups": "red-ops"}, Principal("oidc:u-1", "red", Scope.OPERATE)),
        ({"role": "viewer", "org": "red"}, Principal("oidc:u-1", "red", Scope.READ)),
    ],
)
async def test_the_first_rule_that_fits_says_tenant_and_scope(
    oidc: Oidc, provider: Provider, claims: dict[str, Any], who: Principal
) -> None:
    provider.claims = claims
    assert await log_in(oidc) == who


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"groups": ["fleet-2"]},
        {"groups": {"fleet": True}},
        {"role": "viewer"},
        {"role": "viewer", "org": ""},  # the operator is never named by a claim
        {"role": "viewer", "org": ["red"]},
        {"role": "viewer", "org": "gone"},
        {"role": "viewer", "org": "red\n"},
        {"groups": ["fleet"], "sub": "\u202eroot"},
        {"groups": ["fleet"], "sub": "x" * 5000},
    ],
)
async def test_whom_no_rule_fits_gets_nowhere(
    oidc: Oidc, provider: Provider, claims: dict[str, Any]
) -> None:
    provider.claims = claims
    assert (await refused(log_in(oidc))).status == 403


async def test_a_login_becomes_a_session_that_is_no_user_of_that_name(
    auth: Auth, oidc: Oidc, provider: Provider
) -> None:
    await add_user(auth, "u-1", "admin", "")
    provider.claims = {"groups": ["red-ops"]}
    begun = await oidc.begin("/console/x")
    headers = {"cookie": f"{COOKIE}={begun.cookie}"}
    query = await browse(begun.url)
    started, next = await auth.authenticator.login_by_provider(query, headers, PEER)
    assert next == "/console/x"
    headers = {"cookie": f"twinspan_session={started.cookie}"}
    who = await auth.authenticator.authenticate(headers, PEER)
    assert who == Principal("oidc:u-1", "red", Scope.OPERATE)
    assert auth.users.list(who) == []
    assert (await refused(auth.tokens.create({"name": "a"}, who, tenant=None))).status == 403


@pytest.mark.parametrize("wrong", ["denied", "nonce", "azp", "mix-up"])
async def test_what_the_provider_gets_wrong_is_no_login(
    oidc: Oidc, provider: Provider, wrong: str
) -> None:
    provider.claims, provider.wrong = {"groups": ["fleet"]}, wrong
    problem = await refused(log_in(oidc))
    assert (problem.status, problem.code) == (401, "login_failed")


@pytest.mark.parametrize("wrong", ["issuer", "plain keys", "redirect", "huge"])
async def test_a_provider_that_describes_itself_wrongly_is_not_used(
    oidc: Oidc, provider: Provider, wrong: str
) -> None:
    provider.wrong = wrong
    problem = await refused(oidc.begin())
    assert (problem.status, problem.code) == (503, "unavailable")
    assert "/elsewhere" not in provider.asked


async def test_while_the_provider_is_down_nobody_waits_for_another_one(
    oidc: Oidc, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.wrong = "issuer"
    before = len(provider.asked)
    problems = await asyncio.gather(*(refused(oidc.begin()) for _ in range(50)))
    assert {one.status for one in problems} == {503}
    assert len(provider.asked) == before + 1  # all were told by the answer to the first one
    provider.wrong = ""
    assert (await refused(oidc.begin())).status == 503
    monkeypatch.setattr("gateway.control.auth.provider.DOWN_S", 0.0)
    assert (await oidc.begin()).url


async def test_no_more_than_some_wait_for_answers(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "WAITING_MAX", 0)
    place = f"{provider.issuer}/.well-known/openid-configuration"
    asking = Fetch()
    answers = await asyncio.gather(*(asking.get(place) for _ in range(6)), return_exceptions=True)
    assert ["others wait" in str(one) for one in answers] == [False] * 4 + [True] * 2
    assert (await asking.get(place))["issuer"] == provider.issuer


async def test_a_code_opens_once_and_in_its_own_browser_only(
    oidc: Oidc, provider: Provider, clock: Clock
) -> None:
    provider.claims = {"groups": ["fleet"]}
    mine, other = await oidc.begin(), await oidc.begin()
    query = await browse(mine.url)
    assert "another window" in str(await refused(oidc.finish(query, other.cookie)))
    for cookie in (None, "", "sealed:v1:0:a:b", mine.cookie[:-4], "\0"):
        assert "lost its cookie" in str(await refused(oidc.finish(query, cookie)))
    assert (await oidc.finish(query, mine.cookie))[0].actor == "oidc:u-1"
    assert "invalid_grant" in str(await refused(oidc.finish(query, mine.cookie)))
    late = await oidc.begin()
    query = await browse(late.url)
    clock.now += 601
    assert "too long" in str(await refused(oidc.finish(query, late.cookie)))


async def test_a_wrong_client_secret_is_told(auth: Auth, oidc: Oidc, provider: Provider) -> None:
    await auth.oidc_settings.put(table_for(provider, client_secret="wrong"), ROOT)
    assert "invalid_client" in str(await refused(log_in(oidc)))


async def test_a_jwt_for_the_api_is_a_credential(
    auth: Auth, oidc: Oidc, provider: Provider
) -> None:
    provider.claims = {"groups": ["red-ops"]}
    headers = bearer(provider.token("twinspan-api"))
    who = await auth.authenticator.authenticate(headers, PEER, "POST")
    assert who == Principal("oidc:u-1", "red", Scope.OPERATE)
    for _ in range(20):
        await auth.authenticator.authenticate(headers, PEER)
    assert provider.asked == ["/.well-known/openid-configuration", "/jwks"]


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": CLIENT},
        {"aud": None},
        {"iss": "https://evil.example.net"},
        {"exp": 1_700_000_000},
        {"exp": None},
        {"iat": None},
        {"nbf": 4_000_000_000},
        {"sub": None},
    ],
)
async def test_a_jwt_that_is_not_for_us_now_is_none(
    auth: Auth, oidc: Oidc, provider: Provider, claims: dict[str, Any]
) -> None:
    provider.claims = {"groups": ["fleet"]}
    headers = bearer(provider.token("twinspan-api", **claims))
    assert (await refused(auth.authenticator.authenticate(headers, PEER))).status == 401


async def test_a_jwt_that_the_provider_has_not_signed_is_none(
    auth: Auth, oidc: Oidc, provider: Provider
) -> None:
    provider.claims = {"groups": ["fleet"]}
    good = provider.token("twinspan-api")
    claims = jwt.decode(good, options={"verify_signature": False})
    own = ec.generate_private_key(ec.SECP256R1())
    head, body, signature = good.split(".")
    forged = [
        jwt.encode(claims, own, algorithm="ES256", headers={"kid": "one"}),
        jwt.encode(claims, "", algorithm="none", headers={"kid": "one"}),
        jwt.encode(claims, b"secret" * 8, algorithm="HS256", headers={"kid": "mac"}),
        jwt.encode(claims, own, algorithm="ES256", headers={"kid": "rsa"}),
        jwt.encode(claims, own, algorithm="ES256"),
        f"{head}.{body}.{signature[:-8]}AAAAAAAA",
        f"{head}.{body}.",
        "..",
        "\u202e.a.b",
        f"{head}.{'x' * (1 << 20)}.{signature}",
        f"{'[' * 5000}.{body}.{signature}",
    ]
    for each in forged:
        assert (await refused(auth.authenticator.authenticate(bearer(each), PEER))).status == 401


async def test_a_new_key_is_found_and_invented_ones_do_not_make_us_ask(
    auth: Auth, oidc: Oidc, provider: Provider
) -> None:
    now = [1000.0]
    mine = Oidc(auth.desk, auth.oidc_settings, Fetch(), lambda: now[0])
    provider.claims = {"groups": ["fleet"]}
    await mine.of_jwt(provider.token("twinspan-api"))
    provider.rotate("two")
    for _ in range(5):
        assert (await refused(mine.of_jwt(provider.token("twinspan-api")))).status == 401
    assert provider.asked.count("/jwks") == 1
    now[0] += AGAIN_S
    await mine.of_jwt(provider.token("twinspan-api"))
    assert provider.asked.count("/jwks") == 2


async def test_a_provider_that_is_away_stops_logins_and_not_the_keys_we_have(
    auth: Auth, oidc: Oidc, provider: Provider
) -> None:
    now = [1000.0]
    mine = Oidc(auth.desk, auth.oidc_settings, Fetch(0.5), lambda: now[0])
    provider.claims = {"groups": ["fleet"]}
    token = provider.token("twinspan-api")
    await mine.of_jwt(token)
    provider.wrong = "redirect"
    now[0] += 7200
    assert (await mine.of_jwt(token)).scope is Scope.ADMIN
    assert (await refused(mine.begin())).status == 503


async def test_the_secret_is_sealed_and_never_told(auth: Auth, provider: Provider) -> None:
    shown = await auth.oidc_settings.put(table_for(provider), ROOT)
    assert SECRET not in json.dumps(shown)
    assert shown["client_secret_version"] == 1
    stored = json.loads((await auth.desk.store.get(Key("setting", "oidc"))).value)
    assert is_sealed(stored["spec"]["client_secret"])
    kept = await auth.oidc_settings.put(table_for(provider, client_secret=None), ROOT)
    assert kept["client_secret_version"] == 1
    assert auth.oidc_settings.spec().client_secret == SECRET
    other = table_for(provider, client_secret=None, issuer="https://other.example.net")
    await auth.oidc_settings.put(other, ROOT)
    assert auth.oidc_settings.spec().client_secret is None  # it is the first provider's


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"issuer": "http://login.example.net"}, "oidc.issuer"),
        ({"issuer": "file:///etc/passwd"}, "oidc.issuer"),
        ({"issuer": "https://a b"}, "oidc.issuer"),
        ({"issuer": "https://[::1"}, "oidc.issuer"),
        ({"issuer": 7}, "oidc.issuer"),
        ({"issuer": "https://user:pw@x.example.net"}, "oidc.issuer"),
        ({"client_id": "x" * (1 << 20)}, "oidc.client_id"),
        ({"client_secret": "a\0"}, "oidc.client_secret"),
        ({"rules": []}, "oidc.rules"),
        ({"rules": [{"claim": "a", "value": "b", "scope": "admin"}]}, "oidc.rules.0"),
        (
            {"rules": [{"claim": "a", "value": "b", "scope": "root", "tenant": ""}]},
            "oidc.rules.0.scope",
        ),
        ({"api_audience": CLIENT}, "oidc"),
        ({"scopes": ["email"]}, "oidc"),
        ({"secret": "x"}, "oidc.secret"),
    ],
)
async def test_settings_that_are_wrong_are_named(
    auth: Auth, provider: Provider, more: dict[str, Any], field: str
) -> None:
    problem = await refused(auth.oidc_settings.put(table_for(provider, **more), ROOT))
    assert (problem.status, problem.field) == (422, field)
    assert SECRET not in json.dumps(problem.as_json())
    assert not auth.oidc_settings.is_on


async def test_settings_are_the_operators(auth: Auth, oidc: Oidc, provider: Provider) -> None:
    red = await add_user(auth, "ann", "admin", "red")
    for call in (
        auth.oidc_settings.put(table_for(provider), red),
        auth.oidc_settings.delete(red),
    ):
        assert (await refused(call)).status == 403
    revision = auth.oidc_settings.show(ROOT)["revision"]
    assert (await refused(auth.oidc_settings.delete(ROOT, expected=revision - 1))).status == 412
    await auth.oidc_settings.delete(ROOT, expected=revision)
    assert (await refused(oidc.begin())).status == 404
    assert (await refused(oidc.of_jwt(provider.token("twinspan-api")))).status == 401
