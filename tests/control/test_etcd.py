"""etcd that crashes, loses a member, or whose answers are lost on the way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path

import pytest

from gateway.control.store.etcd import EtcdStore
from gateway.control.store.interface import Create, Delete, Key, Replace, Unavailable
from lab.etcd import Etcd, free_ports, make_cluster

VALUE = b"{}"


class Wire:
    """A TCP relay before etcd that can lose what etcd answers."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.loses_answers = False
        self.holds_requests = False
        self._held: list[tuple[asyncio.StreamWriter, bytes]] = []
        self.address = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._target.partition(":")
        etcd_reader, etcd_writer = await asyncio.open_connection(host, int(port))
        self._writers |= {writer, etcd_writer}
        await asyncio.gather(
            self._relay(reader, etcd_writer, is_answer=False),
            self._relay(etcd_reader, writer, is_answer=True),
        )

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                if not is_answer and self.holds_requests:
                    self._held.append((writer, data))
                elif not (is_answer and self.loses_answers):
                    writer.write(data)
        writer.close()

    def held(self) -> list[tuple[asyncio.StreamWriter, bytes]]:
        """Return what has been held up to now."""
        return list(self._held)

    def cut(self) -> None:
        """Break all connections; new ones are relayed whole."""
        self.loses_answers = False
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()
        await asyncio.sleep(0.05)  # both directions of each connection end by themselves


@pytest.fixture
async def wire(etcd: Etcd) -> AsyncIterator[Wire]:
    relay = Wire(etcd.target)
    await relay.start()
    yield relay
    await relay.stop()


async def test_a_commit_whose_answer_was_lost_has_happened_once(wire: Wire, prefix: str) -> None:
    store = EtcdStore([wire.address], prefix)
    key = Key("tunnel", "t")
    first = await store.commit([Create(key, VALUE)], "anna")
    for write in (Replace(key, b'{"n": 1}', first), None):
        change = write or Delete(key, (await store.get(key)).revision)
        before = await store.revision()
        # What the write reads first is answered; then answers are lost, and the connection breaks.
        call = asyncio.ensure_future(store.commit([change], "anna"))
        wire.loses_answers = True
        await asyncio.sleep(0.3)
        wire.cut()
        revision = await call
        (told,) = await store.changes(before)
        assert (told.revision, told.actor) == (revision, "anna")
    await store.close()


async def test_the_answer_to_the_transaction_itself_may_be_lost(
    wire: Wire, etcd: Etcd, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, watcher = EtcdStore([wire.address], prefix), EtcdStore([etcd.target], prefix)
    start = await watcher.revision()
    async with aclosing(watcher.watch(start)) as watch:
        plain = store._operations

        def lose_from_here(*arguments: object) -> object:
            wire.loses_answers = True
            monkeypatch.undo()
            return plain(*arguments)  # type: ignore[arg-type] # passed on as they are

        monkeypatch.setattr(store, "_operations", lose_from_here)
        call = asyncio.ensure_future(store.commit([Create(Key("tunnel", "t"), VALUE)], "anna"))
        async with asyncio.timeout(5):
            told = await anext(watch)  # it has been carried out, and the writer does not know
        assert not call.done()
        wire.cut()
        assert await call == told.revision
    assert [each.revision for each in await watcher.changes(start)] == [told.revision]
    await store.close()
    await watcher.close()


async def test_a_transaction_that_comes_late_does_nothing(
    wire: Wire, etcd: Etcd, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EtcdStore([wire.address, etcd.target], prefix)
    key = Key("tunnel", "t")
    plain = store._operations

    def hold_from_here(*arguments: object) -> object:
        wire.holds_requests = True
        monkeypatch.undo()
        return plain(*arguments)  # type: ignore[arg-type] # passed on as they are

    monkeypatch.setattr(store, "_operations", hold_from_here)
    call = asyncio.ensure_future(store.commit([Create(key, VALUE)], "anna"))
    async with asyncio.timeout(5):
        while not wire.held():  # noqa: ASYNC110 - what is awaited is bytes on a wire
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)  # the whole request, but not the end of the wait for its answer
    late = wire.held()
    revision = await call  # by the other endpoint
    await store.commit([Delete(key, revision)], "anna")
    before = await store.revision()
    for writer, data in late:
        writer.write(data)
    await asyncio.sleep(0.3)
    assert await store.changes(before) == []
    await store.close()


async def test_a_crash_in_the_middle_of_writes_loses_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    (member,) = make_cluster(tmp_path, 1)
    store = EtcdStore([member.target])
    start = await store.revision()
    acknowledged: dict[str, int] = {}
    in_the_middle = asyncio.Event()
    seen: list[tuple[str, int]] = []

    async def write(first: int) -> None:
        for number in range(first, 240, 4):
            key = Key("tunnel", f"t-{number}")
            acknowledged[key.id] = await store.commit([Create(key, VALUE)], "anna")
            if len(acknowledged) == 60:
                in_the_middle.set()

    async def crash() -> None:
        await in_the_middle.wait()
        await asyncio.to_thread(member.kill)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(member.start)

    async def watch() -> None:
        async with aclosing(store.watch(start)) as commits:
            while len(seen) < 240:
                commit = await anext(commits)
                seen.extend((change.key.id, commit.revision) for change in commit.changes)

    await asyncio.gather(watch(), crash(), *(write(first) for first in range(4)))
    assert len(seen) == len(acknowledged) == 240
    assert dict(seen) == acknowledged
    assert [revision for _, revision in seen] == sorted(acknowledged.values())
    await store.close()
    member.kill()


async def test_two_of_three_members_are_enough(tmp_path: Path) -> None:
    members = make_cluster(tmp_path, 3)
    store = EtcdStore([member.target for member in members])
    start = await store.commit([Create(Key("tunnel", "t-0"), VALUE)], "anna")
    async with aclosing(store.watch(start)) as watch:
        for number, member in enumerate(members, 1):
            await asyncio.to_thread(member.kill)
            before = time.monotonic()
            revision = await store.commit([Create(Key("tunnel", f"t-{number}"), VALUE)], "anna")
            assert time.monotonic() - before < 5
            async with asyncio.timeout(10):
                assert (await anext(watch)).revision == revision
            member.start()
            await asyncio.to_thread(member.wait)
    await store.close()
    for member in members:
        member.kill()


async def test_no_endpoint_at_all_is_said_after_a_bounded_time() -> None:
    port = free_ports(1)[0]
    store = EtcdStore([f"127.0.0.1:{port}"], limit_s=1.0)
    key = Key("tunnel", "t")
    before = time.monotonic()
    with pytest.raises(Unavailable, match=rf"tunnel/t: etcd 127.0.0.1:{port}") as error:
        await store.commit([Create(key, VALUE)], "anna")
    assert time.monotonic() - before < 2
    assert error.value.key == key
    await store.close()
