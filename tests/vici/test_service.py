"""
VICI on a whole gateway without a peer: real kernel, real data plane, real core; the `vici` package
asks.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import vici

from gateway.dataplane.plane import LocalPlane
from gateway.node.plan import plan
from gateway.vici.service import FIXED, SOCKET, Vici
from tests.node.gateway_parts import Parts, parts
from tests.node.network import ip, own_network
from tests.support.documents import CONNECTION, document

pytestmark = pytest.mark.system

Ask = Callable[[vici.Session], Any]


@dataclass(frozen=True, slots=True)
class Served:
    """A gateway whose first tunnel is to begin, toward an address where nobody is."""

    gateway: Parts
    directory: Path

    async def ask(self, ask: Ask) -> Any:
        """Return what the package's session gives, in a thread: it blocks."""

        def talk() -> Any:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(10.0)
                sock.connect(str(self.directory / SOCKET))
                return ask(vici.Session(sock))

        return await asyncio.to_thread(talk)

    async def refusal(self, ask: Ask) -> str:
        """Return the errmsg of a command that is refused."""
        with pytest.raises(vici.exception.CommandException) as refused:
            await self.ask(ask)
        return str(refused.value)


@pytest.fixture
def network() -> Iterator[None]:
    """A network namespace for this test alone."""
    with own_network():
        yield


@pytest.fixture
async def served(network: None, tmp_path: Path) -> AsyncIterator[Served]:
    for address in ("192.0.2.1/32", "198.51.100.1/32"):
        ip(f"addr add {address} dev lo")
    with LocalPlane(1) as plane, parts(plane) as made:
        made.reconciler.apply(plan(document(((*CONNECTION, "start"), "respond"))))
        service = Vici(tmp_path, made.daemon, made.reconciler, made.tunnels, plane, made.journal)
        await service.open()
        yield Served(made, tmp_path)
        await service.close()


async def test_what_exporters_ask_for_is_there(served: Served) -> None:
    version = await served.ask(lambda session: session.version())
    assert version["daemon"] == b"twinspan"
    stats = await served.ask(lambda session: session.stats())
    assert stats["ikesas"] == {"total": b"0", "half-open": b"0"}
    assert await served.ask(lambda session: session.get_conns()) == {
        "conns": [b"office-1", b"office-2"]
    }
    listed = await served.ask(lambda session: list(session.list_conns()))
    assert [list(one) for one in listed] == [["office-1"], ["office-2"]]
    assert await served.ask(lambda session: list(session.list_sas())) == []
    assert await served.ask(lambda session: list(session.list_certs())) == []
    counters = await served.ask(lambda session: session.get_counters())
    assert counters["counters"][""]["ike-init-out-req"] == b"0"


async def test_initiate_without_a_peer_is_late_and_then_listed_until_terminated(
    served: Served,
) -> None:
    text = await served.refusal(
        lambda session: list(session.initiate({"child": "office-1", "timeout": "300"}))
    )
    assert "CHILD_SA 'office-1' not established after 300ms" in text
    ((name, sa),) = (await served.ask(lambda session: list(session.list_sas())))[0].items()
    assert (name, sa["state"], sa["child-sas"]) == ("office-1", b"CONNECTING", {})
    assert (await served.ask(lambda session: session.stats()))["ikesas"]["half-open"] == b"1"
    await served.ask(lambda session: list(session.terminate({"ike": "office-1"})))
    assert await served.ask(lambda session: list(session.list_sas())) == []


async def test_initiate_that_is_not_to_wait_answers_at_once(served: Served) -> None:
    await served.ask(lambda session: list(session.initiate({"ike": "office-2", "timeout": "-1"})))
    listed = await served.ask(lambda session: list(session.list_sas()))
    assert [list(one) for one in listed] == [["office-2"]]


async def test_the_log_of_an_attempt_comes_with_it(served: Served) -> None:
    seen: list[Any] = []

    def ask(session: vici.Session) -> None:
        seen.extend(session.initiate({"child": "office-1", "timeout": "200"}))

    await served.refusal(ask)
    assert seen[0]["ikesa-name"] == b"office-1"
    assert seen[0]["msg"] == b"initiate tunnel=office-1 by=vici"
    assert {one["level"] for one in seen} <= {b"0", b"1"}


REFUSED: list[tuple[Ask, str]] = [
    (lambda session: list(session.initiate({"child": "other"})), "'other' not found"),
    (lambda session: list(session.initiate({"child": "office-1/2"})), "'office-1/2' not found"),
    (lambda session: list(session.initiate({})), "missing configuration name"),
    (
        lambda session: list(session.initiate({"child": "office-1", "timeout": "soon"})),
        "timeout is 'soon', must be a whole number",
    ),
    (
        lambda session: list(session.initiate({"child": ["office-1"]})),
        "child must be one value",
    ),
    (lambda session: list(session.terminate({})), "missing terminate selector"),
    (lambda session: list(session.terminate({"ike": "office-1"})), "no matching SAs"),
    (lambda session: session.rekey({}), "missing rekey selector"),
    (lambda session: session.rekey({"child": "office-1"}), "no matching SAs to rekey"),
    (lambda session: session.rekey({"ike": "office-1", "reauth": "yes"}), "not offered"),
    (lambda session: session.load_conn({"a": {}}), "the document is the configuration"),
    (lambda session: session.load_shared({"type": "IKE"}), "the document is the configuration"),
    (lambda session: session.reset_counters(), "never reset"),
]


@pytest.mark.parametrize(("ask", "words"), REFUSED)
async def test_what_can_not_be_done_says_why(served: Served, ask: Ask, words: str) -> None:
    assert words in await served.refusal(ask)


async def test_what_an_operator_has_taken_down_stays_down(served: Served) -> None:
    served.gateway.reconciler.take_down("office-1")
    text = await served.refusal(lambda session: list(session.initiate({"child": "office-1"})))
    assert "twinspan up office-1" in text


def test_everything_that_loads_is_refused() -> None:
    assert {"load-conn", "load-shared", "unload-conn", "clear-creds"} <= set(FIXED)
