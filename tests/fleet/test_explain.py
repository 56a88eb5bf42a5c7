"""What the control plane says of a tunnel and of a flow: by a node that answers, and without."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from gateway.control.auth.principal import Principal, Scope
from gateway.control.events.events import Events
from gateway.control.events.kept import Kept
from gateway.control.explain import Explanations
from gateway.control.paths import Flow, Paths, flow_of
from gateway.control.problems import ApiProblem
from gateway.control.resources.record import Record, Table
from gateway.fleet.messages import Answer, Position
from gateway.model.events import Event, Resource
from gateway.model.severity import Severity
from gateway.node.fleet.link import Link
from gateway.node.journal import Journal
from tests.control.registry import ROOT, connect
from tests.fleet.control import Control, control
from tests.fleet.test_control import enrol, report

T = TypeVar("T")
FLOW = Flow("192.168.0.7", "10.0.0.9")
TENANT = Principal("user:olga", "main", Scope.READ)


@dataclass(slots=True)
class Plane:
    """A control process with the events, and the link of its first node."""

    control: Control
    events: Events
    link: Link
    tunnels: tuple[Record, ...]
    number: int = 1

    async def during(self, asking: Awaitable[T], **details: object) -> T:
        """Return what an asker gets when the node answers his question so."""
        task = asyncio.ensure_future(asking)
        turn = await self.link.turn(Position(), 0)
        while not turn.questions:
            turn = await self.link.turn(turn.wanted.at if turn.wanted else Position(), 2)
        self.number += 1
        answers = [Answer(id=one.id, ok=True, details=details) for one in turn.questions]
        await self.link.report(report(self.number, answers=tuple(answers)))
        return await asyncio.wait_for(task, 5)

    @property
    def explanations(self) -> Explanations:
        nodes, mirror = self.control.nodes, self.control.registry.mirror
        return Explanations(mirror, self.events, nodes.questions, nodes.statuses.of)

    @property
    def paths(self) -> Paths:
        return Paths(self.control.registry.mirror, self.control.nodes.questions)


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    async with control(tmp_path) as one:
        done = await connect(one.registry)
        events = Events(one.store, Journal(io.StringIO(), time.time), time.time)
        running = asyncio.create_task(events.run())
        link = await enrol(one, tmp_path / "node")
        await link.report(report())
        yield Plane(one, events, link, done.others)
        link.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def failed(tunnel: Record, severity: Severity, reason: str) -> Kept:
    resource = Resource("vpn_tunnel", tunnel.name, tunnel.id)
    event = Event(
        *(time.time(), "tunnel_failed", severity, resource, "it failed", reason),
        *("aes256-sha256-x25519", "aes128-sha1-modp1024", "offer what the peer takes"),
    )
    return Kept(event, "main", str(tunnel.allocated["node"]))


async def test_a_tunnel_is_explained_by_its_node_with_the_last_failure(plane: Plane) -> None:
    tunnel = plane.tunnels[0]
    plane.events.record(failed(tunnel, Severity.WARNING, "no_proposal_chosen"))
    plane.events.record(failed(tunnel, Severity.INFO, "peer_deleted"))
    plane.events.record(failed(plane.tunnels[1], Severity.ERROR, "authentication_failed"))
    await plane.events.settled()
    child = {"suite": "aes256gcm16", "local_ts": ["0.0.0.0/0"], "remote_ts": ["0.0.0.0/0"]}
    ike = {"suite": "aes256gcm16-x25519", "peer_id": "203.0.113.50"}
    told = await plane.during(
        plane.explanations.of(tunnel, "user:olga"), ike=ike, children=[child, 7], pairs=[]
    )
    assert (told["name"], told["vpn_connection_name"]) == ("office-1", "office")
    assert (told["node_name"], told["not_answered"]) == ("gw-a", None)
    assert told["agreed"] == {
        "peer_id": "203.0.113.50",
        "ike": "aes256gcm16-x25519",
        "children": [child],
    }
    failure = told["last_failure"]
    assert (failure["code"], failure["event"]) == ("no_proposal_chosen", "tunnel_failed")
    assert failure["theirs"] == "aes128-sha1-modp1024"
    assert told["wanted"]["local_id"] == "198.51.100.11"
    assert told["wanted"]["remote_id"] == "203.0.113.50"
    assert told["wanted"]["ike_proposals"][-1].startswith("aes256-sha256-x25519")
    assert told["wanted"]["local_ts"] == ["0.0.0.0/0", "::/0"]
    assert "psk" not in str(told)


async def test_without_its_node_a_tunnel_is_explained_by_what_is_known(plane: Plane) -> None:
    tunnel = plane.tunnels[1]  # on a node that has never reported
    plane.events.record(failed(tunnel, Severity.ERROR, "authentication_failed"))
    await plane.events.settled()
    told = await plane.explanations.of(tunnel, "user:olga")
    assert told["not_answered"]["code"] == "node_lost"
    assert "node gw-b does not report" in told["not_answered"]["detail"]
    assert (told["details"], told["agreed"]) == (None, None)
    assert told["status"]["reason"]["code"] == "node_new"
    assert told["last_failure"]["code"] == "authentication_failed"
    assert told["wanted"]["local_id"] == "198.51.100.12"


async def test_what_a_node_makes_up_is_passed_on_and_breaks_nothing(plane: Plane) -> None:
    told = await plane.during(
        plane.explanations.of(plane.tunnels[0], "user:olga"), ike=[1], children="x"
    )
    assert told["agreed"] == {"peer_id": None, "ike": None, "children": []}


# ---- flows ----


def place(plane: Plane, **fields: object) -> Table:
    gateway = next(plane.control.registry.mirror.of_kind("border_gateway"))
    tunnel = {"name": plane.tunnels[0].id, "border_gateway": gateway.id, "status": "up"}
    return {
        "namespace": "",
        "border_gateways": [gateway.id],
        "verdict": "carried",
        "why": f"by ts-1 (vpn_tunnel {plane.tunnels[0].id})",
        "candidates": [{"prefix": "10.0.0.0/16"}],
        "tunnel": tunnel,
        **fields,
    }


async def test_a_flow_is_answered_by_the_nodes_that_have_the_tunnels(plane: Plane) -> None:
    asking = plane.paths.of(FLOW, "main", "main", TENANT)
    found = await plane.during(asking, places=[place(plane)])
    tunnel = plane.tunnels[0]
    assert (found["verdict"], found["vpn_tunnel"]) == ("carried", tunnel.id)
    assert found["node"] == plane.control.node().id
    assert found["names"][tunnel.id] == "office-1"
    (item,) = found["items"]
    assert (item["node_name"], item["vpn_tunnel"]) == ("gw-a", tunnel.id)
    (problem,) = found["not_answered"]
    assert "node gw-b does not report" in problem["detail"]


def way(name: str, interface: str = "ts-1") -> dict[str, str]:
    return {"interface": interface, "kind": "vpn_tunnel", "name": name}


FOREIGN = "tun-aaaaaaaaaa"
FOREIGN_GATEWAY = "bgw-aaaaaaaaaa"


async def test_of_a_routing_table_that_tenants_share_each_sees_his_own(plane: Plane) -> None:
    (mine,) = [one.id for one in plane.control.registry.all("vpn_tunnel", TENANT)][:1]
    shared = [place(plane)["border_gateways"][0], FOREIGN_GATEWAY]
    others = place(
        plane,
        border_gateways=shared,
        tunnel={"name": FOREIGN, "border_gateway": FOREIGN_GATEWAY},
        came_by=way(mine),
        leaves_by=way(FOREIGN, "ts-98765"),
        next_hops=[way(FOREIGN, "ts-98765"), way(mine)],
        route={"prefix": "10.99.0.0/16"},
        selectors={"local_ts": ["10.98.0.0/16"]},
        why=f"by vpn_tunnel {FOREIGN} of 10.99.0.0/16",
    )
    not_its_place = place(plane, border_gateways=[FOREIGN_GATEWAY])
    asking = plane.paths.of(FLOW, "main", None, TENANT)
    found = await plane.during(asking, places=[others, not_its_place, "x", {}])
    (item,) = found["items"]
    text = json.dumps(found)
    for word in ("aaaaaaaaaa", "98765", "10.99.", "10.98."):
        assert word not in text
    assert item["border_gateways"] == shared[:1]
    assert (item["came_by"], item["next_hops"]) == (way(mine), [way(mine)])
    assert item["verdict"] == others["verdict"]
    found = await plane.during(plane.paths.of(FLOW, "main", None, ROOT), places=[others])
    (item,) = found["items"]
    assert (item["vpn_tunnel"], item["why"], found["why"]) == (FOREIGN, *[others["why"]] * 2)


async def test_of_a_routing_table_that_is_shared_a_tenant_sees_what_carries_his_own(
    plane: Plane,
) -> None:
    (mine,) = [one.id for one in plane.control.registry.all("vpn_tunnel", TENANT)][:1]
    own = place(plane, leaves_by=way(mine), next_hops=[way(mine)], route={"prefix": "10.0.0.0/16"})
    shared = {**own, "border_gateways": [*own["border_gateways"], FOREIGN_GATEWAY]}
    asking = plane.paths.of(FLOW, "main", None, TENANT)
    (item,) = (await plane.during(asking, places=[shared]))["items"]
    told = ("why", "route", "next_hops", "leaves_by", "tunnel", "selectors", "picked_by")
    assert {key: item[key] for key in told} == {key: own.get(key) for key in told}
    assert item["candidates"] is None


async def test_who_can_not_be_asked_is_named(plane: Plane) -> None:
    with pytest.raises(ApiProblem, match="no tunnel of a border_gateway is on a node") as caught:
        await plane.paths.of(FLOW, "acme", None, ROOT)
    assert caught.value.status == 409
    with pytest.raises(ApiProblem, match="no border_gateway has this id or name"):
        await plane.paths.of(FLOW, "main", "mian", TENANT)
    await plane.link.report(report(2, reads=["explain"], version="0.9"))
    mirror, node = plane.control.registry.mirror, plane.control.node().id
    while (state := mirror.get("state", node)) is None or state.value["version"] != "0.9":
        await mirror.reached(mirror.revision + 1)
    with pytest.raises(ApiProblem, match=r"gw-a runs version 0\.9.*upgrade its gateway") as old:
        await plane.control.nodes.questions.ask(node, "path", FLOW.as_json(), by="user:olga")
    assert (old.value.status, old.value.code) == (409, "node_too_old")


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"destination": "10.0.0.1"}, "source"),
        ({"source": "x", "destination": "10.0.0.1"}, "source"),
        ({"source": "10.0.0.2", "destination": "2001:db8::1"}, "destination"),
        ({"source": "10.0.0.2", "destination": "10.0.0.1", "protocol": "xtp"}, "protocol"),
        ({"source": "10.0.0.2", "destination": "10.0.0.1", "protocol": "256"}, "protocol"),
        ({"source": "10.0.0.2", "destination": "10.0.0.1", "source_port": "7"}, "source_port"),
        (
            {
                "source": "10.0.0.2",
                "destination": "10.0.0.1",
                "protocol": "tcp",
                "destination_port": "65536",
            },
            "destination_port",
        ),
    ],
)
def test_a_flow_that_is_none_is_refused_with_its_field(asked: dict[str, str], field: str) -> None:
    with pytest.raises(ApiProblem) as caught:
        flow_of(asked)
    assert (caught.value.status, caught.value.field) == (422, field)


def test_a_flow_may_name_its_protocol_and_ports() -> None:
    asked = {"source": "10.0.0.2", "destination": "10.0.0.1", "protocol": "TCP"}
    assert flow_of(asked | {"destination_port": "443"}) == Flow("10.0.0.2", "10.0.0.1", 6, 0, 443)
