"""The serving end, in this process: no message, whatever it says, ends it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway._native import ffi, lib
from gateway.dataplane import codec, control
from gateway.dataplane.channel import Reply, parse_record
from gateway.dataplane.control import REQUEST, Op
from gateway.dataplane.fastpath import FastPath
from gateway.dataplane.fdstore import Store
from gateway.dataplane.interface import EncapKind, TunQueue
from gateway.dataplane.manager import Manager
from gateway.dataplane.process import log
from gateway.dataplane.records import pack, unpack
from gateway.dataplane.server import Connection, Service
from tests.dataplane.values import KEY, LEFT, OPTIONS, PATH, plane_sa


@dataclass
class Bench:
    """A connection with a real fast path behind it (no worker runs) and the gateway's end."""

    path: FastPath
    service: Service
    connection: Connection
    gateway: socket.socket
    buffer: bytearray = field(default_factory=lambda: bytearray(70_000))

    def say(self, message: bytes, descriptors: list[int] | None = None) -> Reply:
        """Send one message, have it answered, and return the reply."""
        control.send(self.gateway, [message], descriptors or [])
        assert self.connection.serve_one()
        received = control.receive(self.gateway, [memoryview(self.buffer)])
        record = parse_record(memoryview(self.buffer)[: received.length], received.descriptors)
        assert isinstance(record, Reply)
        control.close_all(record.descriptors)
        return record

    def ask(
        self, op: Op, target: int = 0, body: bytes = b"", descriptors: list[int] | None = None
    ) -> Reply:
        return self.say(REQUEST.pack(op, 0, 5, target, len(body)) + body, descriptors)


@pytest.fixture
def bench() -> Iterator[Bench]:
    theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    path = FastPath(1, 8)
    service = Service(path, Store(Manager(), path.estate, log))
    made = Bench(path, service, Connection(ours, service, "test"), theirs)
    yield made
    service.close()
    path.close()
    ours.close()
    theirs.close()


@pytest.fixture
def greeted(bench: Bench) -> Bench:
    assert bench.ask(Op.HELLO, body=control.hello()).code == lib.GW_OK
    return bench


def text(reply: Reply) -> str:
    assert reply.code != lib.GW_OK
    return reply.content.decode()


def bytes_of(struct: object) -> bytes:
    return bytes(ffi.buffer(struct))


def udp_socket() -> int:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.bind(("127.0.0.1", 0))
    return sock.detach()


def test_hello_is_answered_with_workers_and_process(bench: Bench) -> None:
    reply = bench.ask(Op.HELLO, body=control.hello())
    assert (reply.number, reply.code) == (5, lib.GW_OK)
    assert control.WELCOME.unpack(reply.content) == (1, os.getpid())


def test_hello_of_another_version_is_refused(bench: Bench) -> None:
    other = bytes([99]) + control.hello()[1:]
    assert "ABI version" in text(bench.ask(Op.HELLO, body=other))
    assert not bench.connection.greeted


@pytest.mark.parametrize("op", [op for op in Op if op not in control.BEFORE_HELLO])
def test_nothing_is_answered_before_hello(bench: Bench, op: Op) -> None:
    assert f"{op.name} before HELLO" in text(bench.ask(op))


@pytest.mark.parametrize(
    ("op", "size"),
    [
        (Op.ADD_SOCKET, "struct gw_socket"),
        (Op.DEL_SOCKET, "struct gw_socket"),
        (Op.SET_OPTIONS, "struct gw_tunnel_options"),
        (Op.SET_PATH, "struct gw_path"),
        (Op.ADD_INBOUND, "struct gw_sa"),
        (Op.SET_OUTBOUND, "struct gw_sa"),
    ],
)
def test_struct_of_another_size_is_refused(greeted: Bench, op: Op, size: str) -> None:
    for length in (0, ffi.sizeof(size) - 1, ffi.sizeof(size) + 1):
        descriptors = [udp_socket()] if op is Op.ADD_SOCKET else []
        assert f"{length} bytes, need" in text(greeted.ask(op, 7, bytes(length), descriptors))
        control.close_all(descriptors)


