"""A wanted document is judged as a file is."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable
from typing import Any

import pytest

from gateway.fleet.messages import Position, Wanted
from gateway.model.document import build_document
from gateway.node.fleet.judge import NotTaken, judge, judge_position
from gateway.node.plan import plan
from tests.node.process import DOCUMENT

Edit = Callable[[dict[str, Any]], object]
HELD = Position(epoch=2, generation=40, tag="t")


def wanted(document: dict[str, Any], epoch: int = 2, generation: int = 41) -> Wanted:
    at = Position(epoch=epoch, generation=generation, tag="u")
    return Wanted(node="node-a", at=at, document=document)


def test_a_document_without_mistakes_is_taken() -> None:
    good = wanted(tomllib.loads(DOCUMENT))
    judge_position(good, "node-a", HELD)
    assert len(judge(good).plan.tunnels) == 2


@pytest.mark.parametrize(("epoch", "generation"), [(2, 40), (2, 39), (1, 900)])
def test_an_older_generation_is_not_taken(epoch: int, generation: int) -> None:
    with pytest.raises(NotTaken, match=r"is not after 40 of epoch 2") as caught:
        judge_position(wanted({}, epoch, generation), "node-a", HELD)
    assert caught.value.why.code == "older_generation"


def test_a_new_epoch_is_taken_whatever_its_generation() -> None:
    judge_position(wanted({}, 3, 1), "node-a", HELD)


def test_a_document_for_another_node_is_not_taken() -> None:
    with pytest.raises(NotTaken, match="is for 'node-a', this node is node-b") as caught:
        judge_position(wanted({}), "node-b", HELD)
    assert caught.value.why.code == "other_node"


def test_half_a_document_is_not_taken_and_each_mistake_is_said() -> None:
    half = tomllib.loads(DOCUMENT)
    del half["customer_gateway"], half["vpn_connection"][0]["psk"]
    with pytest.raises(NotTaken) as caught:
        judge(wanted(half))
    assert "vpn_connection[office].customer_gateway: no customer_gateway" in str(caught.value)
    assert "psk" in str(caught.value)
    assert caught.value.why.code == "document_refused"


def test_no_file_of_the_node_can_be_asked_for() -> None:
    sly = tomllib.loads(DOCUMENT)
    sly["vpn_connection"][0].pop("psk")
    sly["vpn_connection"][0]["psk_file"] = "/etc/hostname"
    with pytest.raises(NotTaken, match="a file can not be read here"):
        judge(wanted(sly))


def test_garbage_is_not_taken() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"x": deep}
    for document in ({}, {"gateway": 3}, {"vpn_connection": "x"}, {"colour": [1, 2]}, deep):
        with pytest.raises(NotTaken):
            judge(wanted(document))


def test_what_is_as_it_was_keeps_its_part_of_the_plan() -> None:
    raw = tomllib.loads(DOCUMENT)
    second = {**raw["vpn_connection"][0], "name": "branch", "customer_gateway": "branch"}
    second["tunnel"] = [{"inner_cidr": "169.254.11.0/30"}, {"inner_cidr": "169.254.11.4/30"}]
    second["remote_cidrs"] = ["10.30.0.0/16"]
    customer = {"name": "branch", "public_addresses": ["203.0.113.19", "203.0.113.20"]}
    raw["vpn_connection"].append(second)
    raw["customer_gateway"].append(customer)
    before = judge(wanted(raw))

    edited = copy.deepcopy(raw)
    edited["vpn_connection"][1]["remote_cidrs"] = ["10.31.0.0/16"]
    after = judge(wanted(edited), before)

    assert after.plan == plan(build_document(edited)[0])
    same = [new is old for new, old in zip(after.plan.tunnels, before.plan.tunnels, strict=True)]
    assert same == [True, True, False, False]


@pytest.mark.parametrize(
    "edit",
    [
        lambda raw: raw["gateway"].update(public_addresses=["192.0.2.1", "198.51.100.9"]),
        lambda raw: raw["customer_gateway"][0].update(identity="office.example.net"),
        lambda raw: raw["border_gateway"][0].update(spoke_isolation=False),
        lambda raw: raw["vpn_connection"][0].update(title="office"),
        lambda raw: raw["vpn_connection"][0]["tunnel"].pop(),
        lambda raw: raw["vpn_connection"].clear(),
        lambda raw: raw.update(
            route=[{"border_gateway": "main", "prefix": "10.9.0.0/16", "vpn_connection": "office"}]
        ),
    ],
)
def test_a_plan_made_of_an_earlier_one_is_the_one_made_of_nothing(edit: Edit) -> None:
    raw = tomllib.loads(DOCUMENT)
    before = judge(wanted(raw))
    edited = copy.deepcopy(raw)
    edit(edited)
    assert judge(wanted(edited), before).plan == plan(build_document(edited)[0])


def test_what_is_wrong_in_an_edit_is_said_as_in_a_whole_document() -> None:
    raw = tomllib.loads(DOCUMENT)
    before = judge(wanted(raw))
    for key, value in (("remote_cidrs", ["10.20"]), ("psk_file", "/etc/hostname"), ("x", 1)):
        edited = copy.deepcopy(raw)
        edited["vpn_connection"][0][key] = value
        with pytest.raises(NotTaken) as again:
            judge(wanted(edited), before)
        with pytest.raises(NotTaken) as whole:
            judge(wanted(edited))
        assert str(again.value) == str(whole.value)
        assert key in str(again.value)


def test_a_document_of_many_mistakes_says_some() -> None:
    many = {"customer_gateway": [{"name": f"c{at}"} for at in range(500)]}
    with pytest.raises(NotTaken, match=r"and \d+ more") as caught:
        judge(wanted(many))
    assert len(caught.value.why.text) <= 2000
