"""What a browser without scripts sees and can do: every page, every form, every refusal."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from gateway.control.api.render import moment
from gateway.control.auth.principal import system
from gateway.control.console import pages
from gateway.control.console.render import POLICY
from gateway.control.listen import parse_place
from gateway.control.resources.kinds import KINDS
from tests.control.console.conftest import Site
from tests.control.registry import ROOT, connect

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "\u202egnirts",
    "x" * 250,
]


async def test_nobody_sees_anything_without_a_session(site: Site) -> None:
    for path in ("", "vpn-tunnels", "connect", "audit", "vpn-tunnels/tun-x", "nodes/new"):
        text = await site.page(f"/console/{path}", 401)
        assert "main" not in re.findall(r"<td>(.*?)</td>", text)
        assert 'name="password"' in text


async def test_every_page_can_be_read_and_has_the_policy(site: Site) -> None:
    await connect(site.registry)
    await site.login()
    paths = ["", "connect", "events", "alarms", "audit"]
    for kind in KINDS.values():
        paths += [kind.path, f"{kind.path}/new"]
        for record in site.registry.mirror.of_kind(kind.name):
            paths += [f"{kind.path}/{record.id}", f"{kind.path}/{record.id}/edit"]
    for path in paths:
        answer = await site.browser.get(f"/console/{path}")
        assert answer.status_code == 200, path
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["cache-control"] == "no-store"
        for script in re.findall(r"<(?:script|style)[^>]*>[^<]+<", answer.text):
            pytest.fail(f"{path}: code in the page: {script}")
        assert not re.search(r"\son[a-z]+=|\sstyle=", answer.text), path
        for address in re.findall(r'(?:src|href|action)="([^"]*)"', answer.text):
            assert address.startswith(("/", "#", "?")), f"{path}: {address}"


async def test_a_connection_is_made_changed_and_deleted_by_forms(site: Site) -> None:
    await site.login()
    made = await site.send(
        "/console/connect",
        gateway=next(iter(site.registry.mirror.of_kind("border_gateway"))).id,
        customer="new",
        customer_name="branch",
        customer_addresses="203.0.113.60\n203.0.113.61",
        customer_asn="65010",
        name="branch",
        routing="bgp",
        remote_cidrs="10.9.0.0/16",
        profile="gcm",
    )
    place = made.headers["location"]
    text = await site.page(place)
    assert text.count("data-row-of=") == 2
    connection = site.registry.mirror.get("vpn_connection", place.rpartition("/")[2])
    assert connection is not None
    assert connection.spec["ike_proposals"] == ["aes256gcm16-prfsha384-x25519"]
    await site.send(
        f"{place}/edit", revision=str(connection.revision), description="<b>x</b>", name="branch"
    )
    assert "&lt;b&gt;x&lt;/b&gt;" in await site.page(place)
    first, second = list(site.registry.mirror.children("vpn_tunnel", connection.id))
    at = f"/console/vpn-tunnels/{first.id}"
    assert "down" in (await site.send(f"{at}/do/delete", 409)).text
    await site.send(f"{at}/do/down")
    await site.send(f"{at}/do/delete")
    assert "with all its tunnels" in await site.page(f"{place}/do/delete")
    await site.send(f"{place}/do/delete")
    assert site.registry.mirror.get("vpn_tunnel", second.id) is None
    assert (await site.browser.get(place)).status_code == 404


async def test_the_wizard_makes_all_or_nothing(site: Site) -> None:
    await site.login()
    before = {kind: list(site.registry.mirror.of_kind(kind)) for kind in KINDS}
    answer = await site.send(
        "/console/connect",
        422,
        gateway="new",
        gateway_name="second",
        gateway_asn="65001",
        customer="new",
        customer_name="same-asn",
        customer_addresses="203.0.113.60",
        customer_asn="65001",
        name="same",
        routing="bgp",
        remote_cidrs="10.9.0.0/16",
    )
    assert "AS number" in answer.text
    assert 'value="second"' in answer.text
    assert {kind: list(site.registry.mirror.of_kind(kind)) for kind in KINDS} == before


async def test_a_form_with_mistakes_keeps_what_was_typed(site: Site) -> None:
    await site.login()
    answer = await site.send(
        "/console/customer-gateways/new", 422, name="a b", public_addresses="1.2.3.4", asn="0"
    )
    assert 'value="a b"' in answer.text
    assert "must be 1 to 32 letters" in answer.text
    assert ">1.2.3.4</textarea>" in answer.text
    assert answer.text.count('aria-invalid="true"') == 2


async def test_one_field_is_checked_as_it_is_typed(site: Site) -> None:
    await site.login()
    at = "/console/connect"
    good = await site.send("/console/check/customer-gateways/name", 200, at, name="branch")
    assert '"e-name"' in good.text
    assert "must be" not in good.text
    bad = await site.send(
        "/console/check/connect/customer_addresses", 200, at, customer_addresses="x"
    )
    assert '"e-customer_addresses"' in bad.text
    assert "is not an IP address" in bad.text


async def test_two_people_who_edit_the_same_see_each_other(site: Site) -> None:
    done = await connect(site.registry)
    await site.login()
    place = f"/console/vpn-tunnels/{done.others[0].id}"
    old = str(done.others[0].revision)
    await site.send(f"{place}/edit", revision=old, rate_mbps="100")
    answer = await site.send(f"{place}/edit", 409, revision=old, rate_mbps="50")
    assert "Somebody else has changed it" in answer.text
    assert "<td>100</td><td>50</td>" in answer.text


async def test_what_was_typed_survives_the_end_of_the_session(site: Site) -> None:
    await site.login()
    text = await site.page("/console/border-gateways/new")
    token = re.search(r'name="csrf" value="([^"]+)"', text)
    assert token is not None
    site.browser.cookies.clear()
    typed = {"csrf": token[1], "name": "kept-name", "asn": "65099"}
    answer = await site.browser.post("/console/border-gateways/new", data=typed)
    assert answer.status_code == 401
    kept = dict(re.findall(r'name="(csrf|kept\.\w+)" value="([^"]*)"', answer.text))
    again = await site.browser.post(
        "/console/login",
        data={
            "name": "olga",
            "password": "correct horse battery staple",
            "next": "/console/border-gateways/new",
            **kept,
        },
    )
    text = await site.page(again.headers["location"])
    assert 'value="kept-name"' in text
    assert 'value="65099"' in text


async def test_a_form_of_another_site_does_nothing(site: Site) -> None:
    await site.login()
    answer = await site.browser.post("/console/border-gateways/new", data={"name": "forged"})
    assert answer.status_code == 403
    assert all(one.name != "forged" for one in site.registry.mirror.of_kind("border_gateway"))


async def test_another_site_logs_nobody_in(site: Site) -> None:
    typed = {"name": "olga", "password": "correct horse battery staple"}
    foreign = re.search(r'name="csrf" value="([^"]+)"', await site.page("/console/login"))
    assert foreign is not None
    site.browser.cookies.clear()
    for csrf in ("", foreign[1]):  # the attacker's own form's, in a browser without its cookie
        answer = await site.browser.post("/console/login", data={**typed, "csrf": csrf})
        assert answer.status_code == 403
        assert "log in once more" in answer.text
        assert "twinspan_session" not in answer.headers["set-cookie"]
    await site.login()


async def test_the_login_offers_the_identity_provider_when_there_is_one(site: Site) -> None:
    assert "/v1/oidc/login" not in await site.page("/console/login")
    rules = [{"claim": "role", "value": "net", "scope": "read", "tenant": "main"}]
    settings = {
        "issuer": "https://login.example.net",
        "client_id": "twinspan",
        "redirect_uri": "https://vpn.example.net/v1/oidc/callback",
        "rules": rules,
    }
    await site.auth.oidc_settings.put(settings, system("test"))
    assert "/v1/oidc/login?next=/console/" in await site.page("/console/login")


async def test_login_leads_nowhere_else(site: Site) -> None:
    for next in ("https://evil.example/", "//evil.example", "/console/../v1", "/\\evil"):
        password = "correct horse battery staple"
        answer = await site.send("/console/login", name="olga", password=password, next=next)
        assert answer.headers["location"].startswith("/console/")
        site.browser.cookies.clear()
    wrong = await site.send("/console/login", 401, name="olga", password="x")
    assert "name or password is wrong" in wrong.text


@pytest.mark.parametrize("text", HOSTILE)
async def test_a_hostile_description_is_text(site: Site, text: str) -> None:
    await site.login()
    await site.send("/console/border-gateways/new", name="odd", description=text)
    record = next(
        one for one in site.registry.mirror.of_kind("border_gateway") if one.name == "odd"
    )
    for path in ("border-gateways", f"border-gateways/{record.id}", "", "audit"):
        shown = await site.page(f"/console/{path}")
        assert "<script>alert" not in shown
        assert "<img src=x" not in shown


async def test_64_kib_of_description_are_refused_at_the_field(site: Site) -> None:
    await site.login()
    answer = await site.send("/console/border-gateways/new", 422, name="x", description="y" * 65536)
    assert "at most 256" in answer.text


async def test_a_reader_sees_no_button_and_can_not_do_it_either(site: Site) -> None:
    done = await connect(site.registry)
    await site.auth.users.create(
        {"name": "rita", "password": "another long password", "scope": "read", "tenant": "main"},
        ROOT,
        tenant="main",
    )
    await site.login("rita", "another long password")
    place = f"/console/vpn-tunnels/{done.others[0].id}"
    assert "/do/" not in await site.page(place)
    assert "/edit" not in await site.page(place)
    await site.page(f"{place}/do/reset", 403)
    await site.page("/console/nodes/new", 403)
    assert site.acted == []


async def test_verbs_are_done_after_they_are_confirmed(site: Site) -> None:
    done = await connect(site.registry)
    await site.login()
    tunnel = done.others[0]
    text = await site.page(f"/console/vpn-tunnels/{tunnel.id}/do/rekey")
    assert "POST /v1/vpn-tunnels" in text
    assert f"twinspan tunnel rekey {tunnel.id}" in text
    for verb in ("drain", "rekey", "reset"):
        await site.send(f"/console/vpn-tunnels/{tunnel.id}/do/{verb}")
    assert site.acted == [(verb, tunnel.id) for verb in ("drain", "rekey", "reset")]


async def test_a_drained_tunnel_is_let_back_by_up_which_its_node_is_told(site: Site) -> None:
    tunnel = (await connect(site.registry)).others[0]
    await site.login()
    place = f"/console/vpn-tunnels/{tunnel.id}"
    site.live[tunnel.id] = {"operational": "up", "reason": None, "standing": "normal"}
    assert "/do/up" not in await site.page(place)
    site.live[tunnel.id] = {"operational": "up", "reason": None, "standing": "demoted"}
    assert "/do/up" in await site.page(place)
    await site.send(f"{place}/do/up")
    assert site.acted == [("up", tunnel.id)]


async def test_the_overview_shows_what_is_down_and_why(site: Site) -> None:
    done = await connect(site.registry)
    up, down = done.others
    site.live[up.id] = {"operational": "up", "reason": None, "since": None}
    site.live[down.id] = {
        "operational": "down",
        "since": None,
        "reason": {
            "code": "no_proposal_chosen",
            "text": "nothing in common",
            "ours": "a",
            "theirs": "b",
            "hint": "PFS",
        },
    }
    await site.login()
    text = await site.page("/console/")
    assert 'class="tunnel up" d=' in text
    row = re.search(rf'<tr data-row-of="{down.id}">.*?</tr>', text, re.DOTALL)
    assert row is not None
    assert "no_proposal_chosen" in row[0]
    assert f'data-row-of="{up.id}"' not in text
    detail = await site.page(f"/console/vpn-tunnels/{down.id}")
    for word in ("no_proposal_chosen", "nothing in common", "<dd>a</dd>", "<dd>b</dd>", "PFS"):
        assert word in detail


@pytest.mark.parametrize(
    ("states", "word"),
    [
        (("up", "up"), "up"),
        (("up", "down"), "not redundant"),
        (("up", "connecting"), "not redundant"),
        (("connecting", "down"), "down"),
        (("unknown", "unknown"), "unknown"),
    ],
)
async def test_a_connection_is_not_down_while_one_of_its_tunnels_is_up(
    site: Site, states: tuple[str, str], word: str
) -> None:
    done = await connect(site.registry)
    for tunnel, state in zip(done.others, states, strict=True):
        site.live[tunnel.id] = {"operational": state, "reason": None, "since": None}
    await site.login()
    text = await site.page(f"/console/vpn-connections/{done.record.id}")
    shown = re.search(r'<span id="state".*?</span> ([^<]*)</span></span>', text)
    assert shown is not None
    assert shown[1] == word
    assert f"</span> {word}</span>" in await site.page("/console/vpn-connections")


async def test_first_steps_stand_until_a_tunnel_was_up(site: Site) -> None:
    await site.login()
    assert "First steps" in await site.page("/console/")
    done = await connect(site.registry)
    for tunnel in done.others:
        site.live[tunnel.id] = {"operational": "connecting", "reason": None}
    text = await site.page("/console/")
    assert "First steps" in text
    assert f"/console/vpn-connections/{done.record.id}/config" in text  # what comes next
    site.live[done.others[0].id] = {"operational": "up", "reason": None}
    assert "First steps" not in await site.page("/console/")


@pytest.mark.parametrize(
    ("listens", "host", "url"),
    [
        ("0.0.0.0:9444", "vpn.example.net", "https://vpn.example.net:9444"),
        ("0.0.0.0:8444", "127.0.0.1:8080", "https://CONTROL:8444"),
        ("0.0.0.0:8444", "localhost", "https://CONTROL:8444"),
        ("192.0.2.9:8444", "127.0.0.1:8080", "https://192.0.2.9:8444"),
        ("[2001:db8::9]:8444", "127.0.0.1", "https://[2001:db8::9]:8444"),
    ],
)
async def test_a_token_is_shown_with_where_it_is_good(
    site: Site, listens: str, host: str, url: str
) -> None:
    await site.login()
    node = next(iter(site.registry.mirror.of_kind("node")))
    place = f"/console/nodes/{node.id}/do/token"
    text = (await site.send(place, 200)).text
    assert "does not listen for gateways" in text
    assert "--listen-nodes" in text
    site.source._nodes_at = parse_place(listens)
    site.browser.headers["host"] = host
    text = (await site.send(place, 200)).text
    assert "does not listen" not in text
    assert f"twinspan gateway --control {url} " in text
    assert ("CONTROL is this machine" in text) == ("CONTROL" in url)


def test_a_tunnel_whose_event_is_forgotten_has_been_what_it_is_since_then() -> None:
    now = time.time()
    tunnel: dict[str, Any] = {"status": {"operational": "up", "since": moment(now - 600.0)}}
    (span,) = pages._spans([], tunnel)
    assert (round(span[0] - now), span[2]) == (-600, "up")
    events = [
        {"code": "tunnel_up", "at_s": now - 600.0},
        {"code": "tunnel_down", "at_s": now - 900},
    ]
    assert [one[2] for one in pages._spans(events, tunnel)][-1] == "down"


async def test_a_list_is_searched_and_paged(site: Site) -> None:
    for number in range(120):
        await site.registry.create(
            "customer_gateway",
            {
                "name": f"g{number:03}",
                "tags": {"n": f"no-{number}"},  # which no id has in it
                "public_addresses": [f"192.0.2.{number + 1}"],
            },
            ROOT,
        )
    await site.login()
    first = await site.page("/console/customer-gateways")
    assert "121 in all" in first
    assert "1 of 2" in first
    second = await site.page("/console/customer-gateways?page=2")
    assert "g119" in second
    found = await site.page("/console/customer-gateways?q=no-77")
    assert "g077" in found
    assert "1 in all" in found


async def test_the_series_of_a_tunnel_is_json(site: Site) -> None:
    done = await connect(site.registry)
    await site.login()
    text = await site.page(f"/console/vpn-tunnels/{done.others[0].id}/series")
    assert json.loads(text) == {"at": []}
    await site.page("/console/vpn-tunnels/tun-none/series", 404)


async def test_static_files_are_kept_and_nothing_else_is_served(site: Site) -> None:
    answer = await site.browser.get("/console/static/console.css")
    assert answer.status_code == 200
    assert "immutable" in answer.headers["cache-control"]
    for name in ("../templates/base.html", "%2e%2e/app.py", "nothing"):
        assert (await site.browser.get(f"/console/static/{name}")).status_code in (401, 404)
