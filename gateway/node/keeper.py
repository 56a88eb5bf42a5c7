"""
What the next gateway process needs, kept with the data plane process: see `seal.py` for how.

The rule is write ahead: what has changed is handed on before anything leaves that depends on it. No
answer is waited for: what was sent to the data plane process is kept, whatever becomes of this one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.dataplane.estate import Estate
from gateway.dataplane.interface import DataPlane, PlaneState
from gateway.files import write_whole
from gateway.ike.events import ChildSaAgain
from gateway.node.daemon import Changes, IkeDaemon
from gateway.node.failback import FailbackKeeper
from gateway.node.journal import Journal
from gateway.node.plan import NodePlan
from gateway.node.probes import Prober
from gateway.node.reconcile import Reconciler
from gateway.node.seal import Sealer, SealError, load_key, make_key
from gateway.node.steering import Cause, Steering
from gateway.node.tunnel import Tunnels
from gateway.routing.health import Health
from gateway.routing.plan import Standing
from gateway.secret import Secret

TAKEN_DOWN = "taken_down.json"  # for where both processes are lost, and the records with them
_NODE = b"node"  # the place of what is not of one IKE SA, whose place is its SPI
_NAMES = ("taken_down", "held_back", "healthy", "unhealthy")


@dataclass(frozen=True, slots=True)
class Standings:
    """
    What one gateway process leaves to the next beside its IKE SAs: the tunnels an operator took
    down, those whose traffic stays with another tunnel although they are well, and those whose
    probes were answered last, and were no longer.
    """

    taken_down: frozenset[str] = frozenset()
    held_back: frozenset[str] = frozenset()
    healthy: frozenset[str] = frozenset()
    unhealthy: frozenset[str] = frozenset()

    def encode(self) -> bytes:
        """Return them as bytes."""
        return json.dumps({name: sorted(getattr(self, name)) for name in _NAMES}).encode()

    @classmethod
    def decode(cls, content: bytes) -> Standings:
        """Return what `encode` has encoded."""
        head = json.loads(content)
        return cls(*(frozenset(head[name]) for name in _NAMES))


class Keeper:
    """The records in the data plane process: what was found there, and what is kept there now."""

    def __init__(self, plane: DataPlane, key_path: Path, journal: Journal) -> None:
        """Read what there is. Raises DataPlaneError, OSError if no key can be made."""
        self._plane = plane
        self._journal = journal
        found = plane.kept()
        self._stale = set(found)
        self._sealer = Sealer(self._key(key_path, is_needed=bool(found)))
        opened = {place: self._open(place, record) for place, record in found.items()}
        self._word_path = key_path.with_name(TAKEN_DOWN)
        self._word = self._read_word()
        node = opened.pop(_NODE, None)
        self.standings = Standings.decode(node) if node else Standings(taken_down=self._word)
        self.ike_sas = [content for content in opened.values() if content is not None]

    def _key(self, path: Path, *, is_needed: bool) -> Secret:
        if is_needed:
            try:
                return load_key(path)
            except (SealError, OSError) as error:
                self._journal.error("state not restored", text=str(error))
        return make_key(path)

    def _open(self, place: bytes, record: bytes) -> bytes | None:
        try:
            return self._sealer.open(place, record)
        except SealError as error:
            self._journal.error("state not restored", text=str(error))
            return None

    def keep(self, changes: Changes, standings: Standings | None = None) -> None:
        """
        Keep what has changed, all or none; an empty record goes. Raises DataPlaneError.

        `standings` is what has changed and is not of one IKE SA.
        """
        sealed = self.sealed(changes, standings)
        if not sealed:
            return
        self._plane.keep(sealed.items())
        self._stale.difference_update(sealed)
        if standings is not None:
            self.standings = standings
            self._write_word(standings.taken_down)

    def sealed(self, changes: Changes, standings: Standings | None) -> dict[bytes, bytes]:
        """Return the records of changes, by their places."""
        if standings is not None:
            changes = [*changes, (_NODE, standings.encode())]
        seal = self._sealer.seal
        return {place: seal(place, one) if one else b"" for place, one in changes}

    # ---- an operator's word, which outlives both processes ----

    def _read_word(self) -> frozenset[str]:
        try:
            return frozenset(map(str, json.loads(self._word_path.read_bytes())))
        except FileNotFoundError:
            return frozenset()
        except (OSError, ValueError, TypeError) as error:
            self._journal.error("state not restored", text=f"{self._word_path}: {error}")
            return frozenset()

    def _write_word(self, taken_down: frozenset[str]) -> None:
        if taken_down == self._word:
            return
        try:
            write_whole(self._word_path, json.dumps(sorted(taken_down)).encode())
        except OSError as error:
            self._journal.error("not_kept", text=f"{self._word_path}: {error.strerror}")
        else:
            self._word = taken_down

    def forget(self) -> None:
        """The tunnels end by an operator's word: the next process begins as its document says."""
        self._word_path.unlink(missing_ok=True)

    # ---- another data plane process ----

    def begin_again(self) -> None:
        """
        Take note that another data plane process keeps the records. What it may have is of a
        moment before, from a service manager, and older than ours. Raises DataPlaneError.
        """
        self._stale = set(self._plane.kept())
        self.standings = Standings()
        self.sweep()

    def sweep(self) -> None:
        """Remove what was found and is not true any more. Raises DataPlaneError."""
        if self._stale:
            self.keep([(place, b"") for place in sorted(self._stale)])


