"""rtnetlink against the kernel; iproute2 is the judge."""

from __future__ import annotations

import errno
import fcntl
import gc
import struct
import sys
from collections.abc import Iterator
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest
import uvloop

from gateway.node.lanes import plain
from gateway.node.netlink import Link, Netlink, NetlinkError, Route
from gateway.node.tun import TunQueues, open_tun
from tests.node.network import ip

pytestmark = pytest.mark.system

NET4, NET6 = ip_network("10.20.0.0/16"), ip_network("fd02::/64")


@pytest.fixture
def kernel(network: None) -> Iterator[Netlink]:
    netlink = Netlink()
    yield netlink
    netlink.close()


@pytest.fixture
def twins(kernel: Netlink) -> Iterator[dict[str, TunQueues]]:
    """Two devices, up, without carrier."""
    made = {name: open_tun(name, plain(1)) for name in ("ts-1", "ts-2")}
    for name in made:
        kernel.set_tunnel_behaviour(name, 1234)
        kernel.set_up(name, up=True)
        kernel.leave_dead_routes6(name)
    yield made
    for tun in made.values():
        tun.close()


def set_carrier(kernel: Netlink, tun: TunQueues, up: bool) -> None:
    fcntl.ioctl(tun.queues[0].fd, 0x400454E2, struct.pack("=i", up))  # TUNSETCARRIER
    kernel.settle_carrier(tun.name)


def setting(name: str, key: str, family: str = "ipv4") -> str:
    return Path(f"/proc/sys/net/{family}/conf/{name}/{key}").read_text().strip()


@pytest.mark.usefixtures("twins")
def test_a_tun_device_is_set_up_as_a_tunnel(kernel: Netlink) -> None:
    kernel.set_mtu("ts-1", 1438)

    shown = ip("-d link show ts-1")
    assert "mtu 1438" in shown
    assert "qlen 1234" in shown
    assert "addrgenmode none" in shown
    assert setting("ts-1", "rp_filter") == "0"
    assert setting("ts-1", "send_redirects") == "0"
    assert setting("ts-1", "ignore_routes_with_linkdown") == "1"
    assert setting("ts-1", "ignore_routes_with_linkdown", "ipv6") == "1"


def test_a_device_of_many_queues_has_no_queueing_discipline(kernel: Netlink) -> None:
    tun = open_tun("ts-many", plain(2))
    kernel.set_no_queueing("ts-many")
    kernel.set_up("ts-many", up=True)
    set_carrier(kernel, tun, True)
    assert "qdisc noqueue" in ip("link show ts-many")
    tun.close()


@pytest.mark.usefixtures("twins")
@pytest.mark.parametrize("text", ["169.254.10.1/30", "fd00:10::1/126"])
def test_addresses_are_added_listed_and_removed(kernel: Netlink, text: str) -> None:
    address = ip_interface(text)

    kernel.add_address("ts-1", address)
    kernel.add_address("ts-1", address)  # again: no error
    assert kernel.addresses("ts-1") == {address}
    assert kernel.addresses("ts-2") == set()
    assert text in ip("addr show ts-1")

    kernel.del_address("ts-1", address)
    assert kernel.addresses("ts-1") == set()


@pytest.mark.usefixtures("twins")
def test_only_routes_of_ours_are_listed(kernel: Netlink) -> None:
    ours = {
        Route(NET4, 100, "ts-1"),
        Route(NET4, 200, "ts-2"),
        Route(NET4, 4_000_000_000, None),
        Route(NET6, 100, "ts-1"),
        Route(NET6, 4_000_000_000, None),
        Route(ip_network("0.0.0.0/0"), 100, "ts-1"),
        Route(ip_network("::/0"), 100, "ts-1"),
    }
    ip("route add 10.99.0.0/16 dev ts-1")
    for route in ours:
        kernel.add_route(route)

    assert kernel.routes() == ours

    for route in ours:
        kernel.del_route(route)
    assert kernel.routes() == set()
    assert "10.99.0.0/16" in ip("route")


