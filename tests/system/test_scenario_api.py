"""
The hybrid scenario through the API, with a real node and strongSwan and BIRD at the customer: what
is up and why not, edits, counters, guards (F2, F12, F15, F22, F23 of the product's scenarios),
restarts of control process and node in every order while traffic goes on (F19), and a customer with
four addresses from AWS's own files (F3).
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from functools import partial

import pytest

from lab import impair, iperf, office, stream
from lab.commands import wait_for, wait_within
from lab.control import Api, Refused, Table
from lab.fleet import Fleet, Member
from lab.netns import Lab
from lab.office import Hybrid
from lab.strongswan import Child, Connection, StrongSwan
from lab.topology import Site
from tests.importer import files
from tests.system.support import FIRST, SECOND, ping, reach_each_other

pytestmark = pytest.mark.system

BULK_BYTES = 40_000_000


@dataclass(slots=True)
class Cloud:
    """A control process with one node, and the customer's office behind both tunnels."""

    fleet: Fleet
    hybrid: Hybrid
    api: Api

    def tunnel(self, name: str = FIRST) -> Table:
        return self.fleet.tunnels()[name]

    def connection(self) -> Table:
        (found,) = self.api.all("vpn-connections")
        return found

    def change(self, name: str, **fields: object) -> Table:
        return self.api.change(f"vpn-tunnels/{self.tunnel(name)['id']}", **fields)

    def do(self, name: str, verb: str, **query: object) -> Table:
        return self.api.do(f"vpn-tunnels/{self.tunnel(name)['id']}/{verb}", **query)

    def reasons_of(self, name: str) -> set[str]:
        """Return the reasons in the last events of a tunnel."""
        page = self.api.get("events", resource=self.tunnel(name)["id"], limit=8)
        return {event["reason"] for event in page["items"]}

    def details(self, name: str) -> Table:
        """Return what a tunnel's node says of it."""
        return dict(self.api.get(f"vpn-tunnels/{self.tunnel(name)['id']}/explain")["details"])

    def configuration(self, name: str) -> str:
        """Return strongSwan's file for a tunnel, as the API makes it."""
        path = f"vpn-connections/{self.connection()['id']}/customer-config"
        made = self.api.get(path, device=office.DEVICE, tunnel=name, secrets="true")
        return next(str(one["text"]) for one in made["files"] if one["name"] == "swanctl.conf")

    @property
    def member(self) -> Member:
        return self.fleet.members[0]

    def wait_reason(self, name: str, code: str) -> Table:
        """Return why a tunnel is not up: the API says it within ten seconds, as is promised."""

        def said() -> Table | None:
            status = self.tunnel(name)["status"]
            reason = status["reason"]
            return reason if reason and reason["code"] == code else None

        return wait_within(f"{name} {code}", said, 10.0, every_s=0.1)


@pytest.fixture(scope="module")
def cloud(lab: Lab) -> Cloud:
    fleet = Fleet.build(lab)
    # What fails again and again is to be used again at once, unlike in real life.
    hybrid = office.hybrid(lab, fleet=fleet, settings={"flap_damping": False})
    return Cloud(fleet, hybrid, fleet.control.api())


def test_both_tunnels_come_up_and_the_api_says_so(cloud: Cloud) -> None:
    cloud.fleet.wait_tunnels("up")
    cloud.fleet.wait_applied()
    wait_for("HA", lambda: cloud.connection()["status"]["ha_status"] == "redundancy", 10.0)
    reach_each_other(cloud.hybrid.pair)
    for name, tunnel in cloud.fleet.tunnels().items():
        assert tunnel["status"]["admin"] == "up", name
        assert "psk" not in tunnel
    (node,) = cloud.api.all("nodes")
    assert node["status"]["operational"] == "up"


