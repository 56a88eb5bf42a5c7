"""Login and logout as a browser does them: cookies, the CSRF token, an identity provider."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from gateway.control.auth.authenticate import CSRF_HEADER
from tests.control.api.conftest import Plane
from tests.control.auth.provider import CLIENT, SECRET, Provider

PASSWORD = "correct horse battery"
ADA = {"name": "ada", "password": PASSWORD, "scope": "admin"}
LOGIN = {"name": "ada", "password": PASSWORD}


@pytest.fixture
async def browser(plane: Plane) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that comes over TLS and has no cookie yet; the user ada is there."""
    async with plane.client("main") as admin:
        assert (await admin.post("/v1/users", json=ADA)).status_code == 201
    transport = httpx.ASGITransport(plane.app)
    async with httpx.AsyncClient(transport=transport, base_url="https://control") as client:
        yield client


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    made.start()
    yield made
    made.stop()


async def set_up(plane: Plane, provider: Provider) -> None:
    table = {
        "issuer": provider.issuer,
        "client_id": CLIENT,
        "client_secret": SECRET,
        "redirect_uri": "https://control/v1/oidc/callback",
        "rules": [{"claim": "role", "value": "net", "scope": "operate", "tenant": "acme"}],
    }
    async with plane.client() as operator:
        made = await operator.put("/v1/settings/oidc", json=table)
        assert made.status_code == 200, made.text
        read = await operator.get("/v1/settings/oidc")
        assert read.headers["etag"] == made.headers["etag"]
        assert SECRET not in made.text + read.text
        log = await operator.get("/v1/audit-log?kind=setting")
        assert provider.issuer in log.text
        assert SECRET not in log.text


async def browse(url: str) -> str:
    """Ask the provider as the browser does; return the address it sends it back to."""
    async with httpx.AsyncClient() as client:
        return (await client.get(url)).headers["location"]


async def test_a_session_reads_and_writes_with_its_token_until_logout(
    browser: httpx.AsyncClient,
) -> None:
    begun = await browser.post("/v1/login", json=LOGIN)
    assert begun.status_code == 200, begun.text
    cookie = begun.headers["set-cookie"]
    assert re.match(r"__Host-twinspan_session=tss_", cookie)
    assert "HttpOnly; SameSite=Strict; Secure" in cookie
    assert (await browser.get("/v1/me")).json()["actor"] == "user:ada"
    gateway = {"name": "hq"}
    assert (await browser.post("/v1/border-gateways", json=gateway)).status_code == 403
    token = {CSRF_HEADER: begun.json()["csrf_token"]}
    made = await browser.post("/v1/border-gateways", json=gateway, headers=token)
    assert (made.status_code, made.json()["tenant"]) == (201, "main")
    log = (await browser.get("/v1/audit-log?kind=session")).json()["items"][0]
    assert (log["actor"], log["changes"][0]["action"]) == ("user:ada", "create")
    assert log["changes"][0]["after"]["address"] == "127.0.0.1"
    kept = browser.cookies["__Host-twinspan_session"]
    assert kept not in str(log)
    assert (await browser.post("/v1/logout", headers=token)).status_code == 204
    assert "__Host-twinspan_session" not in browser.cookies
    again = {"cookie": f"__Host-twinspan_session={kept}"}
    assert (await browser.get("/v1/me", headers=again)).status_code == 401


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "ada", "password": "another one"}, 401),
        ({"name": "eve", "password": PASSWORD}, 401),
        ({"name": "ada"}, 422),
        ({"name": "ada", "password": [PASSWORD]}, 422),
        ({"name": "ada" * 100_000, "password": PASSWORD}, 401),
        ({"name": "a\0", "password": PASSWORD}, 422),
    ],
)
async def test_a_login_that_fails_says_why_and_sets_no_cookie(
    browser: httpx.AsyncClient, body: dict[str, object], status: int
) -> None:
    refused = await browser.post("/v1/login", json=body)
    assert refused.status_code == status
    assert refused.headers["content-type"] == "application/problem+json"
    assert "set-cookie" not in refused.headers
    assert PASSWORD not in refused.text


