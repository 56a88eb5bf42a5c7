"""What outlives a data plane process: taken over from it, given to the next one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.dataplane import control, estate
from gateway.dataplane.estate import MAGIC, Device, Estate
from gateway.dataplane.interface import EncapKind, TunQueue
from gateway.dataplane.reach import SOCKET_NAME, OtherAbi, connect, spawn_dataplane
from gateway.dataplane.remote import RemotePlane
from gateway.errors import DataPlaneError
from gateway.unix import bind_private
from tests.dataplane.test_process import Spawn, spawn, udp_socket
from tests.dataplane.values import LEFT, OPTIONS, PATH, plane_sa

__all__ = ["spawn"]

PLACE = (str(LEFT), 4500, int(EncapKind.UDP))
NAME = "office@ts-office"
RECORDS = {b"spi": b"sealed"}
PACKET = bytes(10) + bytes.fromhex("4500001400000000400100000a0100010a020001")  # virtio_net_hdr


class Queue:
    """A socket pair stands for a TUN queue: `far` is the kernel's end."""

    def __init__(self) -> None:
        self.far, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        near.setblocking(False)
        self.far.settimeout(10.0)
        self.near = near.detach()


@pytest.fixture
def queue() -> Iterator[Queue]:
    made = Queue()
    with made.far:
        yield made


def fill(plane: RemotePlane, queue: Queue) -> None:
    """Give a data plane a socket for each worker, and one tunnel with an SA."""
    for worker in range(2):
        plane.add_socket(udp_socket(), worker, LEFT, 4500, EncapKind.UDP)
    plane.add_tunnel(7, NAME, [TunQueue(queue.near)], True, PATH, EncapKind.UDP, OPTIONS)
    plane.add_inbound(7, plane_sa(0x300))
    plane.keep(RECORDS.items())


def identities(held: Estate) -> tuple[list[int], list[int]]:
    """Return what tells the files apart behind an estate's queues and sockets."""
    queues = [fd for device in held.devices.values() for fd in device.descriptors]
    sockets = [fd for by_worker in held.sockets.values() for fd in by_worker.values()]
    return [os.fstat(fd).st_ino for fd in queues], [os.fstat(fd).st_ino for fd in sockets]


def test_the_next_gateway_process_has_every_descriptor_too(
    spawn: Spawn, tmp_path: Path, queue: Queue
) -> None:
    first = spawn()
    fill(first, queue)
    before = identities(first.estate)
    first.close()
    with connect(tmp_path / SOCKET_NAME) as second:
        assert identities(second.estate) == before
        device = second.estate.devices[7]
        assert (device.name, device.uso) == (NAME, True)
        assert list(second.estate.sockets[PLACE]) == [0, 1]
        second.del_tunnel(7)
        second.del_socket(LEFT, 4500, EncapKind.UDP)
        assert (second.estate.devices, second.estate.sockets) == ({}, {})
        assert queue.far.recv(1) == b""  # nobody holds the other end any more


def test_what_waits_in_a_queue_is_read_by_the_process_that_follows_on_a_killed_one(
    spawn: Spawn, tmp_path: Path, queue: Queue
) -> None:
    plane = spawn()
    fill(plane, queue)
    killed = plane.pid
    os.kill(killed, signal.SIGKILL)
    queue.far.send(PACKET)
    plane.go_on_with(spawn_dataplane(tmp_path, ["--workers", "2"]))
    assert plane.pid != killed
    assert plane.state().tunnels == {}
    left = plane.left.devices.pop(7)
    plane.add_tunnel(7, left.name, left.queues, left.uso, PATH, EncapKind.UDP, OPTIONS)
    plane.set_outbound(7, plane_sa(0x301))  # until then it waits
    give_up_at = time.monotonic() + 10.0
    while not plane.tunnel_stats(7).drops:
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
    assert plane.tunnel_stats(7).drops == {"no_socket": 1}  # sealed; nothing to send it on is there
    assert not Path(f"/proc/{killed}").exists()


OTHER = """
import sys
from gateway.dataplane import control, server
control.hello = lambda: b"of another version"
{more}
from gateway.dataplane.process import main
sys.exit(main(["--listen-fd", "0", "--workers", "2"]))
"""


