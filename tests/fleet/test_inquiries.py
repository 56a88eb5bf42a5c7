"""What only nodes know: each is asked for its part, and held to what was asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.control.nodes.inquiries import Inquiries
from gateway.control.problems import ApiProblem
from gateway.control.registry import Done, Registry
from gateway.control.resources.record import Table
from gateway.control.store.sqlite import open_sqlite
from tests.control.registry import connect, fleet, make, running

SILENT = ApiProblem(503, "unavailable", "node gw-b has not answered within 5 s")


@dataclass(slots=True)
class Nodes:
    """Two nodes: what each answers, or why not; and what they were asked."""

    registry: Registry
    answers: dict[str, Table | ApiProblem] = field(default_factory=dict)
    asked: list[tuple[str, str, Table]] = field(default_factory=list)

    @property
    def inquiries(self) -> Inquiries:
        return Inquiries(self.registry.mirror, self._ask)

    async def _ask(self, node: str, command: str, arguments: Table, *, by: str) -> Table:
        record = self.registry.mirror.get("node", node)
        assert record is not None
        self.asked.append((record.name, command, arguments))
        answer = self.answers[record.name]
        if isinstance(answer, ApiProblem):
            raise answer
        return answer


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    store = await open_sqlite(tmp_path / "store.db")
    async with running(store) as registry:
        await fleet(registry)
        yield Nodes(registry)
    await store.close()


def route(done: Done, number: int, **fields: object) -> Table:
    """Return a route by a tunnel of a connection, as its node tells it."""
    return {
        "prefix": "10.0.0.0/16",
        "border_gateway": done.record.spec["border_gateway"],
        "connection": done.record.id,
        "standing": "best",
        "next_hop_type": "vpn",
        "origin": "ebgp",
        "owner": done.others[number].id,
        "next_hops": ["169.254.1.2 tun1"],
        "as_path": "65001",
        "why": "the only one",
        "namespace": "x",
        **fields,
    }


async def test_each_node_is_asked_for_its_part_with_names_for_people(nodes: Nodes) -> None:
    done = await connect(nodes.registry)
    nodes.answers = {
        "gw-a": {"routes": [route(done, 0)], "left_off": 0},
        "gw-b": {"routes": [route(done, 1, standing="standby")], "left_off": 7},
    }
    gateway = nodes.registry.mirror.get("border_gateway", done.record.spec["border_gateway"])
    assert gateway is not None
    answer = await nodes.inquiries.routes(gateway, "effective", by="user:olga")
    shown = [(one["owner_name"], one["connection_name"]) for one in answer["routes"]]
    assert shown == [(tunnel.name, "office") for tunnel in done.others]
    assert (answer["left_off"], answer["notes"]) == (7, [])
    assert sorted(nodes.asked, key=lambda one: one[0]) == [
        (name, "routes", {"border_gateway": gateway.id, "table": "effective", "limit": 500})
        for name in ("gw-a", "gw-b")
    ]


async def test_a_node_tells_nothing_of_what_it_was_not_asked(nodes: Nodes) -> None:
    done = await connect(nodes.registry)
    other = await make(nodes.registry, "border_gateway", name="other", asn=65099)
    foreign = route(done, 0, border_gateway=other.id)
    wrong = route(done, 0, connection="conn-other")
    nodes.answers = {
        "gw-a": {"routes": [foreign, wrong]},
        "gw-b": {"routes": [route(done, 1, owner="tun-invented")]},
    }
    answer = await nodes.inquiries.routes(done.record, None, by="user:olga")
    (only,) = answer["routes"]
    assert (only["owner"], only["owner_name"]) == ("tun-invented", "")
    assert "namespace" not in only


async def test_one_node_that_is_silent_is_a_note_and_all_are_a_problem(nodes: Nodes) -> None:
    done = await connect(nodes.registry)
    nodes.answers = {"gw-a": {"routes": [route(done, 0)]}, "gw-b": SILENT}
    answer = await nodes.inquiries.routes(done.record, None, by="user:olga")
    assert len(answer["routes"]) == 1
    assert answer["notes"] == ["node gw-b has not answered within 5 s"]
    nodes.answers = {"gw-a": SILENT, "gw-b": SILENT}
    with pytest.raises(ApiProblem, match="has not answered"):
        await nodes.inquiries.routes(done.record, None, by="user:olga")


async def test_a_gateway_that_is_on_no_node_has_no_routes(nodes: Nodes) -> None:
    gateway = await make(nodes.registry, "border_gateway", name="new", asn=65098)
    answer = await nodes.inquiries.routes(gateway, None, by="user:olga")
    assert answer["routes"] == []


SIDES = {"ours": "", "theirs": "", "hint": ""}
LINE = {
    "at": 1e9,
    "kind": "message",
    "sent": True,
    "local": "a:500",
    "remote": "b:500",
    "exchange": "IKE_SA_INIT 0 request",
    "line": "HDR, SAi1, KEi, Ni",
    "details": ["Ni: 32 bytes"],
}


async def test_a_negotiation_is_told_with_times_as_the_api_has_them(nodes: Nodes) -> None:
    tunnel = (await connect(nodes.registry)).others[0]
    nodes.answers = {"gw-a": {"tunnel": tunnel.id, "lines": [LINE]}}
    answer = await nodes.inquiries.negotiation(tunnel, by="user:olga")
    assert nodes.asked == [("gw-a", "negotiation", {"tunnel": tunnel.id})]
    (line,) = answer["lines"]
    assert line == {**LINE, "at": "2001-09-09T01:46:40.000Z", "text": "", "times": 1, **SIDES}


@pytest.mark.parametrize(
    "lines",
    [
        "no list",
        [{"kind": "message"}],
        [{**LINE, "kind": "<script>"}],
        [{**LINE, "at": float("1e300")}],
        [{**LINE, "line": "x" * 2001}],
        [LINE] * 65,
    ],
)
async def test_an_answer_of_another_shape_is_no_answer(nodes: Nodes, lines: object) -> None:
    tunnel = (await connect(nodes.registry)).others[0]
    nodes.answers = {"gw-a": {"lines": lines}}
    with pytest.raises(ApiProblem, match="can not be read: lines") as refused:
        await nodes.inquiries.negotiation(tunnel, by="user:olga")
    assert refused.value.status == 503