@pytest.mark.parametrize(
    "message",
    [
        b"x",
        REQUEST.pack(Op.STATE, 0, 5, 0, 1),
        REQUEST.pack(Op.STATE, 1, 5, 0, 0),
        REQUEST.pack(Op.CLEAR_OUTBOUND, 32, 5, 7, 0),
        REQUEST.pack(99, 0, 5, 0, 0),
        REQUEST.pack(0, 0, 5, 0, 0),
        REQUEST.pack(Op.SET_CARRIER, 0, 5, 7, 1) + b"\x02",
        REQUEST.pack(Op.SEND_IKE, 0, 5, 0, 3) + b"abc",
        REQUEST.pack(Op.ADD_TUNNEL, 0, 5, 0, 3) + b"abc",
    ],
)
def test_malformed_message_is_answered_with_an_error(greeted: Bench, message: bytes) -> None:
    assert text(greeted.say(message))
    assert greeted.ask(Op.STATE).code == lib.GW_OK


def test_longer_message_than_any_is_refused(greeted: Bench) -> None:
    greeted.gateway.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    assert "cut" in text(greeted.say(bytes(control.PAYLOAD_MAX + REQUEST.size + 1)))


@settings(
    max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    op=st.sampled_from([op for op in Op if op not in (Op.STOP, Op.KEEP, Op.INHERIT)]),
    target=st.integers(0, 2**32 - 1),
    body=st.one_of(
        st.binary(max_size=64),
        st.sampled_from([ffi.sizeof(name) for name in control.STRUCTS]).flatmap(
            lambda size: st.binary(min_size=size, max_size=size + 4)
        ),
    ),
)
def test_any_request_is_answered(greeted: Bench, op: Op, target: int, body: bytes) -> None:
    assert greeted.ask(op, target, body).number == 5
    assert greeted.ask(Op.STATE).code == lib.GW_OK