def test_the_api_says_which_tunnel_carries_a_flow_and_all_about_it(cloud: Cloud) -> None:
    """The node is asked: what its kernel does with the flow, and what both ends have agreed on."""
    a, b = cloud.hybrid.cloud, cloud.hybrid.office.site
    found = cloud.api.get("paths", source=a.host4, destination=b.host4)
    assert (found["verdict"], found["not_answered"]) == ("carried", [])
    assert found["names"][found["vpn_tunnel"]] == FIRST
    (item,) = found["items"]
    assert item["route"]["prefix"] == b.lan4
    shown = cloud.fleet.cli("path", a.host4, b.host4, "--proto", "tcp", "--dport", "443")
    assert f"  tunnel    {FIRST}" in shown
    assert "carried: by" in shown.splitlines()[-1]

    told = cloud.api.get(f"vpn-tunnels/{cloud.tunnel()['id']}/explain")
    assert told["not_answered"] is None
    assert told["agreed"]["peer_id"] == told["wanted"]["remote_id"]
    (child,) = told["agreed"]["children"]
    assert told["agreed"]["ike"].startswith("aes256gcm16")
    assert child["local_ts"] == ["0.0.0.0/0"]
    assert f"{FIRST} of office: admin up, up since" in cloud.fleet.cli("explain", FIRST)


def test_a_device_that_stops_ends_redundancy_not_traffic(cloud: Cloud) -> None:
    device = cloud.hybrid.office.devices[0]
    streams = cloud.hybrid.streams()
    device.swan.stop()
    wait_for(
        "no redundancy",
        lambda: cloud.connection()["status"]["ha_status"] == "no_redundancy",
        20.0,
        every_s=0.1,
    )
    cloud.hybrid.wait_by(2)
    device.start_charon()
    cloud.hybrid.wait_settled(60.0)
    wait_for("redundancy", lambda: cloud.connection()["status"]["ha_status"] == "redundancy", 20.0)
    for seen in streams.stop():
        assert seen.goes_on
        assert seen.silence_ms <= 1000


def test_an_edit_of_one_tunnel_leaves_the_other_and_the_traffic(cloud: Cloud) -> None:
    other = cloud.member.tunnels()[SECOND].spis
    streams = cloud.hybrid.streams()
    suites = ["aes128gcm16-x25519", "aes256gcm16-x25519"]
    changed = cloud.change(FIRST, esp_proposals=suites)
    assert changed["esp_proposals"] == suites
    cloud.fleet.wait_applied()
    cloud.do(FIRST, "rekey")
    cloud.hybrid.wait_settled()
    assert cloud.member.tunnels()[SECOND].spis == other
    for seen in streams.stop():
        assert seen.goes_on
        assert seen.silence_ms <= 1000


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_a_new_key_and_new_suites_at_both_ends_in_either_order(cloud: Cloud, first: str) -> None:
    """The tunnel stays the same resource, its twin's SAs stay, traffic hardly notices."""
    device, before = cloud.hybrid.office.devices[0], cloud.tunnel()
    twin = cloud.member.tunnels()[SECOND].spis
    group = {"ours": "ecp384", "theirs": "modp2048"}[first]
    key, suite = "0x" + secrets.token_hex(32), f"aes256-sha256-{group}"
    fields = {"psk": key, "ike_proposals": [suite], "esp_proposals": [suite]}
    streams = cloud.hybrid.streams()
    if first == "ours":
        cloud.change(FIRST, **fields)
        wait_for("a refusal", lambda: cloud.details(FIRST)["refused"], 10.0, every_s=0.1)
        device.swan.load_text(cloud.configuration(FIRST))
    else:
        text = re.sub(r"( (?:esp_)?proposals = ).*", rf"\g<1>{suite}", cloud.configuration(FIRST))
        device.swan.load_text(re.sub(r"( secret = ).*", rf"\g<1>{key}", text))
        cloud.change(FIRST, **fields)
    wait_for("the suites", lambda: _uses(cloud, group), 30.0, every_s=0.1)
    cloud.hybrid.wait_settled()
    for seen in streams.stop():
        assert seen.goes_on
        assert seen.silence_ms <= 1000
    assert cloud.tunnel()["id"] == before["id"]
    assert cloud.tunnel()["psk_version"] == before["psk_version"] + 1
    assert cloud.member.tunnels()[SECOND].spis == twin


