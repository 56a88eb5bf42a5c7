"""systemd's descriptor store: what is put there, found again, and let go of."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import pytest

from gateway import unix
from gateway.dataplane import control, estate, fdstore
from gateway.dataplane.estate import Device, Estate, Key, Place
from gateway.dataplane.fdstore import LINGER_S, PREFIX, RECORDS, Store, name_of
from gateway.dataplane.interface import TunQueue
from gateway.dataplane.manager import Manager
from gateway.dataplane.process import log
from gateway.dataplane.records import pack
from gateway.unix import Handed

PLACE: Place = ("192.0.2.1", 4500, 0)


@dataclass
class Kept:
    """The manager's end: reads what it is told, and has the store in the order of its names."""

    sock: socket.socket
    store: dict[str, int] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def hear(self) -> list[str]:
        """Do what was said so far; return the words since the last time, without FDPOLL=0."""
        del self.said[:]
        while select.select([self.sock], [], [], 0)[0]:
            content, descriptors, _, _ = socket.recv_fds(self.sock, 4096, 253)
            words = content.decode().splitlines()
            name = words[1].removeprefix("FDNAME=") if len(words) > 1 else ""
            if words[0] == "FDSTORE=1":
                assert words[2:] == ["FDPOLL=0"]
                (self.store[name],) = descriptors
            else:
                control.close_all(descriptors)
            if words[0] == "FDSTOREREMOVE=1":
                os.close(self.store.pop(name))
            self.said.append(" ".join(words[:2]))
        return list(self.said)

    def hand_over(self) -> list[Handed]:
        """Return what the next process gets: descriptors of its own."""
        self.hear()
        return [Handed(name, os.dup(descriptor)) for name, descriptor in self.store.items()]


@dataclass
class Bench:
    kept: Kept
    held: Estate
    lines: list[str]
    manager: Manager
    store: Store

    def log(self, event: str, **fields: object) -> None:
        self.lines.append(" ".join([event, *(f"{key}={one}" for key, one in fields.items())]))

    def begin(self) -> None:
        """Begin another process: it holds nothing."""
        self.held.close()
        self.held = Estate()
        self.store = Store(self.manager, self.held, self.log)

    def have(self, key: Key, *descriptors: int) -> None:
        """Put a device or sockets into the fast path."""
        if isinstance(key, int):
            queues = tuple(TunQueue(each, at) for at, each in enumerate(descriptors))
            self.held.devices[key] = Device(f"office-{key}@ts-office-{key}", queues, True)
        else:
            self.held.sockets[key] = dict(enumerate(descriptors))
        self.store.keep(key)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setattr("gateway.dataplane.manager.BARRIER_S", 0.0)  # nobody hears it in time
        monkeypatch.setattr("gateway.dataplane.manager.BUSY_S", 0.0)
        held, manager = Estate(), Manager()
        made = Bench(Kept(sock), held, [], manager, Store(manager, held, log))
        made.begin()
        yield made
        made.kept.hear()
        control.close_all(list(made.kept.store.values()))
        made.held.close()
        made.store.close()
        manager.close()


def pipe() -> tuple[int, int]:
    """Return both ends; the reading one is for `is_held`."""
    return os.pipe()


def gone_on_with(bench: Bench) -> tuple[int, int]:
    """
    Let the next process take a device and a place with two workers from the store; return the
    reading ends of their pipes.
    """
    (read, write), (other, end) = pipe(), pipe()
    bench.have(7, write)
    bench.have(PLACE, end, os.dup(end))
    handed = bench.kept.hand_over()
    bench.begin()
    bench.store.take(handed)
    return read, other


def is_held(read: int) -> bool:
    """Say whether anybody has the writing end still."""
    poll = select.poll()
    poll.register(read, 0)
    return not poll.poll(0)