@settings(
    max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_are_answered(greeted: Bench, message: bytes) -> None:
    greeted.say(message)
    assert greeted.ask(Op.STATE).code == lib.GW_OK


def test_descriptors_that_nobody_takes_are_closed(greeted: Bench) -> None:
    before = len(os.listdir("/proc/self/fd"))
    descriptor = udp_socket()
    for op in (Op.STATE, Op.ADD_TUNNEL, Op.ADD_SOCKET, Op.SET_PATH):
        greeted.ask(op, descriptors=[descriptor] * 3)
    os.close(descriptor)
    assert len(os.listdir("/proc/self/fd")) == before


def test_more_descriptors_than_a_tunnel_has_are_refused_and_closed(greeted: Bench) -> None:
    before = len(os.listdir("/proc/self/fd"))
    descriptor = udp_socket()
    assert "cut" in text(greeted.ask(Op.STATE, descriptors=[descriptor] * 200))
    os.close(descriptor)
    assert len(os.listdir("/proc/self/fd")) == before


def test_socket_is_taken_and_named_in_the_state(greeted: Bench) -> None:
    struct = bytes_of(codec.new_socket(-1, 0, LEFT, 4500, EncapKind.UDP))
    descriptor = udp_socket()
    assert greeted.ask(Op.ADD_SOCKET, body=struct, descriptors=[descriptor]).code == lib.GW_OK
    os.close(descriptor)
    assert greeted.path.state().sockets == (("192.0.2.1", 4500, 0),)
    assert greeted.ask(Op.DEL_SOCKET, body=struct).code == lib.GW_OK
    assert greeted.path.state().sockets == ()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_tunnel_with_another_number_of_descriptors_is_refused(greeted: Bench, count: int) -> None:
    struct = codec.new_tunnel(7, [TunQueue(-1)] * 2, True, PATH, EncapKind.UDP, OPTIONS)
    descriptors = [udp_socket() for _ in range(count)]
    reply = greeted.ask(Op.ADD_TUNNEL, body=bytes_of(struct) + b"t", descriptors=descriptors)
    assert f"{count} descriptors, need 2" in text(reply)
    control.close_all(descriptors)


def test_tunnel_with_an_impossible_name_is_refused(greeted: Bench) -> None:
    struct = bytes_of(codec.new_tunnel(7, [TunQueue(-1)], True, PATH, EncapKind.UDP, OPTIONS))
    assert "256 bytes" in text(greeted.ask(Op.ADD_TUNNEL, body=struct + b"n" * 256))
    assert "UTF-8" in text(greeted.ask(Op.ADD_TUNNEL, body=struct + b"\xff"))


def test_error_names_what_was_tried(greeted: Bench) -> None:
    reply = greeted.ask(Op.SET_CARRIER, 7, b"\1")
    assert reply.code == lib.GW_E_NOENT
    assert text(reply).startswith("set carrier of tunnel 7: ")


def test_no_key_stays_in_the_receive_buffer(greeted: Bench) -> None:
    sa = bytes_of(codec.new_sa(plane_sa(0x300)))
    assert KEY in sa
    greeted.ask(Op.ADD_INBOUND, 7, sa)
    assert KEY not in bytes(ffi.buffer(greeted.connection.payload))


def kept(greeted: Bench) -> dict[bytes, bytes]:
    control.send(greeted.gateway, [REQUEST.pack(Op.KEPT, 0, 6, 0, 0)], [])
    assert greeted.connection.serve_one()
    received = control.receive(greeted.gateway, [memoryview(greeted.buffer)])
    found = dict(unpack(control.read_memory(received.descriptors[0])))
    control.close_all(received.descriptors)
    return found


def post(greeted: Bench, body: bytes, descriptors: list[int] | None = None) -> None:
    """Send records, which are not answered when they are kept."""
    message = REQUEST.pack(Op.KEEP, 0, 5, 0, len(body)) + body
    control.send(greeted.gateway, [message], descriptors or [])
    assert greeted.connection.serve_one()


@given(st.binary(max_size=64))
@settings(
    max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_any_records_are_refused_or_not_answered(greeted: Bench, body: bytes) -> None:
    post(greeted, body)
    control.send(greeted.gateway, [REQUEST.pack(Op.STATE, 0, 6, 0, 0)], [])
    assert greeted.connection.serve_one()
    received = control.receive(greeted.gateway, [memoryview(greeted.buffer)])
    record = parse_record(memoryview(greeted.buffer)[: received.length], received.descriptors)
    control.close_all(received.descriptors)
    if isinstance(record, Reply) and record.number == 5:
        assert record.code != lib.GW_OK
        received = control.receive(greeted.gateway, [memoryview(greeted.buffer)])
        control.close_all(received.descriptors)


def test_records_come_back_as_they_were_given(greeted: Bench) -> None:
    post(greeted, pack([(b"a", b"1"), (b"b", b"2")]))
    descriptor = control.write_memory(pack([(b"a", b""), (b"c", b"3")]))
    post(greeted, b"", [descriptor])
    os.close(descriptor)
    assert kept(greeted) == {b"b": b"2", b"c": b"3"}


def test_records_that_cannot_be_read_leave_nothing_that_they_may_have_replaced(
    greeted: Bench,
) -> None:
    post(greeted, pack([(b"a", b"1")]))
    descriptor = os.open("/dev/null", os.O_RDONLY)
    assert "memory file" in text(greeted.ask(Op.KEEP, descriptors=[descriptor]))
    os.close(descriptor)
    assert kept(greeted) == {}


def test_gateway_that_is_gone_ends_the_connection(greeted: Bench) -> None:
    greeted.gateway.close()
    assert not greeted.connection.serve_one()


def test_stop_is_answered_before_the_end(greeted: Bench) -> None:
    assert greeted.ask(Op.STOP).code == lib.GW_OK
    assert greeted.service.stopped