def _uses(cloud: Cloud, group: str) -> bool:
    """Say whether the first tunnel's IKE SA is of a new group, and nothing is refused any more."""
    details = cloud.details(FIRST)
    return group in str(details["ike"]["suite"]) and not details["refused"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"psk": "0x" + "17" * 32}, "authentication_failed"),
        ({"ike_proposals": ["aes256gcm16-prfsha512-ecp521"]}, "no_proposal_chosen"),
        ({"remote_id": "somebody.else"}, "authentication_failed"),
    ],
)
def test_a_mistake_has_its_reason_within_ten_seconds(
    cloud: Cloud, fields: dict[str, object], code: str
) -> None:
    right = cloud.api.get(f"vpn-tunnels/{cloud.tunnel(SECOND)['id']}/psk")["psk"]
    cloud.change(SECOND, **fields)
    cloud.fleet.wait_applied()
    cloud.do(SECOND, "reset")
    reason = cloud.wait_reason(SECOND, code)
    assert reason["text"]
    told = cloud.api.get(f"vpn-tunnels/{cloud.tunnel(SECOND)['id']}/explain")
    assert (told["details"]["reason"]["code"], told["hint"]) == (code, reason["hint"])
    wait_for(f"the event {code}", lambda: code in cloud.reasons_of(SECOND), 10.0, every_s=0.1)
    back = {key: right if key == "psk" else None for key in fields}
    cloud.change(SECOND, **back)
    cloud.fleet.wait_applied()
    cloud.do(SECOND, "reset")
    cloud.fleet.wait_tunnels("up", timeout_s=60.0)


def test_a_path_where_ike_is_blocked_and_a_group_only_a_rekey_needs_have_their_reasons(
    cloud: Cloud,
) -> None:
    cloud.do(SECOND, "down")
    cloud.fleet.wait_tunnels("down", SECOND)
    with impair.cut_off(cloud.hybrid.office.devices[1].machine, "wan2"):
        cloud.do(SECOND, "up")
        cloud.wait_reason(SECOND, "peer_unreachable")
    cloud.fleet.wait_tunnels("up", SECOND, timeout_s=60.0)
    cloud.change(SECOND, esp_proposals=["aes256gcm16-ecp521"])
    cloud.fleet.wait_applied()
    wait_for("the refusal", lambda: cloud.details(SECOND)["refused"], 10.0, every_s=0.1)
    (refused,) = cloud.details(SECOND)["refused"]
    assert refused["code"] == "no_proposal_chosen"
    assert "ecp521" in refused["ours"]
    wait_for("its event", lambda: refused["code"] in cloud.reasons_of(SECOND), 10.0, every_s=0.1)
    assert cloud.tunnel(SECOND)["status"]["operational"] == "up"
    cloud.change(SECOND, esp_proposals=None)
    cloud.hybrid.wait_settled(60.0)


def test_counters_are_what_was_carried_and_a_tunnel_that_is_down_is_reported_too(
    cloud: Cloud,
) -> None:
    """In clear, encrypted, and in packets, as the node says when it is asked."""
    cloud.hybrid.wait_settled()
    site = cloud.hybrid.pair
    before = cloud.details(FIRST)
    flow = iperf.measure(
        site.a.host, site.b.host, site.b.host4, "-u", "-b", "20M", "-l", "1200", seconds=2.0
    )
    after = cloud.details(FIRST)

    def carried(key: str) -> int:
        return int(after[key]) - int(before[key])

    beside = 100  # packets of BGP and BFD meanwhile
    assert 0 <= carried("out_packets") - flow.sent <= beside
    assert carried("out_bytes") == pytest.approx(flow.sent * (1200 + 28), rel=0.01)
    # SPI and sequence number, IV, padding to four bytes with its own two, ICV (RFC 4303, RFC 4106)
    sealed = 1228 + 8 + 8 + 4 + 16
    assert carried("out_esp_bytes") == pytest.approx(flow.sent * sealed, rel=0.01)
    dropped = sum(after["drops"].values())  # by reason, those that there were

    def reported() -> bool:
        counted = cloud.tunnel()["status"]["counters"]
        is_sent = int(counted["out_bytes"]) >= int(after["out_bytes"])
        return is_sent and int(counted["drops"]) >= dropped

    wait_for("the report", reported, 15.0, every_s=0.5)
    cloud.do(SECOND, "down")
    cloud.fleet.wait_tunnels("down", SECOND)
    shown = cloud.tunnel(SECOND)["status"]
    assert shown["reason"]["code"] == "admin_down"
    assert shown["counters"] is not None
    cloud.do(SECOND, "up")
    cloud.hybrid.wait_settled(60.0)