@pytest.mark.usefixtures("twins")
def test_a_route_that_is_gone_is_removed_without_error(kernel: Netlink) -> None:
    kernel.del_route(Route(NET4, 100, "ts-1"))
    kernel.del_route(Route(NET4, 100, "no-such-device"))


@pytest.mark.parametrize(("target", "net"), [("10.20.1.1", NET4), ("fd02::1", NET6)])
def test_traffic_takes_the_first_device_with_carrier_at_once_and_none_when_all_are_down(
    kernel: Netlink, twins: dict[str, TunQueues], target: str, net: object
) -> None:
    for number, name in enumerate(twins):
        kernel.add_address(name, ip_interface(f"169.254.{number}.1/30"))
        kernel.add_address(name, ip_interface(f"fd00:{number}::1/126"))
        kernel.add_route(Route(ip_network(str(net)), 100 + number, name))
    kernel.add_route(Route(ip_network(str(net)), 4_000_000_000, None))
    first, second = twins.values()

    def taken() -> str:
        try:
            return ip(f"route get {target}").split(" dev ")[1].split()[0]
        except Exception as error:
            return "unreachable" if "No route" in str(getattr(error, "stderr", "")) else "?"

    assert taken() == "unreachable"
    set_carrier(kernel, second, True)
    assert taken() == "ts-2"
    for _ in range(3):  # the second time within a second the kernel would be late by itself
        set_carrier(kernel, first, True)
        assert taken() == "ts-1"
        set_carrier(kernel, first, False)
        assert taken() == "ts-2"
    set_carrier(kernel, second, False)
    assert taken() == "unreachable"


def test_the_kernels_refusal_names_the_object_and_the_reason(kernel: Netlink) -> None:
    with pytest.raises(NetlinkError, match="link no-such: No such device") as refused:
        kernel.set_mtu("no-such", 1400)
    assert refused.value.errno == errno.ENODEV


@pytest.mark.usefixtures("twins")
def test_a_value_out_of_range_is_refused_with_the_kernels_words(kernel: Netlink) -> None:
    with pytest.raises(NetlinkError, match=r"link ts-1 mtu 70000: .*mtu") as refused:
        kernel.set_mtu("ts-1", 70000)
    assert refused.value.errno == errno.EINVAL


@pytest.mark.usefixtures("twins")
def test_it_answers_inside_the_event_loop_of_the_gateway() -> None:
    async def ask() -> tuple[dict[str, Link], set[Route], str | None, str | None]:
        kernel = Netlink()
        try:
            kernel.set_up("ts-2", up=False)
            kernel.add_address("ts-1", ip_interface("169.254.10.1/30"))
            kernel.add_address("ts-1", ip_interface("fd00:10::1/126"))
            kernel.add_route(Route(NET4, 100, "ts-1"))
            toward4 = kernel.device_toward(ip_address("127.0.0.1"))
            return kernel.links(), kernel.routes(), toward4, kernel.device_toward(ip_address("::1"))
        finally:
            kernel.close()

    links, routes, toward4, toward6 = uvloop.run(ask())

    assert (links["ts-1"].is_up, links["ts-2"].is_up) == (True, False)
    assert routes == {Route(NET4, 100, "ts-1")}
    assert (toward4, toward6) == ("lo", "lo")


def test_no_answer_stays_behind_in_memory(kernel: Netlink) -> None:
    def ask(times: int) -> int:
        for _ in range(times):
            kernel.set_up("lo", up=True)
            kernel.addresses("lo")
            kernel.routes()
            kernel.device_toward(ip_address("127.0.0.1"))
            assert kernel.device_toward(ip_address("192.0.2.1")) is None
        gc.collect()
        return sys.getallocatedblocks()

    ask(100)  # pyroute2 remembers the last 255 sequence numbers
    before = ask(1)
    # An answer is several blocks, so one left a round would be thousands.
    assert ask(500) - before < 500