class Succession:
    """From one gateway process to the next: takes over, and keeps what the next one needs."""

    def __init__(
        self,
        keeper: Keeper,
        daemon: IkeDaemon,
        reconciler: Reconciler,
        steering: Steering,
        failback: FailbackKeeper,
        prober: Prober,
        tunnels: Tunnels,
        journal: Journal,
        clock: Callable[[], float],
    ) -> None:
        self._keeper = keeper
        self._daemon = daemon
        self._reconciler = reconciler
        self._steering = steering
        self._failback = failback
        self._prober = prober
        self._tunnels = tunnels
        self._journal = journal
        self._clock = clock

    # ---- from the process before ----

    def take_over(self, state: PlaneState, wanted: NodePlan, left: Estate | None = None) -> None:
        """
        Make the plan so, on top of what an earlier gateway process left in the data plane; `left`
        is of another data plane process, whose ESP SAs are gone.
        """
        self._reconciler.take_over(state, wanted)
        if left is not None:
            self._reconciler.inherit(left, wanted)
        found, before = len(self._tunnels), self._keeper.standings
        self._reconciler.taken_down = set(before.taken_down)
        self._prober.resume(before.healthy, before.unhealthy)
        self._reconciler.apply(wanted)
        self._daemon.keep = self._keep
        self._restore(is_lost=left is not None)
        self._hold_back(before.held_back)
        self._reconciler.adopt()
        self._keeper.sweep()
        self.keep_standings()
        if found:
            orphans = sum(len(tunnel.orphans) for tunnel in self._tunnels)
            self._journal.info("taken over", tunnels=found, orphans=orphans)

    def _restore(self, *, is_lost: bool) -> None:
        events, mistakes = self._daemon.endpoint.restore(self._keeper.ike_sas, self._clock())
        for text in mistakes:
            self._journal.error("IKE SA not restored", text=text)
        if is_lost:
            # No key that another data plane process may have had is installed again.
            self._daemon.endpoint.children_lost()
            events = [event for event in events if not isinstance(event, ChildSaAgain)]
        self._daemon.carry_out(events)

    def _hold_back(self, tunnels: frozenset[str]) -> None:
        """Leave the traffic where the process before has left it."""
        for name in tunnels & self._tunnels.by_name.keys():
            self._steering.say(name, Cause.FAILBACK, Standing.DEMOTED)
        self._failback.restore()

    def forget(self) -> None:
        """The tunnels have ended by an operator's word: the next process begins with none."""
        self._keeper.forget()

    # ---- for the process after ----

    def records(self) -> dict[bytes, bytes]:
        """Return all records, sealed, for a process that is to begin in place of this one."""
        self._daemon.endpoint.not_kept()
        return self._keeper.sealed(self._daemon.endpoint.changes(), self._standings())

    def begin_again(self) -> None:
        """
        Keep everything with another data plane process: each IKE SA as it changes, those that do
        not with `keep_rest`, when there is time for it. Raises DataPlaneError.
        """
        self._keeper.begin_again()
        self._daemon.endpoint.none_kept()
        self.keep_standings()

    def keep_rest(self) -> None:
        """Keep what no change has brought since `begin_again`."""
        self._daemon.endpoint.keep_rest()
        self._daemon.carry_out([])

    def _keep(self, changes: Changes) -> None:
        """Keep the changes of IKE SAs, together with an operator's word that has made them."""
        is_told = self._reconciler.taken_down != self._keeper.standings.taken_down
        self._keeper.keep(changes, self._standings() if is_told else None)

    def keep_standings(self) -> None:
        """Keep the standings of the tunnels if they have changed. Raises DataPlaneError."""
        standings = self._standings()
        if standings != self._keeper.standings:
            self._keeper.keep([], standings)

    def _standings(self) -> Standings:
        held = frozenset(
            name for name in self._tunnels.by_name if Cause.FAILBACK in self._steering.causes(name)
        )
        probed = [self._prober.found(each) for each in (Health.HEALTHY, Health.UNHEALTHY)]
        return Standings(frozenset(self._reconciler.taken_down), held, *probed)