def test_what_the_fast_path_has_outlives_it_in_the_store(bench: Bench) -> None:
    (read, write), (other, end) = pipe(), pipe()
    bench.have(7, write, os.dup(write))
    bench.have(PLACE, end)
    bench.begin()
    assert is_held(read)
    assert is_held(other)
    for _ in range(2):  # and the process after the next finds the same
        bench.begin()
        bench.store.take(bench.kept.hand_over())
        found = bench.store.found
        assert found.is_whole
        assert found.devices[7].name == "office-7@ts-office-7"
        assert [queue.share for queue in found.devices[7].queues] == [0, 1]
        assert list(found.sockets[PLACE]) == [0]
        bench.store.close()
    assert bench.lines == ["from_store tunnels=1 sockets=1"] * 2
    bench.kept.hear()
    control.close_all(list(bench.kept.store.values()))
    bench.kept.store.clear()
    assert not is_held(read)
    assert not is_held(other)
    control.close_all([read, other])


def test_what_is_put_in_again_is_not_said_again(bench: Bench) -> None:
    read, other = gone_on_with(bench)
    held = [os.dup(bench.store.found.devices[7].queues[0].fd)]
    sockets = [os.dup(each) for each in bench.store.found.sockets[PLACE].values()]
    bench.have(7, *held)
    bench.have(PLACE, sockets[0])  # of two workers: the other's is to come
    assert bench.store.found.sockets
    bench.have(PLACE, *sockets)
    bench.store.settle()
    assert bench.kept.hear() == []
    assert (bench.store.found.devices, bench.store.found.sockets) == ({}, {})
    control.close_all([read, other])


def test_what_nobody_puts_in_again_goes_and_with_fewer_workers_the_rest(bench: Bench) -> None:
    read, other = gone_on_with(bench)
    bench.have(PLACE, os.dup(bench.store.found.sockets[PLACE][0]))
    bench.store.settle()
    place = name_of(PLACE)
    assert bench.kept.hear() == [
        f"FDSTOREREMOVE=1 FDNAME={PREFIX}t7",
        f"FDSTOREREMOVE=1 FDNAME={place}",
        f"FDSTORE=1 FDNAME={place}",
        "BARRIER=1",
    ]
    assert not is_held(read)
    assert is_held(other)
    control.close_all([read, other])


def test_another_device_under_a_number_takes_the_place_of_the_one_before(bench: Bench) -> None:
    (read, write), (other, end) = pipe(), pipe()
    bench.have(7, write)
    bench.held.close_device(7)
    bench.store.forget(7)
    name = f"FDNAME={PREFIX}t7"
    words = bench.kept.hear()
    assert words == [f"FDSTORE=1 {name}", f"FDSTOREREMOVE=1 {name}", "BARRIER=1"]
    assert not is_held(read)
    bench.have(7, end)
    assert bench.kept.hear() == [f"FDSTORE=1 {name}"]
    control.close_all([read, other])


