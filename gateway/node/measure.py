"""
Round trip and loss of each tunnel, inside and outside.

Inside: an echo request through the tunnel to the peer's inner address, which traffic of all tunnels
shares with it every queue and both ciphers. Outside: an echo request from our public address to the
peer's, the way that IKE and ESP go. Both are ordinary traffic (no DSCP), a few bytes every few
seconds, and nothing follows from them: what moves traffic is BFD, probes and IKE's liveness.

A peer that filters ICMP on its public address still answers IKE. How long an answer to a liveness
check took stands in for the outside then, where the request was sent once only (Karn's rule). No
check is made for it: one that is not answered would end a tunnel whose traffic is well.

One timer for all, two or three sockets in each network namespace. Answers carry the kernel's time.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum

from gateway.netns.wire import NamespaceError
from gateway.node.echo import (
    NONCE_BYTES,
    ORDINARY_TOS,
    Answer,
    EchoPool,
    EchoRequest,
    EchoSockets,
)
from gateway.node.journal import Journal, Level
from gateway.node.namespaces import OWN, Namespaces
from gateway.node.round_trips import LATE_S, WINDOW_S, Figures, RoundTrips, State, Trip
from gateway.node.tunnel import Tunnel, Tunnels
from gateway.node.turns import Turns
from gateway.sa import Address

Json = dict[str, object]
AskIke = Callable[[str], tuple[float, float] | None]  # when the last answer came, how long it took

SLOT_S = 0.05  # what is due within it is sent together
JITTER = 0.1  # by so much each interval is longer or shorter: nothing else is to beat in time
ANSWERS_A_TURN = 2000
VAIN_S = 60.0  # between two requests toward who has never answered
VAIN_TRIES = 12
IKE_WINDOW_S = 600.0  # a quiet IKE SA is asked seldom
CLOCKS_S = 0.005  # by so much two clocks may differ over a few seconds


class Side(Enum):
    """Where something is measured."""

    INSIDE = "inside"
    OUTSIDE = "outside"


@dataclass(frozen=True, slots=True)
class Aim:
    """Who asks whom, by which device ("" where routes decide), in which network namespace."""

    source: Address
    target: Address
    every_s: float
    interface: str
    namespace: str


@dataclass(slots=True, eq=False)
class Measured:
    """One side of one tunnel."""

    tunnel: Tunnel
    side: Side
    aim: Aim
    request: EchoRequest
    trips: RoundTrips = field(default_factory=RoundTrips)
    by_ike: RoundTrips = field(default_factory=lambda: RoundTrips(IKE_WINDOW_S))
    ike_at: float = 0.0  # when the last answer came that is in `by_ike`
    sockets: EchoSockets | None = None  # None: they or the device are not there
    arrival: bytes = b""  # how answers come in through the tunnel
    is_over: bool = False

    @property
    def interval_s(self) -> float:
        """Return the time to the next request, drawn anew each time."""
        is_vain = self.trips.answered_at is None and self.trips.count > VAIN_TRIES
        every_s = max(self.aim.every_s, VAIN_S) if is_vain else self.aim.every_s
        return every_s * (1 - JITTER + 2 * JITTER * secrets.randbits(16) / 0xFFFF)

    @property
    def is_well(self) -> bool:
        """Whether the path is well by what the tunnel itself shows: its traffic, or IKE."""
        if not self.tunnel.is_up or self.side is Side.OUTSIDE:
            return self.tunnel.is_up
        last = self.tunnel.samples[-1] if self.tunnel.samples else None
        return last is not None and last.at - last.stats.in_at < WINDOW_S


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request under way. `wall` is when it was sent by the clock that answers are stamped by."""

    by: Measured
    trips: RoundTrips
    trip: Trip
    wall: float


