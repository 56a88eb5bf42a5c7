"""The gateway process's end of the connection, against a far end that may say anything."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator

import pytest

from gateway._native import lib
from gateway.dataplane import control
from gateway.dataplane.channel import Channel
from gateway.dataplane.control import ANSWER, REQUEST, Op
from gateway.dataplane.interface import PlaneState, PuntType
from gateway.dataplane.punt import make_record
from gateway.dataplane.remote import RemotePlane, decode_state, struct_of
from gateway.dataplane.server import encode_state
from gateway.errors import DataPlaneError, UsageError


def reply(number: int, code: int = 0, content: bytes = b"") -> bytes:
    return make_record(lib.GW_PUNT_REPLY, ANSWER.pack(number, code, 0, len(content)) + content)


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    """Return a channel and the data plane's end; what it is to answer is written beforehand."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(ours, 0.05)
    yield channel, theirs
    channel.close()
    theirs.close()


Ends = tuple[Channel, socket.socket]


def test_call_returns_the_answer(ends: Ends) -> None:
    channel, far = ends
    far.send(reply(1, 0, b"stats"))
    assert channel.call(Op.TUNNEL_STATS, 7, b"body") == b"stats"
    assert far.recv(100) == REQUEST.pack(Op.TUNNEL_STATS, 0, 1, 7, 4) + b"body"


def test_call_raises_what_it_is_answered_with(ends: Ends) -> None:
    channel, far = ends
    far.send(reply(1, lib.GW_E_NOENT, b"no tunnel 7"))
    with pytest.raises(DataPlaneError, match="no tunnel 7") as caught:
        channel.call(Op.DEL_TUNNEL, 7)
    assert caught.value.code == lib.GW_E_NOENT


def test_punts_that_come_before_the_reply_are_kept_in_order(ends: Ends) -> None:
    channel, far = ends
    for text in (b"first", b"second"):
        far.send(make_record(PuntType.IKE, text))
    far.send(reply(1))
    channel.call(Op.DEL_TUNNEL, 7)
    assert [punt.data for punt in channel.queue] == [b"first", b"second"]


def test_late_reply_to_a_call_given_up_is_thrown_away(ends: Ends) -> None:
    channel, far = ends
    with pytest.raises(DataPlaneError, match="in time") as caught:
        channel.call(Op.DEL_TUNNEL, 7)
    assert caught.value.errno == errno.ETIMEDOUT
    far.send(reply(1, 0, b"late"))
    far.send(reply(2, 0, b"now"))
    assert channel.call(Op.TUNNEL_STATS, 7) == b"now"


def test_what_nobody_takes_to_keep_is_an_error() -> None:
    """No peer may see it then, and the datagram leaves by another way: it has to show at once."""
    ours, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    far.send(reply(1, 0, control.WELCOME.pack(1, 2)))
    with RemotePlane(ours, timeout_s=0.05) as plane, far:
        plane.keep([(b"spi", b"record")])
        far.send(reply(0, lib.GW_E_EXISTS, b"another is connected"))
        far.close()
        for size in (1, control.PAYLOAD_MAX):
            with pytest.raises(DataPlaneError, match="closed the connection") as caught:
                plane.keep([(b"spi", bytes(size))])
            assert caught.value.errno == errno.ECONNRESET
        with pytest.raises(DataPlaneError, match="another is connected"):
            plane.tunnel_stats(7)


def test_malformed_records_are_counted_and_skipped(ends: Ends) -> None:
    channel, far = ends
    far.send(b"x")
    far.send(make_record(77, b""))
    far.send(make_record(PuntType.IKE, b"data")[:-1])
    far.send(reply(1, 0, b"good"))
    assert channel.call(Op.TUNNEL_STATS, 7) == b"good"
    assert (channel.bad_records, len(channel.queue)) == (3, 0)


def test_end_of_the_process_is_an_error_at_once(ends: Ends) -> None:
    channel, far = ends
    far.close()
    with pytest.raises(DataPlaneError, match="is gone") as caught:
        channel.call(Op.DEL_TUNNEL, 7)
    assert caught.value.errno == errno.ECONNRESET


def test_unasked_descriptors_are_closed(ends: Ends) -> None:
    channel, far = ends
    before = len(os.listdir("/proc/self/fd"))
    descriptor = control.write_memory(b"x")
    for record in (reply(1), make_record(PuntType.IKE, b"data"), b"nonsense"):
        control.send(far, [record], [descriptor])
    os.close(descriptor)
    with pytest.raises(DataPlaneError, match="answered with a descriptor"):
        channel.call(Op.DEL_TUNNEL, 7)
    assert channel.read() is None
    assert channel.bad_records == 2
    assert len(os.listdir("/proc/self/fd")) == before


def test_fetch_needs_a_descriptor(ends: Ends) -> None:
    channel, far = ends
    far.send(reply(1))
    with pytest.raises(DataPlaneError, match="0 descriptors"):
        channel.fetch(Op.KEPT)


def test_fetch_refuses_a_pipe(ends: Ends) -> None:
    channel, far = ends
    read, write = os.pipe()
    control.send(far, [reply(1)], [read])
    with pytest.raises(DataPlaneError, match="not a memory file"):
        channel.fetch(Op.KEPT)
    os.close(read)
    os.close(write)


def test_closed_channel_is_the_callers_mistake(ends: Ends) -> None:
    channel, _ = ends
    channel.close()
    with pytest.raises(UsageError):
        channel.call(Op.DEL_TUNNEL, 7)


def test_welcome_of_the_wrong_length_is_refused() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        theirs.send(reply(1, 0, b"12"))
        with pytest.raises(DataPlaneError, match="welcome of 2 bytes"):
            RemotePlane(ours)


def test_struct_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(DataPlaneError, match="31 bytes"):
        struct_of("struct gw_sa_stats", bytes(31))


STATE = PlaneState(
    2, (("192.0.2.1", 4500, 0), ("::1", 0, 1)), {7: (256, 257), 8: ()}, {7: "é", 8: ""}
)


def test_state_is_read_as_it_was_written() -> None:
    assert decode_state(encode_state(STATE)) == STATE


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"workers": 1, "sockets": [], "tunnels": [[1, "x"]]}',
        b'{"workers": 1, "sockets": [["name", 1, 0]], "tunnels": []}',
        b'{"workers": 1, "sockets": [["::", 1, 9]], "tunnels": []}',
        b'{"workers": null, "sockets": [], "tunnels": []}',
        b"\xff",
    ],
)
def test_impossible_state_is_refused(content: bytes) -> None:
    with pytest.raises(DataPlaneError, match="sent nonsense: state"):
        decode_state(content)


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_memory_file_is_read_as_it_was_written(size: int) -> None:
    descriptor = control.write_memory(b"m" * size)
    assert control.read_memory(descriptor) == b"m" * size
    with pytest.raises(PermissionError):
        os.write(descriptor, b"x")
    os.close(descriptor)


def test_memory_file_without_seals_is_refused() -> None:
    descriptor = os.memfd_create("open", os.MFD_ALLOW_SEALING)
    with pytest.raises(DataPlaneError, match="not sealed"):
        control.read_memory(descriptor)
    os.close(descriptor)


def test_too_large_memory_file_is_refused() -> None:
    descriptor = os.memfd_create("large", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, control.MEMORY_MAX + 1)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, control.SEALS)
    with pytest.raises(DataPlaneError, match="at most"):
        control.check_memory(descriptor)
    os.close(descriptor)
