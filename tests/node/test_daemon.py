"""
The shell around the core: events carried out on a real data plane, in order, whatever one of them
meets.
"""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from ipaddress import ip_address

import pytest

from gateway.dataplane.interface import PlaneSa, Punt, PuntType
from gateway.errors import DataPlaneError
from gateway.ike.events import (
    ChildSaDown,
    ChildSaUp,
    Dropped,
    Event,
    Failed,
    IkeSaDown,
    IkeSaUp,
    Keepalive,
    Note,
    OutboundDone,
    OutboundReady,
    PathChanged,
    Reason,
    Send,
)
from gateway.ike.reasons import silent
from gateway.ike.selectors import ANY4
from gateway.node.failovers import Failovers
from gateway.node.metrics import metrics_text
from gateway.node.plan import NodePlan, plan
from gateway.node.unsent import Unsent
from gateway.sa import Encr, EspSa, Integ, Limits, Path
from gateway.secret import Secret
from tests.node.gateway_parts import Parts
from tests.node.network import ip
from tests.support.documents import CONNECTION, FIRST, document

pytestmark = pytest.mark.system

HERE, THERE = ip_address("192.0.2.1"), ip_address("203.0.113.9")
PATH = Path(HERE, 4500, THERE, 4500)
GONE = Reason("peer_unreachable", "no response")
FIRST_SPI, SECOND_SPI = 0x00500001, 0x00500002


@pytest.fixture
async def gw(gw: Parts) -> Parts:
    """A gateway with two tunnels that wait for their peers."""
    gw.reconciler.apply(plan(document(((*CONNECTION, "start"), "respond"))))
    return gw


def esp(spi: int, key_len: int = 36) -> EspSa:
    key = Secret(bytes(range(key_len)))
    return EspSa(spi, Encr.AES_GCM_16, 256, key, Integ.NONE, Secret(b""), esn=True)


def child(spi: int, *, use: bool = True, key_len: int = 36) -> ChildSaUp:
    """Return the event of a new Child SA of the first tunnel."""
    inbound, outbound = esp(spi, key_len), esp(spi + 0x1000, key_len)
    sides = ((ANY4,), (ANY4,))
    name = "aes256gcm16-esn"
    return ChildSaUp("office-1", inbound, outbound, *sides, True, name, use, Limits())


def up() -> IkeSaUp:
    return IkeSaUp("office-1", b"i" * 8, b"r" * 8, "aes256gcm16", PATH, "b.gw.test", True)


def carrier(gw: Parts) -> bool:
    return "NO-CARRIER" not in ip("link show ts-office-1")


async def test_a_child_sa_gives_the_device_carrier_and_its_mtu(gw: Parts) -> None:
    gw.daemon.carry_out([up(), child(FIRST_SPI)])

    assert gw.plane.state().tunnels[1] == (FIRST_SPI,)
    assert carrier(gw)
    assert "mtu 1438" in ip("link show ts-office-1")
    assert gw.log.getvalue().splitlines()[-1] == (
        "tunnel up tunnel=office-1 interface=ts-office-1 mtu=1438"
    )


async def test_a_rekey_keeps_both_inbound_sas_until_the_core_removes_one(gw: Parts) -> None:
    gw.daemon.carry_out([up(), child(FIRST_SPI), child(SECOND_SPI, use=False)])
    (tunnel, _) = gw.tunnels
    assert tunnel.active == {0: FIRST_SPI}
    assert set(gw.plane.state().tunnels[1]) == {FIRST_SPI, SECOND_SPI}

    gw.daemon.carry_out([OutboundReady("office-1", SECOND_SPI)])
    assert tunnel.active == {0: SECOND_SPI}
    gw.daemon.carry_out([ChildSaDown("office-1", FIRST_SPI, Reason("rekeyed", "replaced"))])

    assert gw.plane.state().tunnels[1] == (SECOND_SPI,)
    assert carrier(gw)
    assert gw.log.getvalue().count("tunnel up") == 1


async def test_an_outbound_sa_is_never_installed_twice(gw: Parts) -> None:
    gw.daemon.carry_out([up(), child(FIRST_SPI), child(SECOND_SPI)])
    (tunnel, _) = gw.tunnels

    gw.daemon.carry_out([OutboundReady("office-1", FIRST_SPI)])

    assert tunnel.active == {0: SECOND_SPI}  # its sequence numbers would start over


