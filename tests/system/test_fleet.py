"""
A gateway of a control plane: it comes up by it, and needs it for nothing but changes.

    host a --- gw a (twinspan, a node) ==== wan1, wan2 ==== gw b (twinspan, by file) --- host b
                |
            control (twinspan control)
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from lab import sites, topology
from lab.commands import wait_for
from lab.control import Api, Table
from lab.fleet import Fleet, Member
from lab.netns import Lab
from lab.topology import Pair
from lab.twinspan import Twinspan, Value
from tests.system.support import reach_each_other

pytestmark = pytest.mark.system


@dataclass(slots=True)
class Ground:
    """The control plane with its API, the node at site a, the other end at site b."""

    pair: Pair
    fleet: Fleet
    node: Member
    far: Twinspan

    @property
    def api(self) -> Api:
        return self.fleet.control.api()

    def status(self) -> Table:
        return dict(self.api.get(f"nodes/{self.node.node}")["status"])

    def change(self, **fields: object) -> None:
        (connection,) = self.api.all("vpn-connections")
        self.api.change(f"vpn-connections/{connection['id']}", **fields)


@pytest.fixture(scope="module")
def ground(lab: Lab) -> Ground:
    pair, keys = topology.four_machines(lab), sites.Secrets()
    fleet = Fleet.build(lab)
    node = fleet.join(pair.a.gateway, *pair.a.public4)
    settings: dict[str, Value] = {"liveness_s": 1, "liveness_timeout_s": 2}
    far = Twinspan(pair.b.gateway, sites.document(pair.b, pair.a, keys, settings=settings))
    far.start()
    _connect(fleet.control.api(), pair, keys)
    return Ground(pair, fleet, node, far)


def _connect(api: Api, pair: Pair, keys: sites.Secrets) -> None:
    """Make what `sites.document` says of site a, by the API."""
    api.create("border-gateways", name="main")
    api.create(
        "vpc-attachments",
        name="vpc",
        border_gateway="main",
        interface="lan",
        cidrs=[pair.a.lan4],
    )
    api.create("customer-gateways", name="office", public_addresses=list(pair.b.public4))
    api.create(
        "vpn-connections",
        name="office",
        border_gateway="main",
        customer_gateway="office",
        routing="static",
        remote_cidrs=[pair.b.lan4],
        liveness_s=1,
        liveness_timeout_s=2,
        tunnel=[
            {
                "local_address": pair.a.public4[at],
                "remote_address": pair.b.public4[at],
                "inner_cidr": f"169.254.1{at + 1}.0/30",
                "psk": keys.psk[at],
            }
            for at in range(2)
        ],
    )


def test_tunnels_come_up_and_are_shown_with_their_counters(ground: Ground) -> None:
    ground.node.wait_up(timeout_s=30.0)
    shown = ground.fleet.wait_tunnels("up", timeout_s=5.0)
    assert set(shown) == {"office-1", "office-2"} == set(ground.node.tunnels())
    reach_each_other(ground.pair)
    assert ground.status()["operational"] == "up"
    wait_for("counters", lambda: _received(ground) > 0, 10.0)
    (connection,) = ground.api.all("vpn-connections")
    assert connection["status"]["ha_status"] == "redundancy"
    wanted = {"node_registered", "tunnel_up", "document_applied"}
    wait_for("the events", lambda: wanted <= _events(ground), 10.0, every_s=0.2)


def _events(ground: Ground) -> set[str]:
    return {str(event["code"]) for event in ground.api.get("events", limit=1000)["items"]}


def _received(ground: Ground) -> int:
    shown = ground.fleet.tunnels().values()
    return sum((one["status"]["counters"] or {}).get("in_packets", 0) for one in shown)


def test_a_change_is_applied_at_once_and_an_action_is_done(ground: Ground) -> None:
    ground.change(liveness_s=2)
    ground.fleet.wait_applied(5.0)
    tunnel = ground.fleet.tunnels()["office-2"]["id"]
    before = ground.node.tunnels()["office-2"].spis
    path = f"actions/{ground.api.do(f'vpn-tunnels/{tunnel}/rekey')['action']}"
    wait_for("rekeyed", lambda: ground.api.get(path)["state"] == "done", 10.0, every_s=0.05)
    wait_for("other SPIs", lambda: ground.node.tunnels()["office-2"].spis != before, 10.0)


def test_without_the_control_plane_tunnels_rekey_fail_over_and_come_back_after_a_reboot(
    ground: Ground,
) -> None:
    ground.fleet.control.kill()
    before = ground.node.tunnels()["office-1"].spis
    ground.node.cli("rekey", "office-1")
    wait_for("other SPIs", lambda: ground.node.tunnels()["office-1"].spis != before, 10.0)

    ground.pair.a.gateway.ip("link", "set", "wan1", "down")
    wait_for("failover", lambda: not ground.node.tunnels()["office-1"].is_up, 20.0)
    wait_for("the far end", lambda: not ground.far.tunnels()["office-1"].is_up, 20.0)
    reach_each_other(ground.pair)
    ground.pair.a.gateway.ip("link", "set", "wan1", "up")

    ground.node.end()  # as a reboot: no process is left, nor what they had in memory
    for left in ground.node.directory.iterdir():
        if left != ground.node.state and left.name != "token" and not left.is_dir():
            left.unlink()
    ground.node.start()
    ground.node.wait_up(timeout_s=40.0)
    reach_each_other(ground.pair)
    assert "is not reached since" in json.dumps(ground.node.status()["notes"])


def test_when_it_is_back_changes_are_applied_again(ground: Ground) -> None:
    ground.fleet.control.start()
    ground.change(remote_cidrs=[ground.pair.b.lan4, "10.77.0.0/16"])
    wait_for("the node", lambda: ground.status()["operational"] == "up", 30.0)
    ground.fleet.wait_applied(30.0)
    assert "10.77.0.0/16" in ground.pair.a.gateway.ip("route")
    shown = ground.fleet.wait_tunnels("up")
    assert shown["office-1"]["status"]["reason"] is None


def test_a_node_that_is_locked_out_goes_on_with_what_it_has(ground: Ground) -> None:
    revoked = ground.api.do(f"nodes/{ground.node.node}/revoke")
    assert revoked["revoked"] == 1
    wait_for("noticed", lambda: not _reached(ground.node), 20.0)
    reach_each_other(ground.pair)
    token = ground.api.do(f"nodes/{ground.node.node}/token")["registration_token"]
    (ground.node.directory / "token").write_text(token)
    wait_for("let in again", lambda: _reached(ground.node), 40.0, every_s=0.2)


def test_a_gateway_vm_that_is_lost_raises_one_alarm_and_its_tunnels_are_not_guessed_about(
    ground: Ground,
) -> None:
    wait_for("all well", lambda: not _alarms(ground), 60.0, every_s=0.2)
    ground.node.end()
    wait_for("the alarm", lambda: _alarms(ground) == ["node_lost"], 60.0, every_s=0.2)
    for tunnel in ground.fleet.tunnels().values():
        status = tunnel["status"]
        assert (status["operational"], status["reason"]["code"]) == ("unknown", "node_lost")
    ground.node.start()
    wait_for("no alarm", lambda: not _alarms(ground), 40.0, every_s=0.2)
    codes = [event["code"] for event in ground.api.get("events", kind="node", limit=50)["items"]]
    told = [code for code in codes if code in ("node_lost", "node_up")]
    assert told[:2] == ["node_up", "node_lost"]  # the newest first
    alarms = ground.api.get("alarms", code="node_lost")["items"]
    assert {alarm["state"] for alarm in alarms} == {"cleared"}


def _alarms(ground: Ground) -> list[str]:
    """Return the codes of the alarms that are raised."""
    raised = ground.api.get("alarms", state="raised")["items"]
    return [str(alarm["code"]) for alarm in raised]


def _reached(node: Member) -> bool:
    document = node.status()["document"]
    assert isinstance(document, dict)
    return bool(document["reached"])
