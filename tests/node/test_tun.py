"""Real TUN devices, in a network namespace of the test's own."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
from collections.abc import Iterator

import pytest

from gateway.node.lanes import plain
from gateway.node.netlink import Netlink
from gateway.node.tun import TunError, TunQueues, open_tun
from tests.node.network import ip

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("network")]


@pytest.fixture
def kernel(network: None) -> Iterator[Netlink]:
    netlink = Netlink()
    yield netlink
    netlink.close()


@pytest.fixture
def tun(network: None) -> Iterator[TunQueues]:
    made = open_tun("ts-a", plain(2))
    yield made
    made.close()


def test_a_new_device_has_its_queues_and_no_carrier(kernel: Netlink, tun: TunQueues) -> None:
    kernel.set_up("ts-a", up=True)

    assert len(tun.queues) == 2
    assert "NO-CARRIER" in ip("link show ts-a")
    assert "multi_queue numqueues 2" in ip("-d link show ts-a")
    assert "vnet_hdr on" in ip("-d link show ts-a")


def test_a_device_with_one_queue_is_not_made_for_many(kernel: Netlink) -> None:
    one = open_tun("ts-one", plain(1))
    assert "multi_queue" not in ip("-d link show ts-one")
    assert "numtxqueues 1 " in ip("-d link show ts-one")
    one.close()


def test_queues_do_not_block(tun: TunQueues) -> None:
    with pytest.raises(BlockingIOError):
        os.read(tun.queues[1].fd, 2048)


def test_a_packet_routed_to_the_device_is_read_with_its_offload_header(
    kernel: Netlink, tun: TunQueues
) -> None:
    fcntl.ioctl(tun.queues[0].fd, 0x400454E2, struct.pack("=i", 1))  # TUNSETCARRIER
    kernel.set_tunnel_behaviour("ts-a", 1000)
    kernel.set_up("ts-a", up=True)
    kernel.settle_carrier("ts-a")
    ip("addr add 169.254.10.1/30 dev ts-a")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"hello", ("169.254.10.2", 9))

    ready, _, _ = select.select([queue.fd for queue in tun.queues], [], [], 5)
    packet = os.read(ready[0], 65536)

    assert packet[10] >> 4 == 4  # behind ten bytes of virtio_net_hdr
    assert packet.endswith(b"hello")


def test_the_device_goes_with_its_last_queue() -> None:
    open_tun("ts-gone", plain(1)).close()

    assert "ts-gone" not in ip("link")


def test_a_name_in_use_is_refused(tun: TunQueues) -> None:
    with pytest.raises(TunError, match="interface named ts-a exists already"):
        open_tun("ts-a", plain(1))


def test_a_device_of_another_kind_is_refused() -> None:
    ip("link add ts-b type bridge")

    with pytest.raises(TunError, match="ts-b"):
        open_tun("ts-b", plain(1))
