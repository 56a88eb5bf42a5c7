"""The control plane as a gateway's source: whatever it answers, what is in force stays so."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import time
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.errors import ConfigError, GatewayError
from gateway.fleet.messages import Credential, Position, Wanted
from gateway.node.event_log import EventLog
from gateway.node.fleet import identity as identities
from gateway.node.fleet.cache import FILE, Cache
from gateway.node.fleet.source import ControlSource, Enrolment
from gateway.node.journal import Journal
from gateway.node.notify import Notifier
from gateway.node.source import Node
from tests.fleet.test_http import CA, NOW, answer, served, server_context
from tests.node.process import DOCUMENT

NODE = "node-a"
GOOD = tomllib.loads(DOCUMENT)


@dataclass
class Life:
    """A gateway as its source sees it: it loads what is wanted, or can not."""

    source: ControlSource
    applied: list[str] = field(default_factory=list)
    refuses: bool = False

    async def reload(self, *, at_once: bool = False) -> dict[str, object]:
        if self.refuses:
            raise GatewayError("no such address")
        self.applied.append(self.source.load().plan.name)
        return {"added": [], "removed": [], "changed": []}

    def stop(self, *, stop_dataplane: bool) -> None:
        raise AssertionError


class Plane:
    """A server that answers questions with what `turns` yields, and takes every report."""

    def __init__(self, turns: Iterator[bytes]) -> None:
        self._turns = turns
        self.reports: list[dict[str, Any]] = []
        self.asked: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            if head.startswith("POST"):
                length = int(head.lower().partition("content-length: ")[2].split("\r\n")[0])
                self.reports.append(json.loads(await reader.readexactly(length)))
                writer.write(answer(b"{}"))
                continue
            self.asked.append(head.split()[1])
            said = next(self._turns, None)
            if said is None:
                await asyncio.sleep(float(head.split("wait=")[1].split()[0]))
                said = b"HTTP/1.1 204 Nothing\r\n\r\n"
            writer.write(said)
            await writer.drain()
            if not is_whole(said):
                return


def is_whole(said: bytes) -> bool:
    """Say whether an answer leaves its connection fit for another one."""
    head, _, body = said.partition(b"\r\n\r\n")
    return b" 204 " in head or f"content-length: {len(body)}".encode() in head


def turn(document: object, generation: int = 2, *, epoch: int = 1, node: str = NODE) -> bytes:
    at = {"epoch": epoch, "generation": generation, "tag": f"t{epoch}.{generation}"}
    wanted = {"node": node, "at": at, "document": document}
    return answer(json.dumps({"wanted": wanted, "actions": []}).encode())


def named(name: str) -> dict[str, Any]:
    return {**GOOD, "gateway": {**GOOD["gateway"], "name": name}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The state of a node that has applied generation 1."""
    key = identities.new_key()
    issued = CA.issue(identities.request_for(key), NODE, NOW)
    told = Credential(node=NODE, certificate=issued.pem, ca=CA.pem, renew_at=issued.renew_at)
    identities.save(tmp_path, identities.identity_of(told, key))
    at = Position(epoch=1, generation=1, tag="t1.1")
    Cache(tmp_path).save(Wanted(node=NODE, at=at, document=named("first")))
    return tmp_path


@dataclass
class Run:
    """A source that follows, with all that can be seen of it."""

    source: ControlSource
    life: Life
    plane: Plane
    log: io.StringIO

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not holds():  # noqa: ASYNC110 # what is waited for has no event
                await asyncio.sleep(0.01)

    @property
    def last(self) -> dict[str, Any]:
        """The last report."""
        return self.plane.reports[-1] if self.plane.reports else {"at": {}}

    @property
    def problems(self) -> list[str]:
        return [one["problem"]["code"] for one in self.plane.reports if one.get("problem")]


def _told(turns: tuple[bytes, ...], until: tuple[asyncio.Event, bytes] | None) -> Iterator[bytes]:
    yield from turns
    if until is not None:
        seen, then = until
        while not seen.is_set():
            yield turns[-1]
        yield then


@contextlib.asynccontextmanager
async def running(
    folder: Path, *turns: bytes, until: tuple[asyncio.Event, bytes] | None = None
) -> AsyncIterator[Run]:
    """With `until` the last turn comes again and again, up to an event; then another one does."""
    plane, log = Plane(_told(turns, until)), io.StringIO()
    async with served(plane, server_context(folder)) as http:
        source = ControlSource(Enrolment(str(http._place), folder))
        journal = Journal(log, time.time)
        begun = await source.begin(journal, Notifier({}))
        assert begun.plan.name == "first"
        life = Life(source)
        status = SimpleNamespace(plans=(), version="1", notes=list, tunnels=lambda plans: [])
        node = Node(life, cast(Any, None), cast(Any, status), journal, EventLog(folder, time.time))
        following = asyncio.create_task(source.follow(node))
        try:
            yield Run(source, life, plane, log)
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following