def test_a_process_of_another_abi_ends_and_leaves_what_it_had(
    spawn: Spawn, tmp_path: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        bind_private(listener, tmp_path / SOCKET_NAME)
        script = OTHER.format(more="")
        old = subprocess.Popen([sys.executable, "-c", script], stdin=listener.fileno())
    with monkeypatch.context() as patch:
        patch.setattr(control, "hello", lambda: b"of another version")
        with connect(tmp_path / SOCKET_NAME) as first:
            fill(first, queue)
            before = identities(first.estate)
    with pytest.raises(OtherAbi, match="the data plane has ABI version") as caught:
        connect(tmp_path / SOCKET_NAME)
    caught.value.estate.close()
    plane = spawn()
    assert old.wait(10.0) == 0
    assert identities(plane.left) == before
    assert plane.left.records == RECORDS
    assert plane.kept() == RECORDS  # until they are put in again
    plane.left.close()
    assert plane.kept() == {}
    plane.close()
    assert queue.far.recv(1) == b""


def test_a_process_that_knows_no_estate_has_to_be_ended_by_hand(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        bind_private(listener, tmp_path / SOCKET_NAME)
        script = OTHER.format(more="server.BEFORE_HELLO = {control.Op.HELLO}")
        old = subprocess.Popen([sys.executable, "-c", script], stdin=listener.fileno())
    try:
        with pytest.raises(
            DataPlaneError, match=r"ABI version .* \(systemctl stop twinspan-dataplane"
        ):
            spawn_dataplane(tmp_path)
        assert old.poll() is None
    finally:
        old.kill()
        old.wait()


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b'{"number": 1}',
        b'{"number": 1, "name": "a@b", "uso": true, "shares": [0, 0], "urgent": []}',
        b'{"place": ["192.0.2.1"], "workers": [0]}',
        b'{"place": ["192.0.2.1", 4500, 0], "workers": [0, 1]}',
        b'{"end": true}',
        b"[" * 3000,
    ],
)
def test_nonsense_leaves_no_descriptor_behind(content: bytes) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    read, write = os.pipe()
    descriptor = control.write_memory(b"xyz") if b"end" in content else write
    with ours, theirs:
        control.send(theirs, [MAGIC + content], [descriptor])
        os.close(descriptor)
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(DataPlaneError, match="not an estate"):
            estate.receive(ours, 5.0)
        assert len(os.listdir("/proc/self/fd")) == before
    os.close(read)
    if descriptor != write:
        os.close(write)


@pytest.mark.parametrize(
    "content",
    [
        b'{"number": 1, "name": "a@b", "uso": true, "shares": [0]}',
        b'{"place": ["192.0.2.1", 4500, 0], "workers": [0]}',
        b'{"more": 1}',
    ],
)
def test_an_end_that_says_the_same_for_ever_is_given_up_and_leaves_nothing(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estate, "MESSAGES_MAX", 2)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    read, write = os.pipe()
    with ours, theirs:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            control.send(theirs, [MAGIC + content], [write])
        with pytest.raises(DataPlaneError, match="not an estate"):
            estate.receive(ours, 5.0)
        assert len(os.listdir("/proc/self/fd")) == before
    os.close(read)
    os.close(write)


def test_messages_of_a_later_version_are_left_alone() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    read, write = os.pipe()
    with ours, theirs:
        control.send(theirs, [MAGIC + b'{"more": 1}'], [write])
        told = Estate(devices={1: Device("a@b", (TunQueue(write),), False)})
        for message, descriptors in estate.messages(told, RECORDS):
            control.send(theirs, [message], descriptors)
        os.close(write)
        found, rest = estate.receive(ours, 5.0)
    assert (found.is_whole, found.records, rest) == (True, RECORDS, b"")
    found.close()
    assert os.read(read, 1) == b""
    os.close(read)


def test_a_queue_is_read_as_it_was_and_by_its_own_worker_where_nothing_says_so() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    files = os.pipe()
    with ours, theirs:
        told = (TunQueue(files[0]), TunQueue(files[1], is_urgent=True))
        messages = list(estate.messages(Estate(devices={1: Device("a@b", told, True)}), RECORDS))
        control.send(theirs, [MAGIC + b'{"number": 2, "name": "c@d", "uso": true}'], list(files))
        for message, descriptors in messages:
            control.send(theirs, [message], descriptors)
        found, _ = estate.receive(ours, 5.0)
    control.close_all([*files, messages[-1][1][0]])
    first, second = ([(q.share, q.is_urgent) for q in found.devices[at].queues] for at in (1, 2))
    assert (first, second) == ([(0, False), (0, True)], [(0, False), (1, False)])
    found.close()


def test_an_end_that_does_not_go_on_is_given_up() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, pytest.raises(DataPlaneError, match="INHERIT in time"):
        estate.ask(ours, 0.01)


def test_the_program_that_this_one_becomes_reads_what_was_written() -> None:
    ends = os.pipe()
    queues = (TunQueue(ends[0], 1, is_urgent=True),)
    told = Estate({3: Device(NAME, queues, True)}, {PLACE: {1: ends[1]}}, since=4.5)
    memory = estate.write(told, RECORDS)
    assert all(os.get_inheritable(fd) for fd in (*ends, memory))
    found = estate.read(memory)
    assert found == replace(told, records=RECORDS, is_whole=True)
    assert not any(os.get_inheritable(fd) for fd in ends)
    found.close()
