"""The pages for which nodes are asked, and the customer's files, in a browser without scripts."""

from __future__ import annotations

import io
import zipfile

import pytest

from gateway.control.problems import ApiProblem
from gateway.control.registry import Done
from gateway.control.resources.record import Table
from tests.control.console.conftest import Site
from tests.control.registry import ROOT, connect

SILENT = ApiProblem(503, "unavailable", "node gw-a has not answered within 5 s")
SAID: list[Table] = [
    {
        "at": 1e9,
        "kind": "message",
        "sent": True,
        "local": "198.51.100.11:500",
        "remote": "203.0.113.50:500",
        "exchange": "IKE_SA_INIT 0 request",
        "line": "HDR, SAi1, KEi, Ni",
        "details": ["SAi1: aes256gcm16-prfsha384-x25519", "Ni: 32 bytes"],
    },
    {
        "at": 1e9 + 1,
        "kind": "message",
        "sent": False,
        "local": "198.51.100.11:500",
        "remote": "203.0.113.50:500",
        "exchange": "IKE_SA_INIT 0 response",
        "line": "HDR, N(NO_PROPOSAL_CHOSEN)",
        "details": [],
    },
    {
        "at": 1e9 + 1,
        "kind": "failed",
        "text": "no_proposal_chosen: <script>alert(1)</script>",
        "ours": "aes256gcm16",
        "theirs": "3des",
        "hint": "make the proposals overlap",
        "times": 3,
    },
]


def routes_of(done: Done) -> list[Table]:
    """Return two routes to one prefix, and one more that lost."""
    common = {
        "border_gateway": done.record.spec["border_gateway"],
        "connection": done.record.id,
        "next_hop_type": "vpn",
        "origin": "ebgp",
        "next_hops": ["169.254.1.2 tun1"],
        "as_path": "65001",
    }
    first, second = (one.id for one in done.others)
    return [
        {**common, "prefix": "10.0.0.0/16", "standing": "best", "owner": first, "why": "MED 1"},
        {**common, "prefix": "10.1.0.0/16", "standing": "best", "owner": first, "why": "only"},
        {**common, "prefix": "10.0.0.0/16", "standing": "standby", "owner": second, "why": "<b>"},
    ]


async def test_routes_are_shown_by_prefix_with_why_each_won_or_lost(site: Site) -> None:
    done = await connect(site.registry)
    site.answers["routes"] = {"routes": routes_of(done), "left_off": 4}
    await site.login()
    gateway = done.record.spec["border_gateway"]
    for place in (f"border-gateways/{gateway}", f"vpn-connections/{done.record.id}"):
        text = await site.page(f"/console/{place}/routes?table=propagated")
        assert text.count("<code>10.0.0.0/16</code>") == 1  # both routes stand at one prefix
        assert 'rowspan="4"' in text  # two nodes answer the same in this test
        assert ">office-1</a>" in text
        assert "MED 1" in text
        assert "&lt;b&gt;" in text
        assert "And 8 more" in text
        assert f"twinspan routes --border-gateway {gateway} --table propagated" in text
        assert f"GET /v1/{place}/routes?table=propagated" in text
    assert f"/vpn-connections/{done.record.id}/routes" in await site.page(
        f"/console/vpn-connections/{done.record.id}"
    )
    await site.page(
        f"/console/customer-gateways/{done.record.spec['customer_gateway']}/routes", 404
    )


async def test_a_node_that_does_not_answer_leaves_a_page_that_says_so(site: Site) -> None:
    done = await connect(site.registry)
    site.answers |= {"routes": SILENT, "negotiation": SILENT}
    await site.login()
    for place in (
        f"vpn-connections/{done.record.id}/routes",
        f"vpn-tunnels/{done.others[0].id}/negotiation",
    ):
        text = await site.page(f"/console/{place}", 503)
        assert "node gw-a has not answered within 5 s" in text
        assert "The same by API and command line" in text


async def test_a_negotiation_is_a_sequence_chart_that_can_be_read_without_scripts(
    site: Site,
) -> None:
    tunnel = (await connect(site.registry)).others[0]
    ends = [
        {"at": 1e9 + 3, "kind": "state", "text": "IKE SA up: aes256gcm16"},
        {"at": 1e9 + 4, "kind": "state", "text": "IKE SA down: closed: closed on request"},
    ]
    site.answers["negotiation"] = {"lines": [*SAID, *ends]}
    await site.login()
    text = await site.page(f"/console/vpn-tunnels/{tunnel.id}/negotiation")
    assert text.index('class="kind-state"') < text.index('class="kind-over"')  # not in green
    for words in ("IKE_SA_INIT 0 request", "HDR, SAi1, KEi, Ni", "Ni: 32 bytes", "theirs: 3des"):
        assert words in text
    assert text.index('aria-label="sent"') < text.index('aria-label="received"')
    assert "no_proposal_chosen: &lt;script&gt;alert(1)&lt;/script&gt; (3 times)" in text
    assert "make the proposals overlap" in text
    assert f"twinspan trace {tunnel.id} --last --fleet" in text


