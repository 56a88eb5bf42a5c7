"""
Two IKE endpoints, one virtual clock, and a link under the test's hand.

    pair = IkePair.established()
    pair.a.rekey_child()
    pair.deliver_to_b()     # one datagram, the oldest that is on its way
    pair.drop_to_a()
    pair.deliver_all()      # until nothing is on its way
    pair.advance(5.0)       # time passes; timers fire at their deadlines; everything is delivered

Each side has a `Plane` that does with `ChildSaUp` and its like what a data plane does, and checks
what must hold of them: no key is used for sending twice, an inbound SA is there before its peer may
use it.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TypeVar

from gateway.ike.config import Identity, Start, TunnelConfig
from gateway.ike.context import EndpointLimits
from gateway.ike.endpoint import ChildStatus, IkeEndpoint
from gateway.ike.events import (
    ChildSaAgain,
    ChildSaDown,
    ChildSaUp,
    Event,
    Failed,
    IkeSaDown,
    IkeSaUp,
    OutboundDone,
    OutboundReady,
    Send,
)
from gateway.ike.iana import ProtocolId, TransformType
from gateway.ike.message import parse_header
from gateway.ike.proposals import parse_proposal
from gateway.ike.selectors import parse_selector
from gateway.sa import Encr, EspSa, Path
from gateway.secret import Secret
from tests.support.ahead import Once, Store
from tests.support.fixed import FixedRandom

A_ADDRESS = ip_address("192.0.2.1")
B_ADDRESS = ip_address("198.51.100.1")
TUNNEL = "office"
PSK = Secret(b"correct horse battery staple")
IKE = (parse_proposal("aes256gcm16-prfsha384-x25519", ProtocolId.IKE),)
ESP = (parse_proposal("aes256gcm16-x25519-noesn", ProtocolId.ESP),)
E = TypeVar("E", bound=Event)


def config_a(**changes: object) -> TunnelConfig:
    """Return the configuration of the end that begins."""
    config = TunnelConfig(
        name=TUNNEL,
        local=A_ADDRESS,
        remote=B_ADDRESS,
        local_id=Identity.parse("a.gw.test"),
        remote_id=Identity.parse("b.gw.test"),
        psk=PSK,
        ike_proposals=IKE,
        esp_proposals=ESP,
        local_ts=(parse_selector("10.1.0.0/16"),),
        remote_ts=(parse_selector("10.2.0.0/16"),),
    )
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]  # named by the test


def config_b(**changes: object) -> TunnelConfig:
    """Return the configuration of the end that answers."""
    config = dataclasses.replace(
        config_a(),
        local=B_ADDRESS,
        remote=A_ADDRESS,
        local_id=Identity.parse("b.gw.test"),
        remote_id=Identity.parse("a.gw.test"),
        local_ts=config_a().remote_ts,
        remote_ts=config_a().local_ts,
        start=Start.RESPOND,
    )
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]  # named by the test


class Plane:
    """What a data plane would hold."""

    def __init__(self) -> None:
        self.inbound: dict[int, EspSa] = {}
        self.children: dict[int, ChildSaUp] = {}  # by inbound SPI
        self.sending: dict[int, int] = {}  # by slot: inbound SPI of the Child SA in use
        self.used: set[int] = set()
        self.lost: set[int] = set()  # outbound SAs whose keys went with a gateway process
        self.heard: set[int] = set()
        self.gone: set[int] = set()  # inbound SPIs of what went with a data plane process

    @property
    def sending_on(self) -> int | None:
        """Return the inbound SPI of the Child SA in use in the first slot."""
        return self.sending.get(0)

    @property
    def outbound(self) -> EspSa | None:
        return self.outbound_of(0)

    def outbound_of(self, slot: int) -> EspSa | None:
        return self.children[self.sending[slot]].outbound if slot in self.sending else None

    def take(self, event: Event) -> None:
        match event:
            case ChildSaUp():
                spi = event.inbound.spi
                assert spi not in self.inbound, "inbound SPI in use"
                assert spi >= 1 << 20
                assert spi % (1 << 20) not in {one % (1 << 20) for one in self.inbound}
                self.inbound[spi] = event.inbound
                self.children[spi] = event
                if event.use_outbound:
                    self._send_on(spi)
            case ChildSaAgain():
                self._take_again(event.up)
            case OutboundReady():
                assert event.spi_in not in self.gone, "its keys are gone"
                self._send_on(event.spi_in)
            case OutboundDone():
                self._stop(event.spi_in)
            case ChildSaDown() if event.spi_in in self.gone:
                self.gone.discard(event.spi_in)
            case ChildSaDown():
                del self.inbound[event.spi_in]
                del self.children[event.spi_in]
                self._stop(event.spi_in)
            case _:
                pass

    def _take_again(self, up: ChildSaUp) -> None:
        """Install what is missing of a Child SA, and nothing else."""
        spi = up.inbound.spi
        self.inbound.setdefault(spi, up.inbound)
        self.children.setdefault(spi, up)
        self.lost.discard(spi)
        if up.use_outbound and self.sending.get(up.slot) != spi:
            self._send_on(spi)

    def adopt(self, known: Iterable[ChildStatus]) -> None:
        """Part with what a restored core does not know."""
        children = {child.spi_in: child for child in known}
        for spi in self.inbound.keys() - children.keys():
            del self.inbound[spi], self.children[spi]
        self.sending = {
            slot: spi
            for slot, spi in self.sending.items()
            if spi in children and children[spi].is_outbound
        }

    def _send_on(self, spi: int) -> None:
        assert spi not in self.used, "an outbound SA is used again: its nonces start over"
        assert spi not in self.lost, "the keys of an outbound SA that was never used are lost"
        self.used.add(spi)
        self.sending[self.children[spi].slot] = spi

    def _stop(self, spi: int) -> None:
        self.sending = {slot: one for slot, one in self.sending.items() if one != spi}


class Side:
    """One endpoint, what it said, and its data plane."""

    def __init__(
        self, pair: IkePair, name: str, config: TunnelConfig, limits: EndpointLimits
    ) -> None:
        self.pair = pair
        self.name = name
        self.config = config
        self.limits = limits
        self.random = FixedRandom(ord(name))
        self.crash_secret = Secret(name.encode() * 32) if pair.has_tokens else None
        self.endpoint = self._fresh()
        self.plane = Plane()
        self.store = Store()
        self.steps_left = math.inf  # until the gateway process is killed
        self.events: list[Event] = []
        self.is_frozen = False  # its timers do not fire: it answers and does nothing else

    def _fresh(self) -> IkeEndpoint:
        return IkeEndpoint(self.random, self.pair.now, self.limits, self.crash_secret, is_kept=True)

    @property
    def peer(self) -> Side:
        return self.pair.b if self is self.pair.a else self.pair.a

    def start(self) -> None:
        self.take(self.endpoint.configure([self.config], self.pair.now))

    def reconfigure(self, config: TunnelConfig) -> None:
        self.config = config
        self.start()

    def take(self, events: Iterable[Event]) -> None:
        """Keep what has changed, then carry out the events; or be killed at any step of it."""
        if self._is_killed():
            return
        self.store.keep(self.endpoint)
        for event in events:
            if self._is_killed():
                return
            self.events.append(event)
            self.plane.take(event)
            if isinstance(event, Send):
                self.pair.link.send(self, event)

    def _is_killed(self) -> bool:
        self.steps_left -= 1
        if self.steps_left == 0:
            self.restart()
            return True
        return False

    def on_time(self) -> None:
        self.take(self.endpoint.on_time(self.pair.now))

    def receive(self, datagram: bytes, path: Path) -> None:
        self.take(self.endpoint.receive(datagram, path, self.pair.now))

    def initiate(self) -> None:
        self.take(self.endpoint.initiate(TUNNEL, self.pair.now))

    def close(self) -> None:
        self.take(self.endpoint.close(TUNNEL, self.pair.now))

    def rekey_child(self) -> None:
        self.take(self.endpoint.rekey_child(TUNNEL, self.pair.now))

    def rekey_ike(self) -> None:
        self.take(self.endpoint.rekey_ike(TUNNEL, self.pair.now))

    def esp_heard(self) -> None:
        self.take(self.endpoint.esp_heard(TUNNEL, self.pair.now))

    def restart(self) -> None:
        """Replace the gateway process, as if it had been killed; the data plane lives on."""
        records = self.store.found()
        self.plane.lost |= self.plane.children.keys() - self.plane.used
        self.endpoint = self._fresh()
        self.events += self.endpoint.configure([self.config], self.pair.now)
        events, mistakes = self.endpoint.restore(records, self.pair.now)
        assert mistakes == []
        self.take(events)
        status = self.endpoint.tunnel_status(self.config.name)
        if status.children:
            self.plane.adopt(status.children)

    def crash(self) -> None:
        """Replace the gateway process and the data plane; nothing is left."""
        self.endpoint = self._fresh()
        self.plane, self.store = Plane(), Store()
        self.start()

    def lose_plane(self) -> None:
        """Replace the data plane process alone, and have other keys for what it had."""
        before, self.plane = self.plane, Plane()
        self.plane.used = before.used
        self.plane.gone = before.gone | before.inbound.keys()
        self.endpoint.children_lost()
        self.rekey_child()

    def send_esp(self, slot: int = 0) -> bool:
        """Send one ESP packet; return whether the peer accepts it."""
        sa = self.plane.outbound_of(slot)
        if sa is None:
            return False
        inbound = self.peer.plane.inbound.get(sa.spi)
        if inbound is None:
            return False
        assert inbound == sa, "both ends must derive the same ESP SA"
        if sa.spi not in self.peer.plane.heard:
            self.peer.plane.heard.add(sa.spi)
            tunnel = self.peer.config.name
            self.peer.take(self.peer.endpoint.first_inbound(sa.spi, self.pair.now, tunnel))
        return True

    # ---- what it said ----

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def codes(self) -> list[str]:
        """Return the codes of all failures, in order."""
        return [event.reason.code for event in self.all(Failed)]

    @property
    def iv_len(self) -> int:
        """Return the length of an IV in its IKE SAs, in bytes."""
        ciphers = self.config.ike_proposals[0].of_type(TransformType.ENCR)
        return 16 if ciphers[0].id == Encr.AES_CBC else 8

    @property
    def state(self) -> str:
        return self.endpoint.tunnel_status(self.config.name).state

    @property
    def ike_sas(self) -> int:
        """Return how many IKE SAs are up for the shell."""
        return len(self.all(IkeSaUp)) - len(self.all(IkeSaDown))

    def drops(self, reason: str) -> int:
        return self.endpoint.counters.get("drop." + reason, 0)


@dataclass
class Flight:
    """A datagram on its way."""

    sender: Side
    datagram: bytes
    path: Path  # as its sender sees it

    @property
    def exchange(self) -> int:
        return parse_header(self.datagram).exchange


Rewrite = Callable[[Path], Path | None]  # None: there is no mapping, the datagram is lost


@dataclass
class Link:
    """
    The way between the two. `rewrite_out` and `rewrite_in` make a NAT before a: a's packets,
    packets to a.
    """

    flights: deque[Flight] = field(default_factory=deque)
    lost: int = 0
    is_cut: bool = False
    rewrite_out: Rewrite | None = None
    rewrite_in: Rewrite | None = None
    seen: list[Flight] = field(default_factory=list)
    once: Once = field(default_factory=Once)

    def send(self, sender: Side, event: Send) -> None:
        self.once.see(sender.name, event.datagram, sender.iv_len)
        flight = Flight(sender, event.datagram, event.path)
        self.seen.append(flight)
        if not self.is_cut:
            self.flights.append(flight)

    def arrive(self, flight: Flight) -> None:
        """Hand a datagram to whom it is for, with the path as the receiver sees it."""
        path: Path | None = flight.path
        to_b = flight.sender is flight.sender.pair.a
        if to_b and self.rewrite_out is not None:
            path = self.rewrite_out(flight.path)
        if path is None:
            return
        seen: Path | None = Path(path.remote, path.remote_port, path.local, path.local_port)
        if seen is not None and not to_b and self.rewrite_in is not None:
            seen = self.rewrite_in(seen)
        if seen is not None:
            flight.sender.peer.receive(flight.datagram, seen)


class IkePair:
    """Two endpoints and what is between them."""

    def __init__(
        self,
        a: TunnelConfig | None = None,
        b: TunnelConfig | None = None,
        limits_a: EndpointLimits | None = None,
        limits_b: EndpointLimits | None = None,
        *,
        has_tokens: bool = False,
    ) -> None:
        """`has_tokens`: both ends know quick crash detection (RFC 6290)."""
        self.has_tokens = has_tokens
        self.now = 1000.0
        self.link = Link()
        self.a = Side(self, "a", a or config_a(), limits_a or EndpointLimits())
        self.b = Side(self, "b", b or config_b(), limits_b or EndpointLimits())

    @classmethod
    def started(cls, a: TunnelConfig | None = None, b: TunnelConfig | None = None) -> IkePair:
        """Return a pair that is configured; whoever begins has sent its first message."""
        pair = cls(a, b)
        pair.start()
        return pair

    @classmethod
    def established(cls, a: TunnelConfig | None = None, b: TunnelConfig | None = None) -> IkePair:
        """Return a pair with one IKE SA and one Child SA, over which a packet went each way."""
        pair = cls.started(a, b)
        pair.deliver_all()
        assert pair.a.state == pair.b.state == "established", pair.story()
        assert pair.has_traffic(), pair.story()
        return pair

    def start(self) -> None:
        self.b.start()
        self.a.start()
        self.fire()

    def sides(self) -> tuple[Side, ...]:
        return self.a, self.b

    # ---- the link ----

    def _take(self, sender: Side) -> Flight:
        for flight in self.link.flights:
            if flight.sender is sender:
                self.link.flights.remove(flight)
                return flight
        raise AssertionError(f"nothing is on its way from {sender.name}\n{self.story()}")

    def waiting(self, sender: Side) -> int:
        return sum(flight.sender is sender for flight in self.link.flights)

    def deliver_to_b(self) -> None:
        self.link.arrive(self._take(self.a))

    def deliver_to_a(self) -> None:
        self.link.arrive(self._take(self.b))

    def drop_to_b(self) -> None:
        self._take(self.a)

    def drop_to_a(self) -> None:
        self._take(self.b)

    def hold_to_a(self) -> Flight:
        """Take the oldest datagram to a off the link; `release` delivers it."""
        return self._take(self.b)

    def hold_to_b(self) -> Flight:
        return self._take(self.a)

    def hold_to(self, side: Side) -> Flight:
        """Take the oldest datagram to `side` off the link."""
        return self._take(side.peer)

    def release(self, flight: Flight) -> None:
        self.link.arrive(flight)

    def duplicate(self) -> None:
        """Let every datagram on its way arrive twice."""
        self.link.flights = deque(one for flight in self.link.flights for one in (flight, flight))

    def reorder(self) -> None:
        """Let the datagrams on their way arrive in the opposite order."""
        self.link.flights.reverse()

    def deliver_all(self, limit: int = 200) -> None:
        """Deliver until nothing is on its way."""
        for _ in range(limit):
            self.fire()
            if not self.link.flights:
                return
            self.link.arrive(self.link.flights.popleft())
        raise AssertionError("the two never stop\n" + self.story())

    # ---- time ----

    def fire(self) -> None:
        """Let timers fire whose time has come."""
        for side in self.sides():
            if side.is_frozen:
                continue
            for _ in range(50):
                if side.endpoint.deadline > self.now:
                    break
                side.on_time()
            else:
                raise AssertionError(f"{side.name} is always due\n{self.story()}")

    @property
    def deadline(self) -> float:
        return min(side.endpoint.deadline for side in self.sides() if not side.is_frozen)

    def advance(self, seconds: float, deliver: bool = True) -> None:
        """Let time pass, from deadline to deadline."""
        until = self.now + seconds
        for _ in range(20000):
            if deliver:
                self.deliver_all()
            self.fire()
            if self.deadline > until:
                break
            self.now = max(self.now, self.deadline)
        else:
            raise AssertionError("time does not pass\n" + self.story())
        self.now = until

    def wait_for(self, is_so: Callable[[], bool], most: float) -> float:
        """Let time pass until `is_so`; return how long it took. Fails after `most` seconds."""
        began = self.now
        self.deliver_all()
        while not is_so():
            if self.deadline == math.inf or self.deadline - began > most:
                raise AssertionError(f"not so within {most} s\n{self.story()}")
            self.now = max(self.now, self.deadline)
            self.fire()
            self.deliver_all()
        return self.now - began

    # ---- what must hold ----

    def has_traffic(self) -> bool:
        """Send one ESP packet each way; return whether both arrive."""
        there, back = self.a.send_esp(), self.b.send_esp()
        return there and back

    def cut(self, is_cut: bool = True) -> None:
        self.link.is_cut = is_cut

    def story(self) -> str:
        """Return what happened, for a failing test."""
        lines = [f"now {self.now}"]
        for side in self.sides():
            lines.append(f"--- {side.name}: {side.state}")
            for event in side.events[-40:]:
                lines.append("    " + tell(event))
        return "\n".join(lines)


def tell(event: Event) -> str:
    """Return an event in a line."""
    if isinstance(event, Send):
        header = parse_header(event.datagram)
        kind = "response" if header.is_response else "request"
        return f"send {kind} {header.exchange} id {header.message_id} ({len(event.datagram)} bytes)"
    if isinstance(event, ChildSaUp):
        return (
            f"child up in {event.inbound.spi:#x} out {event.outbound.spi:#x} "
            f"use {event.use_outbound} replaces {event.replaces}"
        )
    return repr(event)
