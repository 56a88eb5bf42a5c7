"""A wanted document is judged as a file is."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from gateway.fleet.messages import Position, Wanted
from gateway.node.fleet.judge import NotTaken, judge, judge_position
from tests.node.process import DOCUMENT

HELD = Position(epoch=2, generation=40, tag="t")


def wanted(document: dict[str, Any], epoch: int = 2, generation: int = 41) -> Wanted:
    at = Position(epoch=epoch, generation=generation, tag="u")
    return Wanted(node="node-a", at=at, document=document)


def test_a_document_without_mistakes_is_taken() -> None:
    good = wanted(tomllib.loads(DOCUMENT))
    judge_position(good, "node-a", HELD)
    assert len(judge(good).document.vpn_connection[0].tunnel) == 2


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


def test_a_document_of_many_mistakes_says_some() -> None:
    many = {"customer_gateway": [{"name": f"c{at}"} for at in range(500)]}
    with pytest.raises(NotTaken, match=r"and \d+ more") as caught:
        judge(wanted(many))
    assert len(caught.value.why.text) <= 2000