def test_what_is_in_use_is_guarded_with_a_code(cloud: Cloud) -> None:
    connection = cloud.connection()
    refused = {
        f"vpn-connections/{connection['id']}": "in_use",
        f"border-gateways/{connection['border_gateway']}": "in_use",
        f"customer-gateways/{connection['customer_gateway']}": "in_use",
        f"nodes/{cloud.member.node}": "in_use",
        f"vpn-tunnels/{cloud.tunnel()['id']}": "tunnel_admin_up",
    }
    for path, code in refused.items():
        with pytest.raises(Refused) as caught:
            cloud.api.delete(path)
        assert (caught.value.status, caught.value.code) == (409, code)
    with pytest.raises(Refused) as caught:
        cloud.api.create("vpn-tunnels", vpn_connection="office", inner_cidr="169.254.99.0/29")
    assert caught.value.code == "inner_cidr_invalid"
    again = {key: cloud.tunnel()[key] for key in ("local_address", "remote_address")}
    with pytest.raises(Refused) as caught:
        cloud.api.create("vpn-tunnels", vpn_connection="office", **again)
    assert caught.value.code == "address_pair_in_use"
    cloud.api.change("settings/quotas", vpn_tunnel=2)
    with pytest.raises(Refused) as caught:
        cloud.api.create("vpn-tunnels", vpn_connection="office")
    assert (caught.value.status, caught.value.code) == (409, "quota_exceeded")
    cloud.api.delete("settings/quotas")
    assert cloud.connection()["revision"] == connection["revision"]
    assert set(cloud.fleet.tunnels()) == {FIRST, SECOND}
    cloud.hybrid.wait_settled()


def test_planned_work_through_the_api_loses_nothing(cloud: Cloud) -> None:
    streams = cloud.hybrid.streams()
    cloud.do(FIRST, "down")
    cloud.hybrid.wait_by(2)
    wait_for("down", lambda: cloud.tunnel()["status"]["operational"] == "down", 10.0)
    assert cloud.tunnel()["status"]["reason"]["code"] == "admin_down"
    # The edit takes it down, in its turn; nobody has said so on the node.
    assert "tunnel taken down" not in cloud.member.log_text()
    cloud.do(FIRST, "up")
    cloud.hybrid.wait_settled()
    for seen in streams.stop():
        assert seen.goes_on
        assert seen.lost == 0


def test_restarts_in_every_order_lose_no_tunnel_and_no_change(cloud: Cloud) -> None:
    control, member = cloud.fleet.control, cloud.member
    streams = cloud.hybrid.streams()
    control.kill()
    member.stop()  # the data plane goes on
    member.start()  # from its own copy of the document
    cloud.hybrid.wait_settled()
    control.start()
    cloud.fleet.wait_applied(30.0)
    cloud.change(FIRST, rate_mbps=500)
    cloud.fleet.wait_applied()
    for seen in streams.stop():
        assert seen.goes_on
        assert seen.silence_ms <= 1000  # nothing is lost by it, but strongSwan may wait for a CPU
    before = member.spis()
    streams = cloud.hybrid.streams(stream.PATIENT)
    member.kill()  # the next process goes on with its IKE SAs
    control.stop()
    control.start()
    member.start()
    cloud.fleet.wait_tunnels("up", timeout_s=60.0)
    cloud.hybrid.wait_settled()
    reach_each_other(cloud.hybrid.pair)
    assert member.spis() == before
    for seen in streams.stop():
        assert seen.goes_on
        assert seen.lost == 0
    cloud.change(FIRST, rate_mbps=None)
    cloud.fleet.wait_applied()


@pytest.mark.parametrize(
    ("kind", "fields", "code"),
    [
        ("vpn-connections", {"local_asn": 65009}, "bgp_asn_mismatch"),
        (
            "vpn-tunnels",
            {"inner_cidr": "169.254.99.0/30", "inner_local": "169.254.99.1"},
            "bgp_unreachable",
        ),
    ],
)
def test_a_mistake_of_routing_has_its_reason_within_ten_seconds(
    cloud: Cloud, kind: str, fields: dict[str, object], code: str
) -> None:
    one = cloud.connection() if kind == "vpn-connections" else cloud.tunnel(SECOND)
    cloud.api.change(f"{kind}/{one['id']}", **fields)
    cloud.fleet.wait_applied()
    reason = cloud.wait_reason(SECOND, code)
    assert reason["hint"]
    if code == "bgp_asn_mismatch":
        assert reason["ours"] == "AS 65009 to AS 65001"
    cloud.api.change(f"{kind}/{one['id']}", **{key: one[key] for key in fields})
    cloud.hybrid.office.wait_established(60.0)  # the first may be damped: it was down several times