async def test_the_end_of_the_last_child_sa_takes_the_carrier_and_says_why(gw: Parts) -> None:
    gw.daemon.carry_out([up(), child(FIRST_SPI)])
    gw.daemon.carry_out(
        [ChildSaDown("office-1", FIRST_SPI, GONE), IkeSaDown("office-1", b"i" * 8, GONE)]
    )

    assert not carrier(gw)
    assert gw.plane.state().tunnels[1] == ()
    shown = gw.status.whole()["tunnels"]
    assert isinstance(shown, list)
    assert shown[0]["status"] == "down"
    assert shown[0]["reason"]["code"] == "peer_unreachable"
    assert "tunnel down tunnel=office-1 reason=peer_unreachable" in gw.log.getvalue()


async def test_nothing_is_said_of_an_ike_sa_that_there_is_not(gw: Parts) -> None:
    shown = gw.status.whole()["tunnels"]
    assert isinstance(shown, list)
    assert shown[0]["ike"] == {"state": "idle", "attempts": 0, "retry_in_s": None}


async def test_what_was_wrong_before_an_edit_is_not_why_it_is_down_after_it(gw: Parts) -> None:
    refused = Reason("nat_detected", "there is a NAT")
    gw.daemon.carry_out([up(), Failed("office-1", refused)])
    assert shown_reason(gw) == ("down", "nat_detected")
    # Allowed again,
    gw.reconciler.apply(edited(((*FIRST, "admin"), "down")))
    assert shown_reason(gw) == ("down", "admin_down")
    gw.reconciler.apply(edited())
    assert shown_reason(gw) == ("down", "waiting_for_peer")
    # and toward another address, which is shown at once.
    gw.daemon.carry_out([up(), Failed("office-1", refused)])
    gw.reconciler.apply(edited((("customer_gateway", 0, "public_addresses", 0), "192.0.2.77")))
    assert shown_reason(gw) == ("down", "waiting_for_peer")
    assert gw.tunnels.by_name["office-1"].outer_addresses()[1] == ip_address("192.0.2.77")


async def test_a_tunnel_that_is_no_longer_allowed_is_not_called_removed(gw: Parts) -> None:
    gw.daemon.carry_out([up(), child(FIRST_SPI)])
    gw.reconciler.apply(edited(((*FIRST, "admin"), "down")))
    gw.daemon.carry_out([ChildSaDown("office-1", FIRST_SPI, Reason("removed", "no longer"))])
    assert "tunnel down tunnel=office-1 reason=admin_down" in gw.log.getvalue()
    assert "reason=removed" not in gw.log.getvalue().split("tunnel down")[1]


def edited(*edits: tuple[tuple[str | int, ...], object]) -> NodePlan:
    """Return the plan of the base document with edits; nobody begins."""
    return plan(document(((*CONNECTION, "start"), "respond"), *edits))


def shown_reason(gw: Parts) -> tuple[object, object]:
    """Return the state of the first tunnel and the code that says why."""
    shown = gw.status.whole()["tunnels"]
    assert isinstance(shown, list)
    return shown[0]["status"], shown[0]["reason"]["code"]


def in_slot(spi: int, slot: int) -> ChildSaUp:
    return replace(child(spi), slot=slot)


def sends(gw: Parts, slot: int) -> bool:
    """Return whether the data plane has an outbound SA in a slot of the first tunnel."""
    try:
        gw.plane.outbound_stats(1, slot)
    except DataPlaneError:
        return False
    return True


async def test_a_tunnel_is_up_as_long_as_one_of_its_child_sas_is(gw: Parts) -> None:
    gw.daemon.carry_out([up(), in_slot(FIRST_SPI, 0), in_slot(SECOND_SPI, 5)])
    assert sends(gw, 0)
    assert sends(gw, 5)

    gw.daemon.carry_out([ChildSaDown("office-1", FIRST_SPI, GONE)])
    assert not sends(gw, 0)
    assert sends(gw, 5)
    assert carrier(gw)
    assert gw.plane.state().tunnels[1] == (SECOND_SPI,)

    gw.daemon.carry_out([OutboundDone("office-1", SECOND_SPI, GONE)])
    assert not sends(gw, 5)
    assert not carrier(gw)
    assert gw.log.getvalue().count("tunnel down") == 1


