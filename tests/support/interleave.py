"""
Everything that can happen to the messages of two ends: all orders, and one loss.

`explore` begins with two ends and what each is to be asked for. At any moment it may be asked, and
any datagram on its way may arrive next, or be lost if none was. When nothing is on its way and an
answer is awaited, time goes on to the next timer, so that what was lost is sent again and meets all
orders once more. Where nothing is awaited, `settle` lets time pass until both ends hold what they
are to hold, and the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from gateway.ike.states import State
from tests.support.branching import Action, Datagram, Node, Sight

Is = Callable[[Sight, Sight], bool]
SETTLE_S = 600.0  # more than any pause, time-out and back-off of the two in a row


@dataclass(frozen=True, slots=True)
class World:
    """Both ends, and what is between them."""

    a: Node
    b: Node
    now: float
    flights: tuple[Datagram, ...] = ()
    asks: tuple[Action, ...] = ()  # still to be made
    losses: int = 1  # still allowed
    is_gapless: bool = False  # each ESP packet finds its inbound SA

    def end(self, is_a: bool) -> Node:
        return self.a if is_a else self.b

    def put(self, node: Node) -> World:
        """Return the world with this end in place of what it was, and what it has just sent."""
        flights = tuple(sorted((*self.flights, *node.sent), key=_order))
        if node.is_a:
            return replace(self, a=node, flights=flights)
        return replace(self, b=node, flights=flights)

    def without(self, flight: Datagram) -> World:
        at = self.flights.index(flight)
        return replace(self, flights=self.flights[:at] + self.flights[at + 1 :])

    def arrive(self, flight: Datagram) -> World:
        """Return the world after a datagram has arrived."""
        after = self.without(flight)
        spi = int.from_bytes(flight.body[:4], "big")
        if flight.is_esp and spi not in self.end(flight.to_a).sight.inbound:
            assert not self.is_gapless, f"ESP for {spi:#x}, which is not installed"
            return after
        return after.put(self.end(flight.to_a).received(flight, self.now))

    def ask(self, action: Action) -> World:
        """Return the world after an end was asked for something."""
        asks = tuple(one for one in self.asks if one is not action)
        return replace(self, asks=asks).put(self.end(action.to_a).told(action, self.now))

    def later(self) -> World:
        """Return the world at the next deadline of either end."""
        now = min(self.a.deadline, self.b.deadline)
        world = replace(self, now=max(now, self.now))
        for is_a in (True, False):
            if self.end(is_a).deadline <= world.now:
                world = world.put(world.end(is_a).on_time(world.now))
        return world

    @property
    def is_waiting(self) -> bool:
        return self.a.sight.is_waiting or self.b.sight.is_waiting

    def next(self) -> Iterator[tuple[str, World]]:
        """Return all that may come next, in words as well."""
        for action in self.asks:
            yield f"{_name(action.to_a)}: {action.name}", self.ask(action)
        for flight in dict.fromkeys(self.flights):
            kind = "ESP" if flight.is_esp else f"IKE {len(flight.body)}"
            yield f"{kind} reaches {_name(flight.to_a)}", self.arrive(flight)
            if self.losses:
                lost = replace(self.without(flight), losses=0)
                yield f"{kind} to {_name(flight.to_a)} is lost", lost
        if not self.flights and not self.asks and self.is_waiting:
            yield "time", self.later()


def _order(flight: Datagram) -> tuple[bool, bytes]:
    return flight.to_a, flight.body


def _name(is_a: bool) -> str:
    return "a" if is_a else "b"


@dataclass
class Found:
    """How much there was to see."""

    worlds: int = 0
    ends: int = 0  # worlds in which nothing is awaited any more
    came: dict[World, tuple[str, World]] = field(default_factory=dict)  # how, and from where

    def story(self, world: World) -> str:
        """Return how a world came about."""
        steps: list[str] = []
        while world in self.came:
            how, world = self.came[world]
            steps.append(how)
        return "\n".join(reversed(steps))


def explore(begin: World, is_good: Is) -> Found:
    """
    Visit each world that can come of `begin`, and see that each ends well.

    Raises AssertionError with the way that leads to what is wrong.
    """
    found, seen, waiting = Found(), {begin}, [begin]
    settled: set[tuple[Node, Node, float]] = set()
    while waiting:
        world = waiting.pop()
        found.worlds += 1
        is_end = True
        try:
            for how, after in world.next():
                is_end = False
                if after not in seen:
                    seen.add(after)
                    found.came[after] = how, world
                    waiting.append(after)
            if is_end and (key := (world.a, world.b, world.now)) not in settled:
                settled.add(key)
                settle(world, is_good)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{found.story(world)}") from error
    found.ends = len(settled)
    return found


def settle(world: World, is_good: Is) -> None:
    """Let time pass until both ends are as they should be. Raises AssertionError if never."""
    until = world.now + SETTLE_S
    while world.now < until:
        while world.flights:
            world = world.arrive(world.flights[0])
        if is_good(world.a.sight, world.b.sight):
            return
        world = world.later()
    raise AssertionError(f"a: {world.a.sight}\nb: {world.b.sight}")


# ---- what the ends are to hold ----


def agree(one: Sight, other: Sight) -> bool:
    """Return whether both hold one IKE SA, the same Child SAs, and nothing else."""
    crossed = frozenset((spi_out, spi_in) for spi_in, spi_out in one.children)
    return (
        one.ike == other.ike
        and [state for _, _, state in one.ike] == [State.ESTABLISHED]
        and crossed == other.children
        and all(_is_whole(sight) for sight in (one, other))
    )


def _is_whole(sight: Sight) -> bool:
    """Return whether an end has nothing but what it can use."""
    spis = {spi_in for spi_in, _ in sight.children}
    return (
        sight.is_settled
        and not sight.is_waiting
        and sight.inbound == spis
        and sight.spis == len(spis)
        and sight.sends_on <= sight.children
    )


def one_pair(one: Sight, other: Sight) -> bool:
    """Return whether both have exactly one Child SA, and send on it."""
    return agree(one, other) and len(one.children) == 1 and one.sends_on == one.children


def two_pairs(one: Sight, other: Sight) -> bool:
    """Return whether both have exactly two Child SAs, and send on both."""
    return agree(one, other) and len(one.children) == 2 and one.sends_on == one.children


def is_down(one: Sight, other: Sight) -> bool:
    """Return whether neither end has anything that is established, nor an SPI taken for it."""
    return all(
        not sight.children
        and not sight.inbound
        and not any(state in LIVE for _, _, state in sight.ike)
        for sight in (one, other)
    )


LIVE = frozenset({State.ESTABLISHED, State.REKEYED, State.CLOSING})