async def test_a_newer_document_is_applied_kept_and_reported(folder: Path) -> None:
    async with running(folder, turn(named("second"))) as run:
        await run.until(lambda: run.life.applied == ["second"])
        await run.until(lambda: run.last["at"].get("generation") == 2)
        kept = Cache(folder).load()
        assert kept is not None
        assert (kept.at.generation, kept.document["gateway"]["name"]) == (2, "second")  # type: ignore[index]
        assert run.source.about()["generation"] == 2
        assert "after=2&tag=t1.2" in run.plane.asked[-1]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (turn(named("x"), 1), "older_generation"),
        (turn(named("x"), 9, epoch=0), "older_generation"),
        (turn(named("x"), node="node-b"), "other_node"),
        (turn({}), "document_refused"),
        (turn({"gateway": {"name": "half"}, "vpn_connection": [{}]}), "document_refused"),
    ],
)
async def test_what_is_no_document_for_us_changes_nothing_and_is_reported(
    folder: Path, said: bytes, code: str
) -> None:
    before, seen = (folder / FILE).read_bytes(), asyncio.Event()
    async with running(folder, said, until=(seen, turn(named("good"), 3))) as run:
        await run.until(lambda: code in run.problems)
        await run.until(
            lambda: any(code in note for note in cast(list[str], run.source.about()["notes"]))
        )
        assert (folder / FILE).read_bytes() == before
        seen.set()
        await run.until(lambda: run.life.applied)
        assert run.life.applied == ["good"]  # and it goes on asking
        await run.until(lambda: "problem" not in run.last)
    assert (folder / FILE).read_bytes() != before


@pytest.mark.parametrize(
    "said",
    [
        b"garbage\r\n\r\n",
        answer(b'{"wanted": 7}'),
        answer(b"[" * 100_000),
        turn(named("cut"))[:-40],
        answer(b'{"wanted": {"node": "node-a", "at": {"generation": "x"}, "document": {}}}'),
        b"HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\nno",
        b"HTTP/1.1 401 No\r\ncontent-length: 35\r\n\r\n"
        + b'{"code":"unauthenticated","detail":""}'[:35],
        answer(bytes(17 << 20)),
    ],
)
async def test_garbage_changes_nothing_and_the_node_goes_on_asking(
    folder: Path, said: bytes
) -> None:
    async with running(folder, said, turn(named("good"))) as run:
        await run.until(lambda: run.life.applied)
        assert run.life.applied == ["good"]
        assert "control lost" in run.log.getvalue()
        assert run.source.about()["reached"] is True


async def test_a_new_epoch_takes_an_older_generation(folder: Path) -> None:
    async with running(folder, turn(named("restored"), 1, epoch=2)) as run:
        await run.until(lambda: run.life.applied == ["restored"])


async def test_what_the_machine_refuses_is_not_in_force_and_tried_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.node.fleet.source.APPLY_AGAIN_S", 0.1)
    async with running(folder, turn(named("second")), answer(b"{}"), answer(b"{}")) as run:
        run.life.refuses = True
        await run.until(lambda: "not_applied" in run.problems)
        assert run.source.load().plan.name == "first"
        assert run.last["at"].get("generation") == 1
        run.life.refuses = False
        await run.until(lambda: run.life.applied == ["second"])


async def test_a_document_that_can_not_be_kept_is_in_force_said_and_kept_later(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.node.fleet.source.APPLY_AGAIN_S", 0.1)
    in_the_way = folder / "document.new"
    in_the_way.mkdir()
    async with running(folder, turn(named("second"))) as run:
        note = f"a reboot would not find generation 2: {folder / FILE} can not be written"
        await run.until(lambda: f"{note}: Is a directory" in run.source.about()["notes"])  # type: ignore[operator]
        assert run.life.applied == ["second"]
        in_the_way.rmdir()
        await run.until(lambda: not run.source.about()["notes"])
        kept = Cache(folder).load()
        assert kept is not None
        assert kept.at.generation == 2
    assert run.log.getvalue().count("document on disk") == 1


async def test_without_the_control_plane_the_document_on_disk_is_in_force(folder: Path) -> None:
    source = ControlSource(Enrolment("https://127.0.0.1:1", folder))
    begun = await source.begin(Journal(io.StringIO(), time.time), Notifier({}))
    assert [tunnel.name for tunnel in begun.plan.tunnels] == ["office-1", "office-2"]


async def test_a_damaged_document_is_said_and_another_one_is_waited_for(folder: Path) -> None:
    (folder / FILE).write_bytes(b"x" * 100)
    log = io.StringIO()
    async with served(Plane(iter([turn(named("anew"))])), server_context(folder)) as http:
        source = ControlSource(Enrolment(str(http._place), folder))
        async with asyncio.timeout(10):
            begun = await source.begin(Journal(log, time.time), Notifier({}))
        source.close()
    assert begun.plan.name == "anew"
    assert "document.sealed is damaged" in log.getvalue()


async def test_a_document_of_another_node_on_disk_is_not_used(folder: Path) -> None:
    at = Position(epoch=1, generation=1, tag="t")
    Cache(folder).save(Wanted(node="node-b", at=at, document=named("foreign")))
    log = io.StringIO()
    source = ControlSource(Enrolment("https://127.0.0.1:1", folder))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await source.begin(Journal(log, time.time), Notifier({}))
    assert "it is for node-b, this node is node-a" in log.getvalue()


async def test_a_node_without_identity_and_token_says_what_it_needs(tmp_path: Path) -> None:
    source = ControlSource(Enrolment("https://127.0.0.1:1", tmp_path / "new"))
    with pytest.raises(ConfigError, match="--register-token-file is needed"):
        await source.begin(Journal(io.StringIO(), time.time), Notifier({}))


@pytest.mark.parametrize("url", ["http://x", "https://", "x", "https://x:0/y", "https://x:99999"])
def test_a_url_that_is_none_is_refused_with_its_value(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must be https://HOST or https://HOST:PORT"):
        ControlSource(Enrolment(url, tmp_path))