def test_a_node_that_is_silent_is_shown_as_lost_and_its_tunnels_as_unknown(cloud: Cloud) -> None:
    member = cloud.member
    member.stop()
    lost = partial(cloud.fleet.wait_tunnels, "unknown", timeout_s=30.0)
    for tunnel in lost().values():
        assert tunnel["status"]["reason"]["code"] == "node_lost"
    reach_each_other(cloud.hybrid.pair)  # nothing was moved, nothing has stopped
    member.start()
    cloud.fleet.wait_tunnels("up")


# ---- four addresses of AWS ----

OUTER = tuple(f"203.0.113.1{number}" for number in range(4))
BEYOND, BEYOND_HOST = "10.77.0.0/24", "10.77.0.1"


def aws_file(at: int) -> str:
    """Return AWS's file of the connection toward our address of that index; routes are static."""
    text, ours = files.aws_xml(is_bgp=False), ("192.0.2.1", "198.51.100.1")[at]
    changes = {"192.0.2.1<": f"{ours}<", "0abc12de": f"0abc12d{at}"}
    changes["169.254.44."] = f"169.254.{44 + at}."
    changes |= {f"{files.OUTER[n]}<": f"{OUTER[2 * at + n]}<" for n in range(2)}
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


def aws_end(lab: Lab, site: Site) -> StrongSwan:
    """Start what stands for AWS's four endpoints, which wait for us to begin."""
    machine, outer = lab.namespace("aws"), tuple(f"{address}/24" for address in OUTER)
    lab.wire((site.gateway, "aws", ("203.0.113.1/24",)), (machine, "eth0", outer))
    machine.route("default", "via", "203.0.113.1")
    machine.ip("address", "add", f"{BEYOND_HOST}/32", "dev", "lo")
    child = Child(local_ts=(BEYOND,), remote_ts=(site.lan4,), esp="aes256gcm16-ecp384")
    connections = [
        Connection(
            name=f"aws-{number + 1}",
            local=theirs,
            remote=site.public4[number // 2],
            local_id=theirs,
            remote_id=site.public4[number // 2],
            psk=files.KEYS[number % 2],
            child=child,
            ike="aes256gcm16-prfsha384-ecp384",
        )
        for number, theirs in enumerate(OUTER)
    ]
    swan = StrongSwan(machine)
    swan.start()
    swan.load(connections)
    return swan


def test_four_addresses_of_aws_come_up_from_its_own_files(lab: Lab, cloud: Cloud) -> None:
    """AWS wants our addresses before it names its own: until then there are placeholders."""
    api, placeholders = cloud.api, [f"192.0.2.{number}" for number in range(100, 104)]
    customer = api.create("customer-gateways", name="aws", public_addresses=placeholders)
    (gateway,) = api.all("border-gateways")
    connection = api.create(
        "vpn-connections",
        name="aws",
        border_gateway=gateway["id"],
        customer_gateway="aws",
        tunnels=0,
    )
    assert connection["public_addresses"] == list(cloud.hybrid.cloud.public4)
    api.change(f"customer-gateways/{customer['id']}", public_addresses=list(OUTER))
    given = [cloud.fleet.control.directory / f"aws-{at}.xml" for at in range(2)]
    for at, file in enumerate(given):
        file.write_text(aws_file(at))
    swan = aws_end(lab, cloud.hybrid.cloud)
    words = ("--name", "aws", "--remote-cidr", BEYOND, "--fleet", "--yes")
    said = cloud.fleet.cli("import", "aws", *map(str, given), *words)
    assert "all is done" in said
    names = [f"aws-{number}" for number in range(1, 5)]
    shown = cloud.fleet.wait_tunnels("up", *names)
    assert [shown[name]["remote_address"] for name in names] == list(OUTER)
    wait_for("AWS", lambda: len(swan.sas()) == 4, 10.0)
    wait_for("traffic", lambda: ping(cloud.hybrid.cloud.host, BEYOND_HOST), 20.0)
    with pytest.raises(Refused) as caught:
        api.change(f"customer-gateways/{customer['id']}", public_addresses=placeholders)
    assert (caught.value.status, caught.value.code) == (409, "in_use")