def parcel(content: bytes, *descriptors: int) -> int:
    """Return a datagram socket with a message in it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with theirs:
        control.send(theirs, [content], list(descriptors))
    return ours.detach()


TOLD = estate.MAGIC + b'{"number": 8, "name": "a@b", "uso": true, "shares": [0], "urgent": []}'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (f"{PREFIX}t8", None),  # no socket at all
        (f"{PREFIX}t8", b""),
        (f"{PREFIX}t8", b"something else"),
        (f"{PREFIX}t8", estate.MAGIC + b"{"),
        (f"{PREFIX}t8", estate.MAGIC + b'{"end": true}'),
        (f"{PREFIX}t8", TOLD.replace(b"[0]", b"[0, 0]")),
        (f"{PREFIX}t9", TOLD),  # under another's name
        ("stored", TOLD),
        ("", TOLD),
        ("\udcff", TOLD),
        (f"{PREFIX}t8", estate.MAGIC + b"[" * 3000),
    ],
)
def test_what_is_none_of_ours_leaves_the_store_and_is_a_line_in_the_log(
    bench: Bench, name: str, content: bytes | None
) -> None:
    read, write = pipe()
    bench.have(7, os.dup(write))
    handed = bench.kept.hand_over()
    bench.kept.store[name] = parcel(b"")  # what is removed below
    bench.begin()
    strange = os.dup(write) if content is None else parcel(content, *([write] if content else []))
    os.close(write)
    bench.store.take([Handed(name, strange), *handed])
    assert list(bench.store.found.devices) == [7]
    refused, taken = bench.lines
    assert refused.startswith("not_of_store name=")
    assert taken == "from_store tunnels=1 sockets=0"
    # Raw: the name may be one that is no text.
    said = bench.kept.sock.recv(4096)
    assert said == b"FDSTOREREMOVE=1\nFDNAME=" + os.fsencode(name)
    bench.kept.hear()
    os.close(bench.kept.store.pop(f"{PREFIX}t7"))
    bench.store.close()
    assert not is_held(read)  # and no descriptor of it is left behind
    os.close(read)


def test_names_are_short_and_all_of_them_fit_into_one_variable(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[Key] = list(range(1, 4097))
    for number in range(256):
        keys += [(str(ip_address(f"2001:db8:ffff:ffff:ffff:ffff:ffff:{number:x}")), 4500, 0)]
        keys += [(f"192.0.2.{number}", 0, 1)]
    names = [name_of(key) for key in keys]
    assert len(set(names)) == len(names)
    assert all(len(name) < 255 and name.isascii() and ":" not in name for name in names)
    assert sum(len(name) + 1 for name in names) < fdstore.NAMES_MAX
    monkeypatch.setattr(fdstore, "NAMES_MAX", 2 * len(name_of(1)) + 2)
    ends = [pipe() for _ in range(4)]
    for number, (_, write) in enumerate(ends, 1):
        bench.have(number, write)
    assert [word.split()[1] for word in bench.kept.hear()] == [
        f"FDNAME={PREFIX}t{n}" for n in (1, 2)
    ]
    assert len(bench.lines) == 1
    assert bench.lines[0].startswith("store_full ")
    control.close_all([read for read, _ in ends])


def test_a_manager_that_takes_nothing_is_told_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write = pipe()
    with monkeypatch.context() as patch:
        patch.setattr(bench.manager, "_busy_until", float("inf"))
        bench.have(7, write)
        assert bench.store.next_s(0.0) is not None
    assert bench.kept.hear() == []
    bench.store.tick(0.0)
    assert bench.kept.hear() == [f"FDSTORE=1 FDNAME={PREFIX}t7"]
    assert bench.store.next_s(0.0) is None
    os.close(read)


def test_while_the_manager_takes_nothing_what_waits_costs_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request of the gateway process comes by here."""
    read, write = pipe()
    with monkeypatch.context() as patch:
        patch.setattr(bench.manager, "_busy_until", float("inf"))
        patch.setattr(fdstore, "_sealed_in", None)  # no parcel is made
        bench.have(7, write)
        bench.store.tick(0.0)
    bench.store.tick(0.0)
    assert bench.kept.hear() == [f"FDSTORE=1 FDNAME={PREFIX}t7"]
    os.close(read)


def test_devices_that_no_gateway_takes_do_not_keep_their_carrier(bench: Bench) -> None:
    read, write = pipe()
    bench.have(7, write)
    handed = bench.kept.hand_over()
    bench.begin()
    bench.store.take(handed)
    since = bench.store.found.since
    assert bench.store.next_s(since + 1.0) == pytest.approx(LINGER_S - 1.0)
    bench.store.tick(since + 1.0)
    assert len(bench.lines) == 1
    bench.store.tick(since + LINGER_S)
    assert bench.lines[1:] == ["no_gateway tunnels=1 does=their carrier goes"]
    assert bench.store.next_s(since + LINGER_S) is None
    assert list(bench.store.found.devices) == [7]
    os.close(read)