async def test_failed_logins_end_in_429_with_a_time(browser: httpx.AsyncClient) -> None:
    wrong = {**LOGIN, "password": "another one"}
    answers = [await browser.post("/v1/login", json=wrong) for _ in range(11)]
    assert [each.status_code for each in answers] == [401] * 10 + [429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 30


async def test_a_browser_logs_in_by_the_provider(
    plane: Plane, browser: httpx.AsyncClient, provider: Provider
) -> None:
    await set_up(plane, provider)
    provider.claims = {"role": "net"}
    begun = await browser.get("/v1/oidc/login?next=/console/events")
    assert begun.status_code == 302
    assert "SameSite=Lax" in begun.headers["set-cookie"]
    page = await browser.get(await browse(begun.headers["location"]))
    assert page.status_code == 200, page.text
    assert 'url=/console/events"' in page.text
    me = await browser.get("/v1/me")
    assert me.json() == {"actor": "oidc:u-1", "tenant": "acme", "scope": "operate"}
    assert "__Host-twinspan_oidc" not in browser.cookies


@pytest.mark.parametrize("next", ["https://evil.example.net/", "//evil", "/console/\\x", '/"><b>'])
async def test_a_login_leads_nowhere_else(
    plane: Plane, browser: httpx.AsyncClient, provider: Provider, next: str
) -> None:
    await set_up(plane, provider)
    provider.claims = {"role": "net"}
    begun = await browser.get("/v1/oidc/login", params={"next": next})
    page = await browser.get(await browse(begun.headers["location"]))
    assert 'url=/console/"' in page.text
    assert "evil" not in page.text


async def test_a_login_that_the_provider_refuses_is_a_page_that_says_so(
    plane: Plane, browser: httpx.AsyncClient, provider: Provider
) -> None:
    assert (await browser.get("/v1/oidc/login")).status_code == 404
    await set_up(plane, provider)
    begun = await browser.get("/v1/oidc/login")
    provider.wrong = "denied"
    page = await browser.get(await browse(begun.headers["location"]))
    assert page.status_code == 401
    assert "access_denied" in page.text
    state = parse_qs(urlsplit(begun.headers["location"]).query)["state"][0]
    forged = {"error": "<script>alert(1)</script>", "state": state, "iss": provider.issuer}
    page = await browser.get("/v1/oidc/callback", params=forged)
    assert page.status_code == 401
    assert "<script" not in page.text
    assert (await browser.get("/v1/me")).status_code == 401


async def test_the_settings_in_the_guide_are_taken(plane: Plane) -> None:
    text = (Path(__file__).parents[3] / "docs/security.md").read_text()
    found = re.search(r"<<'JSON'\n(.*?)\nJSON\n", text, re.DOTALL)
    assert found is not None
    async with plane.client() as operator:
        made = await operator.put("/v1/settings/oidc", json=json.loads(found[1]))
        assert made.status_code == 200, made.text


async def test_the_providers_settings_are_the_operators(plane: Plane, provider: Provider) -> None:
    await set_up(plane, provider)
    for name in ("main", "read"):
        async with plane.client(name) as client:
            for method in ("GET", "PUT", "DELETE"):
                body: dict[str, object] | None = {} if method == "PUT" else None
                answer = await client.request(method, "/v1/settings/oidc", json=body)
                assert answer.status_code == 403
    async with plane.client() as operator:
        assert (await operator.put("/v1/settings/oidc", json={})).status_code == 422
        stale = {"If-Match": '"1"'}
        assert (await operator.delete("/v1/settings/oidc", headers=stale)).status_code == 412
        assert (await operator.delete("/v1/settings/oidc")).status_code == 204
        assert (await operator.get("/v1/settings/oidc")).status_code == 404