class Measurer:
    """Measures all tunnels that are there and are to be measured."""

    def __init__(
        self,
        tunnels: Tunnels,
        namespaces: Namespaces,
        ask_ike: AskIke,
        journal: Journal,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._tunnels = tunnels
        self._ask_ike = ask_ike
        self._journal = journal
        self._clock = clock
        self._wall = wall
        self._pool = EchoPool(namespaces.open_socket)
        self._turns: Turns[Measured] = Turns(clock, SLOT_S, self._turn)
        self._measured: dict[tuple[str, Side], Measured] = {}
        self._asked: dict[bytes, _Asked] = {}  # by nonce, the oldest first
        self._read_at = clock()  # all answers until then are known

    def close(self) -> None:
        """Ask nobody any more."""
        self._turns.close()
        self._pool.close()

    # ---- what is measured ----

    def follow(self) -> None:
        """Measure the tunnels as they are now. Called once a second."""
        wanted = {
            (tunnel.name, side): (tunnel, aim)
            for tunnel in self._tunnels
            for side, aim in _aims(tunnel)
        }
        for key, measured in list(self._measured.items()):
            if key not in wanted or wanted[key][1] != measured.aim:
                measured.is_over = True
                del self._measured[key]
        for key, (tunnel, aim) in wanted.items():
            found = self._measured.get(key) or self._begin(tunnel, key[1], aim)
            if found.tunnel is not tunnel or found.sockets is None:
                found.tunnel = tunnel
                self._locate(found)
        self._pool.keep({one.sockets for one in self._measured.values() if one.sockets})
        self._turn()

    def _begin(self, tunnel: Tunnel, side: Side, aim: Aim) -> Measured:
        request = EchoRequest(aim.source, aim.target, ORDINARY_TOS)
        measured = Measured(tunnel, side, aim, request)
        self._measured[tunnel.name, side] = measured
        self._turns.add(measured)
        return measured

    def _locate(self, measured: Measured) -> None:
        """Find sockets, and by what a tunnel's answers are known: its device may be a new one."""
        aim, measured.sockets = measured.aim, None
        try:
            sockets = self._pool.of(aim.namespace)
            sockets.listen(measured.request.version)
            if aim.interface:
                measured.arrival = sockets.arrival(aim.interface, aim.source)
        except (NamespaceError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            text = f"can not be measured {measured.side.value}: {why}"
            name = measured.tunnel.name
            self._journal.from_peer(Level.DEBUG, "measure", tunnel=name, text=text)
            return
        measured.sockets = sockets

    # ---- a turn ----

    def _turn(self) -> None:
        try:
            now = self._clock()
            if self._read_answers():
                self._read_at = now
                self._give_up(now)
            for measured in self._turns.take(now):
                self._ask(measured)
        finally:
            self._turns.arm()

    def _ask(self, measured: Measured) -> None:
        sockets, aim = measured.sockets, measured.aim
        if measured.side is Side.OUTSIDE:
            self._hear_ike(measured)
        elif not measured.tunnel.is_up:
            if measured.trips.count:  # what comes up again may be another path
                measured.trips = RoundTrips()
            return
        if sockets is None:
            return
        nonce, wall, now = secrets.token_bytes(NONCE_BYTES), self._wall(), self._clock()
        number = measured.trips.count
        try:
            if aim.interface:
                sockets.send(aim.interface, measured.request, number, nonce)
            else:
                sockets.send_by_route(measured.request, number, nonce)
        except OSError:
            return  # no room, no route or no device: that says nothing of the path
        trips = measured.trips
        self._asked[nonce] = _Asked(measured, trips, trips.sent(now), wall)

    def _hear_ike(self, measured: Measured) -> None:
        found = self._ask_ike(measured.tunnel.name)
        if found is not None and found[0] != measured.ike_at:
            measured.ike_at, took_s = found
            measured.by_ike.answered(measured.by_ike.sent(found[0] - took_s), took_s)

    def _read_answers(self) -> bool:
        """Take the answers that wait; return whether that were all."""
        is_all = True
        for sockets in self._pool:
            answers, are_all = sockets.read(ANSWERS_A_TURN)
            is_all = is_all and are_all
            for answer in answers:
                self._take(sockets, answer)
        return is_all

    def _take(self, sockets: EchoSockets, answer: Answer) -> None:
        """Take an answer of who was asked, for once; inside, if it came through the tunnel."""
        asked = self._asked.get(answer.nonce)
        if asked is None or asked.by.sockets is not sockets:
            return
        by = asked.by
        is_through = not by.aim.interface or answer.arrival == by.arrival
        if not is_through or answer.source != by.request.target:
            return
        del self._asked[answer.nonce]
        took_s, most_s = answer.at - asked.wall, self._clock() - asked.trip.sent_at + CLOCKS_S
        if 0.0 <= took_s <= most_s:  # else this host's clock was set meanwhile
            asked.trips.answered(asked.trip, took_s)

    def _give_up(self, now: float) -> None:
        """Forget requests whose answer would be late."""
        while self._asked:
            nonce, asked = next(iter(self._asked.items()))
            if now - asked.trip.sent_at <= LATE_S:
                return
            del self._asked[nonce]

    # ---- what is reported ----

    def of_tunnel(self, name: str) -> Json | None:
        """Return what was measured of a tunnel by side; None if it is not measured at all."""
        found = {side.value: self._of(name, side) for side in Side}
        return dict(found) if any(found.values()) else None

    def _of(self, name: str, side: Side) -> Json | None:
        measured = self._measured.get((name, side))
        if measured is None:
            return None
        figures, by = self._figures(measured)
        return {
            "state": figures.state.value,
            "by": by,
            "target": measured.request.target,
            "rtt_ms": _milliseconds(figures.mean_s),
            "min_ms": _milliseconds(figures.min_s),
            "max_ms": _milliseconds(figures.max_s),
            "jitter_ms": _milliseconds(figures.jitter_s),
            "loss_percent": None if figures.loss is None else round(figures.loss * 100, 1),
        }

    def _figures(self, measured: Measured) -> tuple[Figures, str]:
        """Return what was measured, and by what."""
        figures = measured.trips.figures(self._read_at, is_well=measured.is_well)
        if figures.state is State.NO_ANSWER and measured.side is Side.OUTSIDE:
            by_ike = measured.by_ike.figures(self._read_at, is_well=True)
            if by_ike.state is State.ANSWERED:
                return replace(by_ike, loss=None), "ike"
        return figures, "icmp"


def _aims(tunnel: Tunnel) -> Iterator[tuple[Side, Aim]]:
    """Yield what is measured of a tunnel."""
    plan = tunnel.plan
    measure = plan.measure
    if measure is None:
        return
    if plan.inner_local is not None and measure.inside is not None:
        places = plan.interface, plan.namespace
        yield Side.INSIDE, Aim(plan.inner_local.ip, measure.inside, measure.every_s, *places)
    local, remote = tunnel.outer_addresses()
    if remote is not None and plan.admin_up:
        yield Side.OUTSIDE, Aim(local, remote, measure.every_s, "", OWN)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
