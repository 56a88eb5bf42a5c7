"""
What the next gateway process finds: kept before it is seen, sealed, and matched with whatever the
data plane was told of it before this one was killed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path as FilePath

import pytest

from gateway.dataplane.interface import PlaneSa
from gateway.dataplane.plane import LocalPlane
from gateway.errors import DataPlaneError
from gateway.ike.events import ChildSaAgain, ChildSaUp
from gateway.ike.selectors import ANY4
from gateway.ike.status import ChildStatus, TunnelIkeStatus
from gateway.node.daemon import Changes
from gateway.node.journal import Journal
from gateway.node.keeper import Keeper, Standings
from gateway.node.plan import plan
from gateway.node.tunnel import Tunnel
from gateway.sa import Encr, EspSa, Integ, Limits, Path
from gateway.secret import Secret
from tests.node.gateway_parts import Parts
from tests.node.network import ip
from tests.support.documents import CONNECTION, document

pytestmark = pytest.mark.system

PATH = Path(ip_address("192.0.2.1"), 4500, ip_address("203.0.113.9"), 4500)
OLD, NEW = 0x00500001, 0x00500002
OUT = 0x1000  # an outbound SPI is so much above the inbound one
SUITE = "aes256gcm16-noesn"


@pytest.fixture
async def gw(gw: Parts) -> Parts:
    """A gateway with two tunnels that wait for their peers; its core keeps records."""
    gw.reconciler.apply(plan(document(((*CONNECTION, "start"), "respond"))))
    return gw


@pytest.fixture
def plane() -> Iterator[LocalPlane]:
    with LocalPlane(1) as made:
        yield made


def keeper(plane: LocalPlane, place: FilePath, log: io.StringIO | None = None) -> Keeper:
    return Keeper(plane, place / "seal.key", Journal(log or io.StringIO(), lambda: 0.0))


# ---- records ----


def test_the_next_process_finds_what_was_kept_last(plane: LocalPlane, tmp_path: FilePath) -> None:
    first = keeper(plane, tmp_path)
    assert first.ike_sas == []
    first.keep([(b"spi-1", b"one"), (b"spi-2", b"two")])
    first.keep([(b"spi-1", b""), (b"spi-3", b"three")], Standings(frozenset({"office-1"})))
    assert b"three" not in b"".join(plane.kept().values())

    second = keeper(plane, tmp_path)
    assert second.ike_sas == [b"two", b"three"]
    assert second.standings.taken_down == {"office-1"}
    second.keep([(b"spi-2", b"two again")])
    second.sweep()  # nobody has gone on with the others
    assert keeper(plane, tmp_path).ike_sas == [b"two again"]


def test_a_record_that_does_not_open_is_alone_in_it(plane: LocalPlane, tmp_path: FilePath) -> None:
    keeper(plane, tmp_path).keep([(b"spi-1", b"one"), (b"spi-2", b"two")])
    plane.keep([(b"spi-1", plane.kept()[b"spi-2"])])
    log = io.StringIO()
    assert keeper(plane, tmp_path, log).ike_sas == [b"two"]
    assert log.getvalue().count("state not restored") == 1


def test_without_the_key_nothing_is_found_and_all_begins_anew(
    plane: LocalPlane, tmp_path: FilePath
) -> None:
    keeper(plane, tmp_path).keep([(b"spi-1", b"one")])
    (tmp_path / "seal.key").unlink()
    second = keeper(plane, tmp_path)
    assert second.ike_sas == []
    second.sweep()
    assert plane.kept() == {}


async def test_nothing_leaves_before_it_is_kept(gw: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be kept is not sent either: it may be said otherwise by the next process."""
    done: list[str] = []

    def keep(changes: Changes) -> None:
        done.append("kept")

    def refuse(changes: Changes) -> None:
        raise DataPlaneError("it is gone", -1)

    monkeypatch.setattr(gw.daemon.sockets, "send", lambda datagram, path: done.append("sent"))
    gw.daemon.keep = keep
    gw.daemon.initiate("office-1")
    assert done == ["kept", "sent"]
    gw.daemon.keep = refuse
    gw.daemon.initiate("office-2")
    assert done == ["kept", "sent"]
    assert "not_kept" in gw.log.getvalue()


# ---- the data plane, whatever it was told ----


def esp(spi: int) -> EspSa:
    key = Secret(spi.to_bytes(4, "big") * 9)
    return EspSa(spi, Encr.AES_GCM_16, 256, key, Integ.NONE, Secret(b""), esn=False)


def up(spi: int, *, use: bool = True) -> ChildSaUp:
    sides = ((ANY4,), (ANY4,))
    return ChildSaUp("office-1", esp(spi), esp(spi + OUT), *sides, True, SUITE, use, Limits())


