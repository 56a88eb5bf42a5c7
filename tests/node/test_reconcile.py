"""
Reconcile against the real kernel and a real data plane: what a plan makes, and what a change
touches.
"""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from gateway.dataplane.interface import PlaneSa
from gateway.dataplane.plane import LocalPlane
from gateway.ike.events import ChildSaDown, Reason
from gateway.ike.selectors import ANY4
from gateway.node.lanes import plain
from gateway.node.netlink import Route
from gateway.node.plan import NodePlan, plan
from gateway.node.routes import FAIL_CLOSED_METRIC
from gateway.node.tun import open_tun
from gateway.node.udp import SocketError, open_ike_socket
from gateway.sa import Encr, EspSa, Integ
from gateway.secret import Secret
from tests.node.gateway_parts import Parts, parts
from tests.node.network import ip
from tests.support.documents import CONNECTION, FIRST, REMOVED, SECOND, document

pytestmark = pytest.mark.system

NET = ip_network("10.20.0.0/16")
IGNORED = "ignore_routes_with_linkdown"


def wanted(*edits: tuple[tuple[str | int, ...], object]) -> NodePlan:
    """Return the plan of the base document with edits; nobody begins, so no packet is sent."""
    return plan(document(((*CONNECTION, "start"), "respond"), *edits))


def indexes() -> dict[str, str]:
    """Return the kernel's number of each device: a device made anew has another one."""
    return {line.split(": ")[1]: line.split(": ")[0] for line in ip("-o link").splitlines() if line}


def facts(gw: Parts) -> tuple[object, ...]:
    """Return all that a reconcile with nothing to do must leave alone."""
    return (indexes(), gw.kernel.routes(), ip("addr"), gw.plane.state())


async def test_the_plan_is_made_so(gw: Parts) -> None:
    change = gw.reconciler.apply(wanted())

    assert [tunnel.name for tunnel in change.added] == ["office-1", "office-2"]
    assert gw.kernel.routes() == {
        Route(NET, 100, "ts-office-1"),
        Route(NET, 101, "ts-office-2"),
        Route(NET, FAIL_CLOSED_METRIC, None),
    }
    assert gw.kernel.addresses("ts-office-1") == {ip_interface("169.254.10.1/30")}
    state = gw.plane.state()
    assert set(state.names.values()) == {"office-1@ts-office-1", "office-2@ts-office-2"}
    assert {(where, port) for where, port, _ in state.sockets} == {
        ("192.0.2.1", 4500),
        ("192.0.2.1", 0),
        ("198.51.100.1", 4500),
        ("198.51.100.1", 0),
    }
    assert gw.daemon.sockets.addresses == {ip_address("192.0.2.1"), ip_address("198.51.100.1")}
    assert gw.daemon.known == {"office-1", "office-2"}
    assert "NO-CARRIER" in ip("link show ts-office-1")


async def test_clear_text_goes_nowhere_while_all_tunnels_are_down(gw: Parts) -> None:
    ip("route add default dev lo")
    gw.reconciler.apply(wanted())

    with pytest.raises(Exception, match="returned non-zero") as refused:
        ip("route get 10.20.0.9")
    assert "No route to host" in str(getattr(refused.value, "stderr", ""))