async def test_what_a_crashed_process_left_in_other_slots_goes_with_its_orphans(gw: Parts) -> None:
    (tunnel, _) = gw.tunnels
    left = PlaneSa(esp(SECOND_SPI), (ANY4,), (ANY4,))
    gw.plane.add_inbound(1, left)
    gw.plane.set_outbound(1, left, 3)
    tunnel.orphans = {SECOND_SPI}

    gw.daemon.carry_out([up(), in_slot(FIRST_SPI, 0)])

    assert sends(gw, 0)
    assert not sends(gw, 3)
    assert gw.plane.state().tunnels[1] == (FIRST_SPI,)


async def test_a_tunnel_that_is_being_closed_sends_no_more_and_goes_on_receiving(
    gw: Parts,
) -> None:
    gw.daemon.carry_out([up(), child(FIRST_SPI)])
    closed = Reason("closed", "closed on request")
    gw.daemon.carry_out(
        [OutboundDone("office-1", FIRST_SPI, closed), IkeSaDown("office-1", b"i" * 8, closed)]
    )
    assert not carrier(gw)
    assert gw.plane.state().tunnels[1] == (FIRST_SPI,)
    assert "tunnel down tunnel=office-1 reason=closed" in gw.log.getvalue()
    gw.daemon.carry_out([ChildSaDown("office-1", FIRST_SPI, closed)])
    assert gw.plane.state().tunnels[1] == ()
    assert gw.log.getvalue().count("tunnel down") == 1


async def test_an_event_that_can_not_be_carried_out_does_not_hold_up_the_next(gw: Parts) -> None:
    gw.daemon.carry_out(
        [
            up(),
            child(FIRST_SPI, key_len=5),
            Keepalive("office-1", PATH),
            child(SECOND_SPI),
        ]
    )

    assert "not_carried_out tunnel=office-1 what=ChildSaUp" in gw.log.getvalue()
    assert gw.daemon.broken == {"office-1"}  # made anew at the next look
    assert gw.plane.state().tunnels[1] == (SECOND_SPI,)


@pytest.mark.parametrize("step", ["add_inbound", "set_path", "set_outbound", "set_carrier"])
@pytest.mark.parametrize("is_rekey", [False, True])
async def test_a_child_sa_that_can_not_be_installed_is_made_anew(
    gw: Parts, monkeypatch: pytest.MonkeyPatch, step: str, is_rekey: bool
) -> None:
    """At whichever step the data plane refuses: nothing of it is left, and it can begin again."""
    if is_rekey:
        gw.daemon.carry_out([up(), child(FIRST_SPI)])

    def refuse(*_: object) -> None:
        raise DataPlaneError("no memory", 5)

    with monkeypatch.context() as patched:
        patched.setattr(gw.plane, step, refuse)
        gw.daemon.carry_out([up(), child(SECOND_SPI)])
    # With a Child SA in use there is a path and a carrier already: nothing is asked for.
    is_met = not is_rekey or step in ("add_inbound", "set_outbound")
    assert ("not_carried_out" in gw.log.getvalue()) is is_met
    assert gw.daemon.broken == ({"office-1"} if is_met else set())
    gw.reconciler.repair()
    assert not gw.daemon.broken
    held = {spi for spis in gw.plane.state().tunnels.values() for spi in spis}
    assert held == (set() if is_met else {FIRST_SPI, SECOND_SPI})
    assert carrier(gw) is not is_met
    gw.daemon.carry_out([up(), child(SECOND_SPI + 0x100)])
    held = {spi for spis in gw.plane.state().tunnels.values() for spi in spis}
    assert SECOND_SPI + 0x100 in held
    assert carrier(gw)


async def test_what_can_not_be_sent_is_counted_on_both_ports(gw: Parts) -> None:
    ip("route add unreachable 203.0.113.0/24")
    gw.daemon.carry_out([Send(b"x", Path(HERE, 500, THERE, 500)), Send(b"x", PATH)])
    gw.daemon.carry_out([Send(b"x", Path(ip_address("192.0.2.99"), 500, THERE, 500))])

    assert sum(gw.daemon.sockets.send_errors.values()) == 3
    assert "error" not in gw.log.getvalue()


def test_a_rule_of_our_own_firewall_is_told_from_a_route_that_is_missing() -> None:
    unsent = Unsent()
    for number, words in ((errno.EPERM, "own firewall stops IKE"), (errno.ENETUNREACH, "a route")):
        unsent.refused(THERE, os.strerror(number))
        assert words in unsent.explained(silent("init"), THERE).hint
    unsent.left(THERE)
    assert unsent.explained(silent("init"), THERE) == silent("init")


