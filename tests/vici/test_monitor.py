"""VICI's events about SAs, from two real cores that speak to each other in memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

from gateway.dataplane.interface import SaStats
from gateway.errors import DataPlaneError
from gateway.ike.config import Start
from gateway.ike.events import Event
from gateway.node.plan import plan
from gateway.node.tunnel import Tunnels
from gateway.vici.listing import Listing
from gateway.vici.monitor import Monitor
from gateway.vici.wire import Section
from tests.support.documents import document
from tests.support.pair import TUNNEL, IkePair, config_a, config_b
from tests.support.slots import six_a, six_b


class NoPlane:
    """A data plane that has none of the SAs (it has not yet, or not any more)."""

    def inbound_stats(self, spi: int) -> SaStats:
        raise DataPlaneError("not there", -4)

    def outbound_stats(self, tunnel: int, slot: int = 0) -> SaStats:
        raise DataPlaneError("not there", -4)


@dataclass(slots=True)
class Watch:
    """The events about one end of a pair, since `begin`."""

    pair: IkePair
    said: list[tuple[str, Any]] = field(default_factory=list)
    known: set[str] = field(default_factory=lambda: {TUNNEL})
    plan: SimpleNamespace = field(default_factory=SimpleNamespace)  # of the node

    def begin(self) -> Watch:
        side = self.pair.a
        wanted = replace(plan(document()).tunnels[0], name=TUNNEL, ike=side.config)
        daemon = SimpleNamespace(endpoint=side.endpoint, known=self.known)
        self.plan.tunnels = (wanted,)
        reconciler = SimpleNamespace(plan=self.plan)
        listing = Listing(
            cast(Any, daemon), cast(Any, reconciler), Tunnels(), cast(Any, NoPlane()), self._now
        )
        monitor = Monitor(listing, self._publish)
        monitor.begin()
        carry_out = side.plane.take

        def take(event: Event) -> None:
            monitor.see(event)
            carry_out(event)

        side.plane.take = take  # type: ignore[method-assign]  # as the daemon shows each event
        return self

    def _now(self) -> float:
        return self.pair.now

    def _publish(self, name: str, message: Section) -> None:
        self.said.append((name, message))

    def names(self) -> list[str]:
        """Return what was said: "ike-updown up", "child-updown down", "child-rekey"."""
        words = {"ike-updown": " down", "child-updown": " down"}
        return [
            name + (" up" if "up" in message else words.get(name, ""))
            for name, message in self.said
        ]


def established() -> Watch:
    return Watch(IkePair.established()).begin()


def test_what_comes_up_is_said_and_what_goes_down() -> None:
    watch = Watch(IkePair.started(config_a(), config_b())).begin()
    watch.pair.deliver_all()
    assert watch.names() == ["ike-updown up", "child-updown up"]
    (_, ike), (_, child) = watch.said
    assert ike[TUNNEL]["state"] == "ESTABLISHED"
    ((key, made),) = child[TUNNEL]["child-sas"].items()
    assert key == f"{TUNNEL}-{made['uniqueid']}"
    watch.pair.a.close()
    watch.pair.deliver_all()
    watch.pair.advance(10.0)
    assert watch.names()[2:] == ["ike-updown down", "child-updown down"]
    assert watch.said[2][1][TUNNEL]["state"] == "DELETING"
    (gone,) = watch.said[3][1][TUNNEL]["child-sas"].values()
    assert gone["spi-in"] == made["spi-in"]
    assert gone["uniqueid"] == made["uniqueid"]


def test_a_rekeyed_child_sa_is_one_event_with_both() -> None:
    watch = established()
    watch.pair.a.rekey_child()
    watch.pair.deliver_all()
    watch.pair.advance(20.0)
    assert watch.names() == ["child-rekey"]
    ((name, pair),) = watch.said[0][1][TUNNEL]["child-sas"].items()
    assert name == TUNNEL
    assert pair["old"]["spi-in"] != pair["new"]["spi-in"]
    assert pair["old"]["uniqueid"] != pair["new"]["uniqueid"]


def test_a_rekeyed_ike_sa_is_one_event_with_both() -> None:
    for who in ("a", "b"):
        watch = established()
        getattr(watch.pair, who).rekey_ike()
        watch.pair.deliver_all()
        watch.pair.advance(20.0)
        assert watch.names() == ["ike-rekey"]
        found = watch.said[0][1][TUNNEL]
        assert found["old"]["initiator-spi"] != found["new"]["initiator-spi"]
        assert found["new"]["state"] == "ESTABLISHED"


def test_one_of_several_child_sas_goes_alone() -> None:
    watch = Watch(IkePair.established(six_a(), six_b())).begin()
    spi = watch.pair.a.plane.sending[3]
    watch.pair.a.take(watch.pair.a.endpoint.close_child(spi, watch.pair.now))
    watch.pair.deliver_all()
    watch.pair.advance(10.0)
    assert watch.names() == ["child-updown down"]
    (gone,) = watch.said[0][1][TUNNEL]["child-sas"].values()
    assert (gone["name"], gone["spi-in"]) == (f"{TUNNEL}/4", f"{spi:08x}")


def test_a_peer_that_begins_anew_leaves_one_up_for_each_down() -> None:
    watch = established()
    watch.pair.b.crash()
    watch.pair.b.start()
    watch.pair.b.initiate()
    watch.pair.advance(60.0)
    names = watch.names()
    assert names.count("ike-updown up") == names.count("ike-updown down") > 0
    shown = [message[TUNNEL]["initiator-spi"] for name, message in watch.said if name[:3] == "ike"]
    downs = [
        message[TUNNEL]["initiator-spi"]
        for name, message in watch.said
        if name == "ike-updown" and "up" not in message
    ]
    assert len(set(shown)) == len(downs) + 1
    assert len(set(downs)) == len(downs)


def test_a_tunnel_that_leaves_the_document_goes_down() -> None:
    watch = established()
    watch.plan.tunnels = ()
    watch.known.clear()
    watch.pair.a.take(watch.pair.a.endpoint.configure([], watch.pair.now))
    watch.pair.deliver_all()
    assert watch.names()[0] == "ike-updown down"


def test_both_that_begin_at_once_leave_one() -> None:
    watch = Watch(IkePair.started(config_a(), config_b(start=Start.INITIATE))).begin()
    watch.pair.advance(30.0)
    names = watch.names()
    assert (names.count("ike-updown up"), names.count("ike-updown down")) == (2, 1)
