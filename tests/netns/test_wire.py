"""What the namespace keeper takes for a request, and what not."""

from __future__ import annotations

import os
import socket

import pytest

from gateway.errors import WireError
from gateway.netns import wire


@pytest.mark.parametrize("name", ["red", "a.b-c_d", "x" * 32, "0"])
def test_a_plain_name_is_a_namespace(name: str) -> None:
    assert wire.namespace_of({"namespace": name}) == name


@pytest.mark.parametrize("name", ["", ".", "..", "../etc", "a/b", "-x", "x" * 33, "a\n", None, 7])
def test_a_name_that_is_a_path_is_none(name: object) -> None:
    with pytest.raises(WireError):
        wire.namespace_of({"namespace": name})


def test_only_settings_of_tunnels_are_written() -> None:
    assert wire.is_writable("ipv6/conf/ts-red-1/ignore_routes_with_linkdown")
    for name in (
        "ipv4/ip_forward",
        "ipv6/conf/../ignore_routes_with_linkdown",
        "ipv6/conf/a/../../ignore_routes_with_linkdown",
        "ipv6/conf/x/ignore_routes_with_linkdown/../../kernel",
        "../kernel/core_pattern",
    ):
        assert not wire.is_writable(name), name
    assert wire.is_readable("ipv4/ip_forward")
    assert not wire.is_readable("core/bpf_jit_enable")


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def test_a_message_arrives_with_its_descriptors() -> None:
    here, there = pair()
    with here, there, open(os.devnull) as file:
        wire.send(here, {"op": "made"}, [file.fileno()])
        received = wire.receive(there)
        assert received is not None
        message, (descriptor,) = received
        assert message == {"op": "made"}
        assert os.fstat(descriptor).st_rdev == os.fstat(file.fileno()).st_rdev
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)


@pytest.mark.parametrize("data", [b"{", b"[]", b"\xff", b"[" * 50000, b"7", b"x" * 70000])
def test_what_is_no_request_is_one_error_and_leaks_no_descriptor(data: bytes) -> None:
    here, there = pair()
    before = len(os.listdir("/proc/self/fd"))
    with here, there, open(os.devnull) as file:
        socket.send_fds(here, [data], [file.fileno()])
        with pytest.raises(WireError):
            wire.receive(there)
    assert len(os.listdir("/proc/self/fd")) == before - 2