@pytest.mark.parametrize("port", [500, 4500])
async def test_a_silent_peer_that_is_sent_nothing_is_told_from_others(gw: Parts, port: int) -> None:
    ip("route add unreachable 203.0.113.0/24")
    events: list[Event] = [
        Send(b"x", Path(HERE, port, THERE, port)),
        Failed("office-1", silent("init")),
    ]
    gw.daemon.carry_out(events)
    tunnel = gw.tunnels.by_name["office-1"]
    assert tunnel.reason is not None
    assert tunnel.reason.text == (
        "no response to IKE_SA_INIT yet: this machine does not send: No route to host"
    )
    assert "twinspan doctor" in tunnel.reason.hint
    ip("route replace local 203.0.113.0/24 dev lo")
    gw.daemon.carry_out(events)
    assert tunnel.reason == silent("init")


async def test_events_of_a_tunnel_that_is_gone_change_nothing(gw: Parts) -> None:
    events: list[Event] = [
        IkeSaUp("gone", b"i" * 8, b"r" * 8, "s", PATH, "x", True),
        OutboundReady("gone", 1),
        ChildSaDown("gone", 1, GONE),
        PathChanged("gone", PATH),
        Keepalive("gone", PATH),
        Failed("gone", GONE),
        IkeSaDown("gone", b"i" * 8, GONE),
        Dropped("malformed", PATH),
        Note("gone", "a note"),
    ]
    before = gw.plane.state()
    gw.daemon.carry_out(events)
    assert gw.plane.state() == before


async def test_a_changed_path_moves_the_tunnel(gw: Parts) -> None:
    gw.daemon.carry_out([up(), child(FIRST_SPI)])
    moved = Path(HERE, 4500, ip_address("203.0.113.77"), 12345)
    gw.daemon.carry_out([PathChanged("office-1", moved)])

    shown = gw.status.whole()["tunnels"]
    assert isinstance(shown, list)
    assert shown[0]["remote"] == "203.0.113.77"


@pytest.mark.parametrize("kind", [kind for kind in PuntType if kind is not PuntType.WORKER_FAILED])
async def test_a_punt_about_nothing_we_know_is_harmless(gw: Parts, kind: PuntType) -> None:
    before = gw.plane.state()
    for path in (None, PATH):
        gw.daemon.punt_received(Punt(kind, 99, 0x00999999, path, b"\xff" * 40))
    assert gw.plane.state() == before


async def test_nothing_of_the_core_moves_after_the_end(gw: Parts) -> None:
    """Its state is with the next gateway process by then, which will use these message IDs."""
    gw.daemon.close()
    before = dict(gw.daemon.endpoint.counters)
    gw.daemon.punt_received(Punt(PuntType.IKE, 0, 0, PATH, b"\xff" * 40))
    assert dict(gw.daemon.endpoint.counters) == before


async def test_a_failed_worker_is_told(gw: Parts) -> None:
    gw.daemon.punt_received(Punt(PuntType.WORKER_FAILED, 0, 0, None, b"epoll_wait: errno 9"))
    assert gw.daemon.trouble.is_set()
    assert gw.daemon.worker_failed
    assert "worker_failed" in gw.log.getvalue()


async def test_traffic_is_sampled_and_counts_as_a_sign_of_life_only_for_known_tunnels(
    gw: Parts,
) -> None:
    gw.daemon.carry_out([up(), child(FIRST_SPI)])
    gw.daemon.tick()
    gw.daemon.tick()
    (tunnel, _) = gw.tunnels
    assert len(tunnel.samples) == 2
    assert tunnel.rates_bps() == (0.0, 0.0)
    gw.plane.del_tunnel(2)
    gw.daemon.tick()
    assert "sample tunnel=office-2" in gw.log.getvalue()


async def test_prometheus_is_told_what_status_says(gw: Parts) -> None:
    gw.daemon.carry_out([up(), child(FIRST_SPI)])
    gw.daemon.carry_out([replace(child(SECOND_SPI), replaces=FIRST_SPI)])
    gw.daemon.tick()
    whole, figures = gw.status.whole(), gw.status.figures()
    whole["neighbours"] = figures["neighbours"]
    texts = [metrics_text(one, Failovers()) for one in (whole, figures)]
    changing = ("_age_seconds", "_uptime_", "_worker_")
    told = [
        [line for line in text.splitlines() if not any(name in line for name in changing)]
        for text in texts
    ]
    assert told[0] == told[1]
    (rekeys,) = [
        line for line in told[0] if "rekeys" in line and "office-1" in line and "child" in line
    ]
    assert rekeys.endswith(" 1")
