"""A Border Gateway's network namespace in the hands of reconcile; iproute2 is the judge."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from itertools import count

import pytest

from gateway.netns.kernel import PLACE
from gateway.node.plan import NodePlan, plan
from tests.node.gateway_parts import Parts
from tests.node.network import ip
from tests.support.documents import CONNECTION, document

pytestmark = pytest.mark.system

_numbers = count(1)


@pytest.fixture
async def gw(gw: Parts) -> AsyncIterator[Parts]:
    yield gw
    gw.reconciler.remove()
    gw.namespaces.end()


@pytest.fixture
def name() -> str:
    return f"twr{os.getpid()}-{next(_numbers)}"


def wanted(namespace: str | None) -> NodePlan:
    edits = [((*CONNECTION, "start"), "respond")]
    if namespace is not None:
        edits.append((("border_gateway", 0, "namespace"), namespace))
    return plan(document(*edits))


async def test_devices_and_routes_are_in_the_namespace_alone(gw: Parts, name: str) -> None:
    gw.reconciler.apply(wanted(name))
    assert gw.reconciler.troubles == {}
    assert "169.254.10.1/30" in ip(f"-n {name} addr show ts-office-1")
    routes = ip(f"-n {name} route show 10.20.0.0/16")
    assert "dev ts-office-1 proto 85" in routes
    assert "unreachable" in routes
    assert "ts-" not in ip("-br link")
    assert ip("route show proto 85") == ""


async def test_a_border_gateway_moves_and_its_old_namespace_goes(gw: Parts, name: str) -> None:
    gw.reconciler.apply(wanted(name))
    change = gw.reconciler.apply(wanted(None))
    gw.reconciler.release_namespaces()
    assert [changed.new.name for changed in change.changed] == ["office-1", "office-2"]
    assert "ts-office-1" in ip("-br link")
    assert name not in ip("netns list")


async def test_a_namespace_that_can_not_be_had_is_a_reason_and_is_tried_again(
    gw: Parts, name: str
) -> None:
    PLACE.mkdir(exist_ok=True)
    (PLACE / name).touch()
    gw.reconciler.apply(wanted(name))
    text = f"namespace {name}: {PLACE / name} is no network namespace; remove the file"
    assert gw.reconciler.troubles["office-1"].text == text
    assert text in gw.status.whole()["notes"]  # type: ignore[operator]
    (PLACE / name).unlink()
    gw.reconciler.repair()
    assert gw.reconciler.troubles == {}
    assert "ts-office-1" in ip(f"-n {name} -br link")