def known(*spis: int, used: int) -> TunnelIkeStatus:
    """Return what a restored core says: these Child SAs, and which one is sent on."""
    children = tuple(
        ChildStatus(
            spi, spi + OUT, SUITE, (ANY4,), (ANY4,), 0.0, 1e9, False, True, "installed", spi == used
        )
        for spi in spis
    )
    return TunnelIkeStatus("established", path=PATH, children=children)


def left_with(gw: Parts, inbound: tuple[int, ...], sending: int | None) -> Tunnel:
    """Return the first tunnel as the next process finds it in the data plane."""
    tunnel = gw.tunnels.by_name["office-1"]
    for spi in inbound:
        gw.plane.add_inbound(tunnel.number, PlaneSa(esp(spi), (ANY4,), (ANY4,)))
    if sending is not None:
        gw.plane.set_outbound(tunnel.number, PlaneSa(esp(sending + OUT), (ANY4,), (ANY4,)))
    state = gw.plane.state()
    tunnel.is_taken_over = True
    tunnel.orphans = set(state.tunnels[tunnel.number])
    tunnel.found = dict(state.outbound.get(tunnel.number, {}))
    return tunnel


@pytest.mark.parametrize(
    ("inbound", "sending"), [((OLD,), OLD), ((OLD, NEW), OLD), ((OLD, NEW), NEW)]
)
async def test_a_rekey_is_told_to_the_end_wherever_the_process_before_was_killed(
    gw: Parts, inbound: tuple[int, ...], sending: int
) -> None:
    """Its record says that NEW has taken over; the data plane has heard some of it, or nothing."""
    tunnel = left_with(gw, inbound, sending)
    gw.daemon.carry_out([ChildSaAgain("office-1", up(NEW))])
    assert tunnel.adopt(known(OLD, NEW, used=NEW), 0.0) == ()
    state = gw.plane.state()
    assert set(state.tunnels[tunnel.number]) == {OLD, NEW}
    assert state.outbound[tunnel.number] == {0: NEW + OUT}
    assert tunnel.active == {0: NEW}
    assert not tunnel.orphans
    assert "NO-CARRIER" not in ip("link show ts-office-1")


async def test_what_the_data_plane_sends_on_is_not_installed_again(
    gw: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sequence numbers, and with them its nonces, would start over."""
    tunnel = left_with(gw, (OLD,), OLD)
    installed: list[int] = []
    monkeypatch.setattr(gw.plane, "set_outbound", lambda *_: installed.append(1))
    gw.daemon.carry_out([ChildSaAgain("office-1", up(OLD))])
    assert tunnel.adopt(known(OLD, used=OLD), 0.0) == ()
    assert installed == []
    assert tunnel.active == {0: OLD}


async def test_an_sa_that_waits_for_its_turn_still_has_its_keys(gw: Parts) -> None:
    tunnel = left_with(gw, (OLD, NEW), OLD)
    gw.daemon.carry_out([ChildSaAgain("office-1", up(NEW, use=False))])
    tunnel.adopt(known(OLD, NEW, used=OLD), 0.0)
    assert tunnel.active == {0: OLD}
    tunnel.send_on(NEW, 0.0)
    assert gw.plane.state().outbound[tunnel.number] == {0: NEW + OUT}


async def test_what_the_core_has_parted_with_goes(gw: Parts) -> None:
    tunnel = left_with(gw, (OLD, NEW), OLD)
    closing = replace(known(NEW, used=0), state="closing")
    tunnel.adopt(closing, 0.0)
    state = gw.plane.state()
    assert state.tunnels[tunnel.number] == (NEW,)
    assert tunnel.number not in state.outbound
    assert "NO-CARRIER" in ip("link show ts-office-1")


async def test_where_the_record_is_lost_the_traffic_goes_on_until_there_is_another_ike_sa(
    gw: Parts,
) -> None:
    tunnel = left_with(gw, (OLD,), OLD)
    tunnel.adopt(TunnelIkeStatus("idle"), 0.0)
    assert tunnel.orphans == {OLD}
    assert tunnel.is_up
    gw.daemon.carry_out([up(NEW)])
    assert gw.plane.state().tunnels[tunnel.number] == (NEW,)


async def test_where_nothing_is_left_the_carrier_goes(gw: Parts) -> None:
    """
    Both processes were replaced one after the other, before another Child SA was made and before
    the record was kept again: traffic is to go elsewhere, not to wait for a peer.
    """
    tunnel = left_with(gw, (), None)
    gw.plane.set_carrier(tunnel.number, True)
    tunnel.adopt(TunnelIkeStatus("idle"), 0.0)
    assert "NO-CARRIER" in ip("link show ts-office-1")


@pytest.mark.parametrize("held", [(OLD,), ()])
async def test_an_sa_in_use_that_cannot_be_sent_on_is_rekeyed(
    gw: Parts, held: tuple[int, ...]
) -> None:
    """Without any: its data plane process was replaced, and the gateway process ended at once."""
    tunnel = left_with(gw, held, None)
    assert tunnel.adopt(known(OLD, used=OLD), 0.0) == (OLD,)
