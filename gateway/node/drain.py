"""
Move traffic out of a tunnel before it is closed, in both directions, so that no packet is lost.

Our own direction moves with the routes. The other one is the peer's: with BGP it is asked to leave
(MED, AS path, GRACEFUL_SHUTDOWN of RFC 8326), and where it does not listen, it is told nothing any
more; we wait until nothing but the tunnel's own chatter comes in. A peer with static routes can not
be asked; it leaves when it gets our Delete, and what is under way until then is still received.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto

from gateway.dataplane.interface import DataPlane
from gateway.errors import DataPlaneError
from gateway.node.failback import FailbackKeeper
from gateway.node.journal import Journal
from gateway.node.steering import Cause, Steering
from gateway.node.tunnel import Tunnel, Tunnels
from gateway.routing.plan import BgpPeer, Standing
from gateway.routing.routers import Routers

LOOK_S = 0.25  # between two looks at the counters
LEAST_S = 1.0  # an update goes through the customer's own network
ASKED_S, TOLD_S = 4.0, 3.0  # how long the peer may take, asked first, then told nothing
STATIC_S = 0.1  # what is on its way through our own queues
BIRD_S = 0.5  # until BIRD has gone over to what it is told, where it has the static routes too
CHATTER_PPS = 6.0  # BGP's keepalives and updates, and a ping now and then


class Claim(Enum):
    """Who wants no traffic in a tunnel: it comes back when nobody does any more."""

    OPERATOR = auto()  # said `drain`, until they say `up`
    CLOSING = auto()  # a command that closes the tunnel when it is drained
    EDIT = auto()  # an edit of the document that has come to this tunnel


class Drained(Enum):
    """How it went."""

    QUIET = "quiet"  # nothing comes in any more
    MOVED = "moved"  # our own direction has left; the peer's is not ours to move
    BUSY = "busy"  # traffic still comes in
    ALONE = "alone"  # nothing else could take the traffic
    DOWN = "down"  # it carried none


class Drain:
    """Moves traffic out of tunnels and lets it back."""

    def __init__(
        self,
        plane: DataPlane,
        tunnels: Tunnels,
        routers: Routers,
        steering: Steering,
        failback: FailbackKeeper,
        journal: Journal,
    ) -> None:
        self._plane = plane
        self._tunnels = tunnels
        self._routers = routers
        self._steering = steering
        self._failback = failback
        self._journal = journal
        self._claims: dict[str, set[Claim]] = {}

    def is_claimed(self, name: str, claim: Claim) -> bool:
        """Return whether somebody wants a tunnel without traffic."""
        return claim in self._claims.get(name, ())

    async def move_away(self, name: str, claim: Claim) -> Drained:
        """
        Move the traffic of a tunnel to other ways; it stays away until `let_back` for each claim.

        Whoever calls looks afterwards whether the claim is still there: it may have been taken back
        meanwhile, and goes also where this ends by an error or is cancelled.
        """
        self._claims.setdefault(name, set()).add(claim)
        try:
            return await self._moved_away(name)
        except BaseException:
            self.let_back(name, claim)
            raise

    async def _moved_away(self, name: str) -> Drained:
        tunnel = self._tunnels.by_name.get(name)
        if tunnel is None or not tunnel.is_up:
            return Drained.DOWN
        await self._routers.refresh()
        if not (any(self._failback.twins(tunnel.plan)) or self._is_reached_elsewhere(name)):
            return Drained.ALONE
        if not self._is_moved(name):
            self._steering.say(name, Cause.DRAIN, Standing.DEMOTED)
        done = await self._wait(tunnel)
        self._journal.info("drained", tunnel=name, how=done.value)
        return done

    def _is_reached_elsewhere(self, name: str) -> bool:
        """Return whether BGP reaches the customer by another connection or a direct line."""
        mine = self._routers.peer(name)
        return mine is not None and any(
            one.is_up and _is_other_way(mine.peer, one.peer) for one in self._routers.peers
        )

    def _is_moved(self, name: str) -> bool:
        return self._steering.said(name, Cause.DRAIN) is not Standing.NORMAL

    def let_back(self, name: str, *claims: Claim) -> None:
        """Take these claims back: without any, traffic is let into a tunnel again."""
        left = self._claims.get(name, set()).difference(claims)
        if left:
            self._claims[name] = left
            return
        self._claims.pop(name, None)
        self._steering.say(name, Cause.DRAIN, Standing.NORMAL)

    def forget(self, tunnels: frozenset[str]) -> None:
        """Forget all tunnels but these: another one may have the name of one that has gone."""
        for name in [name for name in self._claims if name not in tunnels]:
            self.let_back(name, *Claim)

    async def _wait(self, tunnel: Tunnel) -> Drained:
        peer = self._routers.peer(tunnel.name)
        if peer is None or not peer.is_up:
            is_birds = tunnel.name in self._routers.chosen
            await asyncio.sleep(STATIC_S + BIRD_S * is_birds)
            return Drained.MOVED
        bfd = peer.peer.bfd
        chatter = CHATTER_PPS + (1000.0 / bfd.interval_ms * 1.5 if bfd else 0.0)
        await asyncio.sleep(LEAST_S)
        if await self._is_quiet(tunnel, chatter, ASKED_S):
            return Drained.QUIET
        if tunnel.name not in self._claims:  # it has been let back meanwhile
            return Drained.BUSY
        self._steering.say(tunnel.name, Cause.DRAIN, Standing.WITHDRAWN)
        await asyncio.sleep(LEAST_S)
        return Drained.QUIET if await self._is_quiet(tunnel, chatter, TOLD_S) else Drained.BUSY

    async def _is_quiet(self, tunnel: Tunnel, chatter_pps: float, most_s: float) -> bool:
        """Wait until a tunnel receives less than its chatter; return whether that came true."""
        loop = asyncio.get_running_loop()
        end, before, at = loop.time() + most_s, self._received(tunnel), loop.time()
        while loop.time() < end:
            await asyncio.sleep(LOOK_S)
            received, now = self._received(tunnel), loop.time()
            if received - before <= chatter_pps * (now - at):
                return True
            before, at = received, now
        return False

    def _received(self, tunnel: Tunnel) -> int:
        try:
            return self._plane.tunnel_stats(tunnel.number).in_packets
        except DataPlaneError:  # it is gone: nothing comes in
            return 0


def _is_other_way(mine: BgpPeer, other: BgpPeer) -> bool:
    """Return whether another connection or line leads to the same customer, told by its AS."""
    is_same = (mine.border_gateway, mine.asn) == (other.border_gateway, other.asn)
    return is_same and (mine.hop, mine.connection) != (other.hop, other.connection)
