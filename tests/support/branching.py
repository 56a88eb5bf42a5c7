"""
Endpoints that can be asked at any moment what they would do if this, or that, came next.

An endpoint does what it does because of what it was told, in which order and when, and of nothing
else: its randomness counts, its clock is given. So a `Node`, which is one end at one moment, knows
what it has answered to each input, and the number of endpoints that really run is that of different
histories of *one* end. The far larger number of states of both ends costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gateway.ike.child import Stage
from gateway.ike.endpoint import IkeEndpoint
from gateway.ike.events import ChildSaUp, Event, OutboundReady, Send
from gateway.ike.states import State
from gateway.sa import Path
from tests.support.copies import Copies
from tests.support.pair import Plane, Side


@dataclass(frozen=True, slots=True)
class Datagram:
    """What is on its way: an IKE message, or the first ESP packet on an SA."""

    to_a: bool
    body: bytes  # of ESP, the SPI
    path: Path | None = field(default=None, compare=False)  # as its receiver sees it; None: ESP

    @property
    def is_esp(self) -> bool:
        return self.path is None


@dataclass(frozen=True, slots=True)
class Action:
    """What an operator, or a timer, asks of an end."""

    name: str
    to_a: bool
    call: Callable[[IkeEndpoint, float], list[Event]]


@dataclass(frozen=True, slots=True)
class Sight:
    """What one end holds; the ends must agree on it in the end."""

    ike: frozenset[tuple[bytes, bytes, State]]
    children: frozenset[tuple[int, int]]  # inbound and outbound SPI of those that are live
    is_waiting: bool  # for an answer
    is_settled: bool  # nothing is replaced, about to go or going
    sends_on: frozenset[tuple[int, int]]  # the same of those it sends on
    inbound: frozenset[int]
    spis: int  # that are taken, those that are only offered included


@dataclass(eq=False)
class Node:
    """One end at one moment."""

    is_a: bool
    has_esp: bool  # packets are sent on new SAs
    copies: Copies
    deadline: float
    sight: Sight
    sent: tuple[Datagram, ...] = ()
    known: dict[tuple[object, ...], Node] = field(default_factory=dict)

    @classmethod
    def of(cls, side: Side, has_esp: bool = True) -> Node:
        """Return the node that a side is now."""
        side.endpoint._is_kept = False
        return _node(side is side.pair.a, has_esp, side.endpoint, side.plane)

    def received(self, one: Datagram, now: float) -> Node:
        """Return the node after it has received a message or an ESP packet."""
        if one.is_esp:
            spi = int.from_bytes(one.body, "big")
            return self._after(("esp", spi), now, lambda end: end.first_inbound(spi, now))
        path = one.path
        assert path is not None
        key = ("receive", one.body)
        return self._after(key, now, lambda end: end.receive(one.body, path, now))

    def told(self, action: Action, now: float) -> Node:
        """Return the node after its operator has asked for something."""
        return self._after((action.name,), now, lambda end: action.call(end, now))

    def on_time(self, now: float) -> Node:
        """Return the node after its timers have fired."""
        return self._after(("time",), now, lambda end: _due(end, now))

    def _after(
        self, key: tuple[object, ...], now: float, act: Callable[[IkeEndpoint], list[Event]]
    ) -> Node:
        found = self.known.get((*key, now))
        if found is None:
            endpoint, plane = self.copies.take()
            events = act(endpoint)
            for event in events:
                plane.take(event)
            found = _node(self.is_a, self.has_esp, endpoint, plane, events)
            self.known[(*key, now)] = found
        return found


def _due(endpoint: IkeEndpoint, now: float) -> list[Event]:
    events: list[Event] = []
    for _ in range(50):
        events += endpoint.on_time(now)
        if endpoint.deadline > now:
            return events
    raise AssertionError("an end is always due")


def _node(
    is_a: bool, has_esp: bool, endpoint: IkeEndpoint, plane: Plane, events: Iterable[Event] = ()
) -> Node:
    endpoint._context.counters.clear()
    return Node(
        is_a,
        has_esp,
        Copies(endpoint, plane),
        endpoint.deadline,
        _sight(endpoint, plane),
        tuple(one for one in _sent(is_a, plane, events) if has_esp or not one.is_esp),
    )


def _sent(is_a: bool, plane: Plane, events: Iterable[Event]) -> list[Datagram]:
    sent = []
    for event in events:
        match event:
            case Send():
                path = event.path
                seen = Path(path.remote, path.remote_port, path.local, path.local_port)
                sent.append(Datagram(not is_a, event.datagram, seen))
            case ChildSaUp(use_outbound=True):
                sent.append(Datagram(not is_a, event.outbound.spi.to_bytes(4, "big")))
            case OutboundReady():
                up = plane.children[event.spi_in]
                sent.append(Datagram(not is_a, up.outbound.spi.to_bytes(4, "big")))
            case _:
                pass
    return sent


def _sight(endpoint: IkeEndpoint, plane: Plane) -> Sight:
    sas = [sa for sa in endpoint._context.sas.values() if sa.state is not State.CLOSED]
    children = [child for sa in sas for child in sa.children.values()]
    used = [plane.children[spi] for spi in plane.sending.values()]
    return Sight(
        ike=frozenset((sa.spi_i, sa.spi_r, sa.state) for sa in sas),
        children=frozenset((one.spi_in, one.spi_out) for one in children if one.is_live),
        is_waiting=any(sa.window.outstanding is not None for sa in sas),
        is_settled=all(one.stage is Stage.INSTALLED for one in children),
        sends_on=frozenset((one.inbound.spi, one.outbound.spi) for one in used),
        inbound=frozenset(plane.inbound),
        spis=endpoint.inbound_spis,
    )
