"""A control plane's word that takes a tunnel down, against what the document says of the tunnel."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from gateway.fleet.messages import Action, Result, Verb, Why
from gateway.node.fleet.actions import Actions
from gateway.node.plan import NodePlan, plan
from gateway.node.source import Node
from tests.node.gateway_parts import Parts
from tests.support.documents import CONNECTION, FIRST, document

pytestmark = pytest.mark.system


def wanted(admin: str) -> NodePlan:
    return plan(document(((*CONNECTION, "start"), "respond"), ((*FIRST, "admin"), admin)))


async def result_of(gw: Parts, action: Action, problem: Why | None = None) -> Result:
    """Have an action done by a node that has no use for its other parts in it."""
    unused = cast(Any, None)
    node = Node(unused, unused, gw.status, gw.journal, unused)
    told: asyncio.Queue[Result] = asyncio.Queue()
    actions = Actions(node, told.put_nowait, lambda: problem)
    working = asyncio.create_task(actions.run())
    actions.take([action])
    try:
        return await asyncio.wait_for(told.get(), 10.0)
    finally:
        working.cancel()
        await asyncio.wait([working])


async def test_what_the_document_takes_down_is_done_when_it_is_closed(gw: Parts) -> None:
    gw.reconciler.apply(wanted("down"))
    result = await result_of(gw, Action(id="act-1", verb=Verb.DOWN, tunnel="office-1"))
    assert result.ok


async def test_a_word_that_is_older_than_the_document_takes_no_tunnel_down(gw: Parts) -> None:
    """Its first result was lost with the process; meanwhile somebody took the tunnel up again."""
    gw.reconciler.apply(wanted("up"))
    result = await result_of(gw, Action(id="act-1", verb=Verb.DOWN, tunnel="office-1"))
    assert not result.ok
    assert result.text == 'office-1 is to be up: its document says admin = "up"'
    assert not gw.reconciler.taken_down


async def test_a_document_that_is_not_taken_is_the_reason_of_what_comes_with_it(gw: Parts) -> None:
    """What stands in the document of before is not what the control plane says."""
    gw.reconciler.apply(wanted("up"))
    problem = Why(code="not_applied", text="203.0.113.77 port 500: in use")
    for verb in (Verb.UP, Verb.DOWN):
        result = await result_of(gw, Action(id="act-1", verb=verb, tunnel="office-1"), problem)
        assert not result.ok
        assert result.text.endswith("is not taken: not_applied: 203.0.113.77 port 500: in use")