def test_a_gateway_process_is_told_of_what_is_stored_apart_from_what_is_in_use(
    bench: Bench,
) -> None:
    read, write = pipe()
    bench.have(7, write)
    handed = bench.kept.hand_over()
    bench.begin()
    bench.store.take(handed)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        for message, descriptors in [*bench.store.messages(), *estate.messages(Estate(), {})]:
            control.send(theirs, [message], descriptors)
        told, _ = estate.receive(ours, 5.0)
    assert (told.devices, told.is_whole) == ({}, True)
    assert told.stored is not None
    assert told.stored.is_whole
    assert told.stored.since == bench.store.found.since
    assert told.stored.devices[7].name == "office-7@ts-office-7"
    told.close()
    os.close(read)


# ---- the records ----


def test_records_are_read_once_whoever_has_the_descriptor_still(bench: Bench) -> None:
    read, write = pipe()
    bench.have(7, write)
    bench.store.records.keep(pack([(b"spi", b"sealed")]))
    bench.store.keep_records()
    bench.kept.hear()
    first, again = (Handed(RECORDS, os.dup(bench.kept.store[RECORDS])) for _ in range(2))
    bench.begin()
    bench.store.take([first])
    assert bench.store.records.all() == {b"spi": b"sealed"}
    assert bench.kept.hear() == [f"FDSTOREREMOVE=1 FDNAME={RECORDS}"]
    bench.begin()
    bench.store.take([again])
    assert bench.store.records.all() == {}
    assert bench.lines == []
    bench.kept.sock.setblocking(False)
    assert bench.kept.sock.recv(100).startswith(b"FDSTOREREMOVE=1")  # nothing is there any more
    os.close(read)


def test_records_of_no_device_are_not_stored(bench: Bench) -> None:
    bench.store.records.keep(pack([(b"spi", b"sealed")]))
    bench.store.keep_records()
    assert bench.kept.hear() == []


@pytest.mark.parametrize(
    ("content", "seals"), [(b"xyz", fdstore.ONCE), (pack([(b"spi", b"sealed")]), 0)]
)
def test_records_that_are_not_whole_or_that_somebody_can_change_are_not_taken(
    bench: Bench, content: bytes, seals: int
) -> None:
    bench.store.take([Handed(RECORDS, control.write_memory(content, seals))])
    assert bench.store.records.all() == {}
    assert [line.split()[0] for line in bench.lines] == ["not_of_store"]
    assert bench.kept.sock.recv(100).startswith(b"FDSTOREREMOVE=1")


# ---- what systemd hands over ----


@pytest.mark.parametrize(
    ("pid", "count", "names", "found"),
    [
        (None, "2", "a:b", []),
        ("1", "2", "a:b", []),
        ("ours", "2", "a:b", ["a", "b"]),
        ("ours", "2", "", ["", ""]),
        ("ours", "2", "a:b:c", ["", ""]),
        ("ours", "x", "a", []),
        ("ours", "-1", "a", []),
        ("ours", "²", "a", []),
    ],
)
def test_descriptors_are_known_by_their_names(
    monkeypatch: pytest.MonkeyPatch, pid: str | None, count: str, names: str, found: list[str]
) -> None:
    if pid is not None:
        monkeypatch.setenv("LISTEN_PID", str(os.getpid()) if pid == "ours" else pid)
    monkeypatch.setenv("LISTEN_FDS", count)
    monkeypatch.setenv("LISTEN_FDNAMES", names)
    listed = unix.handed()
    assert [one.name for one in listed] == found
    assert [one.descriptor for one in listed] == list(range(3, 3 + len(found)))
    assert unix.handed() == []  # once


def test_the_listening_socket_is_found_among_what_was_stored(tmp_path: Path) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stored,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as strange,
    ):
        handed = [
            Handed("", strange.fileno()),
            Handed("", listener.fileno()),
            Handed(f"{PREFIX}t1", stored.fileno()),
        ]
        found, rest = fdstore.sort(handed)
        assert found is not None
        assert found.fileno() == listener.fileno()
        assert rest == [handed[0], handed[2]]
        found.detach()