async def test_clear_text_is_stopped_before_the_first_device_is_made(
    gw: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of devices take seconds; meanwhile a default route would carry clear text."""
    seen: list[set[Route]] = []
    set_up = gw.kernel.set_up

    def watched(interface: str, *, up: bool) -> None:
        seen.append(gw.kernel.routes())
        set_up(interface, up=up)

    monkeypatch.setattr(gw.kernel, "set_up", watched)
    gw.reconciler.apply(wanted())

    assert len(seen) == 2
    assert all(Route(NET, FAIL_CLOSED_METRIC, None) in routes for routes in seen)


async def test_again_the_same_plan_touches_nothing(gw: Parts) -> None:
    gw.reconciler.apply(wanted())
    before = facts(gw)

    change = gw.reconciler.apply(wanted())

    assert change.is_empty
    assert facts(gw) == before


async def test_a_change_of_one_tunnel_leaves_the_other_alone(gw: Parts) -> None:
    gw.reconciler.apply(wanted())
    devices = indexes()

    gw.reconciler.apply(
        wanted(((*SECOND, "interface"), "tunB"), ((*SECOND, "inner_cidr"), "169.254.11.0/30"))
    )

    assert indexes()["ts-office-1"] == devices["ts-office-1"]
    assert "ts-office-2" not in indexes()
    assert gw.kernel.addresses("tunB") == {ip_interface("169.254.11.1/30")}
    assert Route(NET, 101, "tunB") in gw.kernel.routes()


async def test_addresses_mtu_and_metrics_change_under_the_same_device(gw: Parts) -> None:
    gw.reconciler.apply(wanted())
    devices = indexes()

    gw.reconciler.apply(
        wanted(
            ((*FIRST, "mtu"), 1300),
            ((*FIRST, "inner_cidr"), "169.254.11.0/30"),
            ((*FIRST, "preference"), 500),
        )
    )

    assert indexes() == devices
    assert "mtu 1300" in ip("link show ts-office-1")
    assert gw.kernel.addresses("ts-office-1") == {ip_interface("169.254.11.1/30")}
    assert Route(NET, 500, "ts-office-1") in gw.kernel.routes()
    assert Route(NET, 100, "ts-office-1") not in gw.kernel.routes()


async def test_a_tunnel_that_goes_takes_its_device_and_routes_along(gw: Parts) -> None:
    gw.reconciler.apply(wanted())

    gw.reconciler.apply(wanted((SECOND, REMOVED)))

    assert "ts-office-2" not in indexes()
    assert gw.kernel.routes() == {
        Route(NET, 100, "ts-office-1"),
        Route(NET, FAIL_CLOSED_METRIC, None),
    }
    assert gw.daemon.known == {"office-1"}


async def test_an_address_that_goes_takes_its_sockets_along(gw: Parts) -> None:
    gw.reconciler.apply(wanted())

    gw.reconciler.apply(
        wanted(
            (("gateway", "public_addresses"), ["192.0.2.1"]),
            ((*SECOND, "local_address"), "192.0.2.1"),
        )
    )

    assert {where for where, _, _ in gw.plane.state().sockets} == {"192.0.2.1"}
    assert gw.daemon.sockets.addresses == {ip_address("192.0.2.1")}
    open_ike_socket(ip_address("198.51.100.1")).close()  # free again


async def test_a_name_in_use_holds_up_one_tunnel_only_and_is_tried_again(gw: Parts) -> None:
    stranger = open_tun("ts-office-1", plain(1))
    gw.reconciler.apply(wanted())

    assert gw.reconciler.troubles["office-1"].code == "setup_failed"
    assert "twinspan doctor" in gw.reconciler.troubles["office-1"].hint
    assert "exists already" in gw.reconciler.troubles["office-1"].text
    assert gw.daemon.known == {"office-2"}
    shown = {str(one["name"]): one for one in tunnels(gw)}
    assert "exists already" in str(shown["office-1"]["reason"])
    assert Route(NET, 101, "ts-office-2") in gw.kernel.routes()

    stranger.close()
    gw.reconciler.repair()

    assert gw.reconciler.troubles == {}
    assert gw.daemon.known == {"office-1", "office-2"}
    assert Route(NET, 100, "ts-office-1") in gw.kernel.routes()


async def test_a_device_that_was_deleted_is_made_again_and_its_twin_left_alone(gw: Parts) -> None:
    gw.reconciler.apply(wanted())
    devices = indexes()
    ip("link del ts-office-1")
    async with asyncio.timeout(10):
        await gw.daemon.trouble.wait()  # the data plane has noticed
    assert gw.daemon.broken == {"office-1"}
    assert not gw.daemon.worker_failed

    gw.reconciler.repair()

    assert indexes()["ts-office-1"] != devices["ts-office-1"]
    assert indexes()["ts-office-2"] == devices["ts-office-2"]
    assert Route(NET, 100, "ts-office-1") in gw.kernel.routes()
    assert gw.kernel.addresses("ts-office-1") == {ip_interface("169.254.10.1/30")}
    assert gw.daemon.known == {"office-1", "office-2"}


async def test_what_somebody_changed_by_hand_is_put_right(gw: Parts) -> None:
    gw.reconciler.apply(wanted())
    before = gw.kernel.routes()
    ip("link set ts-office-1 down")
    ip("route del unreachable 10.20.0.0/16")
    assert gw.kernel.routes() != before

    gw.reconciler.repair()

    assert gw.kernel.routes() == before
    assert gw.kernel.links()["ts-office-1"].is_up


async def test_an_address_in_use_refuses_the_plan_and_changes_nothing(gw: Parts) -> None:
    ip("addr add 203.0.113.77/32 dev lo")
    gw.reconciler.apply(wanted())
    before = facts(gw)

    with (
        open_ike_socket(ip_address("203.0.113.77")),
        pytest.raises(SocketError, match=r"203\.0\.113\.77 port 500: in use"),
    ):
        gw.reconciler.apply(
            wanted(
                (
                    ("gateway", "public_addresses"),
                    ["192.0.2.1", "198.51.100.1", "203.0.113.76", "203.0.113.77"],
                ),
                (SECOND, REMOVED),
            )
        )

    assert facts(gw) == before
    assert gw.reconciler.plan == wanted()


async def test_admin_down_keeps_device_and_routes_and_closes_ike(gw: Parts) -> None:
    gw.reconciler.apply(wanted(((*FIRST, "admin"), "down")))

    assert gw.daemon.known == {"office-2"}
    assert "ts-office-1" in indexes()
    (first, second) = tunnels(gw)
    assert (first["admin"], first["status"]) == ("down", "down")
    assert "admin_down" in str(first["reason"])
    assert second["admin"] == "up"
    assert "waiting_for_peer" in str(second["reason"])


async def test_an_operators_word_outlives_a_reload_but_not_the_tunnel(gw: Parts) -> None:
    gw.reconciler.apply(wanted())
    gw.reconciler.take_down("office-1")
    gw.reconciler.apply(wanted(((*FIRST, "mtu"), 1300)))

    assert tunnels(gw)[0]["admin"] == "down"
    assert "taken_down" in str(tunnels(gw)[0]["reason"])

    gw.reconciler.allow("office-1")
    assert tunnels(gw)[0]["admin"] == "up"

    gw.reconciler.take_down("office-2")
    gw.reconciler.apply(wanted((SECOND, REMOVED)))
    assert gw.reconciler.taken_down == set()


async def test_the_end_leaves_no_route(gw: Parts) -> None:
    ip("route add 10.99.0.0/16 dev lo")
    gw.reconciler.apply(wanted())
    gw.reconciler.remove()

    assert gw.kernel.routes() == set()
    assert "10.99.0.0/16" in ip("route")


async def test_another_process_takes_over_what_is_wanted_and_removes_the_rest(gw: Parts) -> None:
    gw.reconciler.apply(wanted())
    devices = indexes()
    gw.daemon.close()
    fewer = wanted((SECOND, REMOVED), ((*FIRST, "mtu"), 1300))

    with parts(gw.plane) as later:
        later.reconciler.take_over(gw.plane.state(), fewer)
        later.reconciler.apply(fewer)
        later.reconciler.adopt()

        assert set(later.tunnels.by_name) == {"office-1"}
        assert indexes()["ts-office-1"] == devices["ts-office-1"]
        assert "ts-office-2" not in indexes()
        assert gw.plane.state().names == {1: "office-1@ts-office-1"}


async def test_sas_that_no_core_knows_carry_on_until_their_time_is_over(gw: Parts) -> None:
    gw.reconciler.apply(wanted())
    give_sas(gw.plane, tunnel=1, spi=0x00500007)
    gw.plane.set_carrier(1, True)
    gw.daemon.close()

    with parts(gw.plane) as later:
        later.reconciler.take_over(gw.plane.state(), wanted(((*FIRST, "mtu"), 1300)))
        later.reconciler.apply(wanted(((*FIRST, "mtu"), 1300)))
        later.reconciler.adopt()
        tunnel = later.tunnels.by_name["office-1"]

        assert tunnel.is_up
        assert tunnels(later)[0]["status"] == "up"
        assert "mtu 1300" in ip("link show ts-office-1")
        assert gw.plane.state().tunnels[1] == (0x00500007,)

        tunnel.give_up_orphans(Reason("restart", "the IKE SA is lost"), at=0.0)

        assert not tunnel.is_up
        assert "restart" in str(tunnels(later)[0]["reason"])
        assert gw.plane.state().tunnels[1] == ()
        assert "NO-CARRIER" in ip("link show ts-office-1")


@pytest.mark.parametrize("has_sas", [True, False])
async def test_sas_that_no_core_knows_end_at_once_where_the_tunnel_is_not_allowed(
    gw: Parts, has_sas: bool
) -> None:
    """
    The document said admin = "down" while no gateway process was there to read it. Without SAs: the
    data plane process was lost as well, before there were others.
    """
    gw.reconciler.apply(wanted())
    if has_sas:
        give_sas(gw.plane, tunnel=1, spi=0x00500007)
    gw.plane.set_carrier(1, True)
    gw.daemon.close()
    down = wanted(((*FIRST, "admin"), "down"))

    with parts(gw.plane) as later:
        later.reconciler.take_over(gw.plane.state(), down)
        later.reconciler.apply(down)
        later.reconciler.adopt()

        assert tunnels(later)[0]["status"] == "down"
        assert gw.plane.state().tunnels[1] == ()
        assert "NO-CARRIER" in ip("link show ts-office-1")


async def test_ipv6_is_as_before_where_an_mtu_was_too_small_for_it(gw: Parts) -> None:
    """The path was narrow for a while: the kernel takes IPv6 away and begins it anew."""
    inner6 = wanted(((*FIRST, "inner_cidr"), "fd00:10::/126"))
    gw.reconciler.apply(inner6)
    gw.plane.set_carrier(1, True)
    tunnel = gw.tunnels.by_name["office-1"]
    settings = [f"ipv6/conf/ts-office-1/{name}" for name in ("addr_gen_mode", IGNORED)]
    before = ip("-6 addr show dev ts-office-1"), gw.kernel.settings(*settings)
    assert "fd00:10::1/126" in before[0]
    gw.kernel.set_mtu("ts-office-1", 1200)
    assert "fd00:10::1/126" not in ip("-6 addr show dev ts-office-1")
    tunnel.fits = None
    tunnel.fit_mtu()
    assert (ip("-6 addr show dev ts-office-1"), gw.kernel.settings(*settings)) == before


async def test_an_sa_of_before_goes_when_the_core_says_so(gw: Parts) -> None:
    """
    A restored IKE SA whose tunnel was changed meanwhile is closed: the peer drops its Child SA, so
    traffic must not go on into it.
    """
    gw.reconciler.apply(wanted())
    give_sas(gw.plane, tunnel=1, spi=0x00500007)
    gw.plane.set_carrier(1, True)
    gw.daemon.close()

    with parts(gw.plane) as later:
        later.reconciler.take_over(gw.plane.state(), wanted())
        later.reconciler.apply(wanted())
        changed = Reason("reconfigured", "the tunnel was changed")
        later.daemon.carry_out([ChildSaDown("office-1", 0x00500007, changed)])
        later.reconciler.adopt()

        assert tunnels(later)[0]["status"] == "down"
        assert gw.plane.state().tunnels[1] == ()
        assert "NO-CARRIER" in ip("link show ts-office-1")


def give_sas(plane: LocalPlane, tunnel: int, spi: int) -> None:
    """Install a pair of ESP SAs, as a gateway process does that then crashes."""
    key = Secret(bytes(range(36)))
    sa = EspSa(spi, Encr.AES_GCM_16, 256, key, Integ.NONE, Secret(b""), esn=True)
    installed = PlaneSa(sa, (ANY4,), (ANY4,))
    plane.add_inbound(tunnel, installed)
    plane.set_outbound(tunnel, installed)


def tunnels(gw: Parts) -> list[dict[str, object]]:
    shown = gw.status.whole()["tunnels"]
    assert isinstance(shown, list)
    return shown