async def test_below_it_are_the_child_sas_that_there_are(site: Site) -> None:
    tunnel = (await connect(site.registry)).others[0]
    child = {"spi_in": "0x00a1b2c3", "spi_out": "0x00c3b2a1", "state": "installed", "sends": True}
    own = {**child, "spi_in": "<b>", "resource": 2, "in_packets": 4711, "out_packets": 0}
    site.answers |= {"negotiation": {"lines": SAID}, "explain": {"children": [child, own]}}
    await site.login()
    text = await site.page(f"/console/vpn-tunnels/{tunnel.id}/negotiation")
    table = text[text.index("<caption>Child SAs") :]
    assert table.index("0x00a1b2c3") < table.index("<td>all</td>") < table.index("&lt;b&gt;")
    assert "<td>2</td>" in table
    assert "4711" in table
    site.answers["explain"] = {"children": "none"}
    assert "can not be read" in await site.page(
        f"/console/vpn-tunnels/{tunnel.id}/negotiation", 503
    )


async def test_the_customers_files_are_shown_without_keys_until_somebody_asks(site: Site) -> None:
    done = await connect(site.registry)
    secret = await site.registry.reveal("vpn_tunnel", done.others[0].id, "psk", ROOT)
    key = secret.reveal().decode()
    await site.login()
    place = f"/console/vpn-connections/{done.record.id}/config"
    text = await site.page(f"{place}?device=strongswan-libipsec&secrets=1")
    assert "swanctl.conf" in text
    assert key not in text
    assert f"twinspan connection config {done.record.id} --device strongswan-libipsec" in text
    asked = {"device": "strongswan-libipsec", "secrets": "1", "tunnel": "office-1"}
    shown = await site.send(place, 200, **asked, do="show")
    assert key in shown.text
    archive = await site.send(place, 200, **asked, do="zip")
    assert archive.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(archive.content)) as files:
        assert files.testzip() is None
        folder = "office-1-strongswan-libipsec"  # of this tunnel: the other device has another
        assert f"{folder}/swanctl.conf" in files.namelist()
        assert key in files.read(f"{folder}/swanctl.conf").decode()
        assert files.getinfo(f"{folder}/swanctl.conf").external_attr >> 16 == 0o100600
    one = await site.send(place, 200, **asked, do="file:swanctl.conf")
    assert one.headers["content-disposition"] == 'attachment; filename="swanctl.conf"'
    assert key in one.text
    assert (await site.send(place, 404, **asked, do="file:../etc/passwd")).status_code == 404


async def test_a_download_has_what_the_connection_is_by_then(site: Site) -> None:
    done = await connect(site.registry)
    await site.login()
    place = f"/console/vpn-connections/{done.record.id}/config"
    before = await site.page(f"{place}?device=generic")
    await site.registry.update("vpn_connection", done.record.id, {"ike_lifetime_s": 7200}, ROOT)
    after = await site.send(place, 200, device="generic", do="file:sheet.md")
    assert "7200" not in before
    assert "7200" in after.text
    await site.registry.delete("vpn_connection", done.record.id, ROOT, cascade=True)
    gone = await site.send(place, 404, "/console/connect", device="generic", do="zip")
    assert "Not found" in gone.text


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ({"device": "toaster"}, "must be one of"),
        ({"device": "generic", "wan_interface": "eth0; rm"}, "is no name of an interface"),
        ({"device": "generic", "tunnel": "nothing"}, "nothing"),
        ({"device": "generic", "announce": "10.0.0.0/99"}, "10.0.0.0/99"),
    ],
)
async def test_what_can_not_be_made_is_said_and_stays_typed(
    site: Site, typed: dict[str, str], text: str
) -> None:
    done = await connect(site.registry)
    await site.login()
    place = f"/console/vpn-connections/{done.record.id}/config"
    for do in ("show", "zip"):
        answer = await site.send(place, 422, **typed, do=do)
        assert text in answer.text
        assert 'role="alert"' in answer.text


async def test_a_reader_gets_no_keys(site: Site) -> None:
    done = await connect(site.registry)
    await site.auth.users.create(
        {"name": "rita", "password": "another long password", "scope": "read", "tenant": "main"},
        ROOT,
        tenant="main",
    )
    await site.login("rita", "another long password")
    place = f"/console/vpn-connections/{done.record.id}/config"
    assert 'name="secrets"' not in await site.page(place)
    await site.send(place, 403, device="generic", secrets="1", do="zip")


async def test_a_new_node_gets_a_token_which_is_shown_once(site: Site) -> None:
    await site.login()
    made = await site.send("/console/nodes/new", name="gw-c", public_addresses="198.51.100.13")
    place = made.headers["location"]
    assert place.endswith("/do/token")
    assert "tsn-token-of-the-test" not in await site.page(place)
    shown = await site.send(place, 200)
    assert "tsn-token-of-the-test" in shown.text
    assert "--register-token-file" in shown.text


async def test_what_a_form_comes_to_is_told_as_it_is_typed_without_secrets(site: Site) -> None:
    done = await connect(site.registry)
    await site.login()
    at = "/console/connect"
    gateway = done.record.spec["border_gateway"]
    told = await site.send(
        *("/console/same/connect", 200, at),
        gateway=gateway,
        customer="new",
        customer_name="branch",
        customer_addresses="203.0.113.60",
        name="branch-1",
    )
    assert "twinspan cgw create --name branch --public-addresses 203.0.113.60" in told.text
    assert f"--border-gateway {gateway} --customer-gateway branch" in told.text
    tunnel = done.others[0]
    told = await site.send(
        "/console/same/vpn-tunnels", 200, at, of=tunnel.id, psk="hunter2-hunter2", rate_mbps="50"
    )
    assert f"twinspan tunnel update {tunnel.id}" in told.text
    assert "--rate-mbps 50" in told.text
    assert "hunter2" not in told.text
    for path in ("connect", "border-gateways/new", f"vpn-tunnels/{tunnel.id}/edit"):
        assert "The same by API and command line" in await site.page(f"/console/{path}")
