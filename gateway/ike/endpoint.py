"""
The IKE core of one gateway: all tunnels, all IKE SAs. Bytes, calls and time go in, events come out.

    receive(datagram, path, now)    a datagram came, without non-ESP marker
    on_time(now)                    `deadline` has come
    initiate, close, rekey_...      the operator, the data plane or the shell wants something

Each returns the events that follow, to be carried out in their order, and `deadline` then says when
`on_time` is next needed. Nothing here reads a clock, draws its own randomness, or knows a socket.

Standards: RFC 7296 (tunnel mode), 4478, 4555 (responder), 4754, 4806, 4945, 5282, 5685 (initiator),
6023, 6290, 6989, 7383, 7427, 7670, 8031, 8247, 8420, 8784, 9242, 9370, 9611. Not here: EAP,
configuration payloads, IPComp, AH, transport mode.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.errors import UsageError
from gateway.ike import dispatch, edits, lost, reasons, restore, slots, snapshot
from gateway.ike.agenda import Agenda
from gateway.ike.child import ChildSa
from gateway.ike.config import Random, TunnelConfig
from gateway.ike.context import Context, EndpointLimits, SpiTable
from gateway.ike.crash import TokenMaker
from gateway.ike.entrance import Entrance
from gateway.ike.events import Event, Reason
from gateway.ike.exchanges import held, informational, init
from gateway.ike.ike_sa import IkeSa
from gateway.ike.keymat import IkeKeys
from gateway.ike.proposals import IkeSuite
from gateway.ike.states import State
from gateway.ike.status import Ages, ChildStatus, TunnelIkeStatus, ages, tunnel_status
from gateway.ike.tasks import Task, Work
from gateway.ike.tunnel import Tunnel, know_twins
from gateway.pki.question import Question
from gateway.sa import Address, Path
from gateway.secret import Secret

__all__ = ["ChildStatus", "EndpointLimits", "IkeEndpoint", "IkeSecrets", "TunnelIkeStatus"]


@dataclass(frozen=True, slots=True)
class IkeSecrets:
    """The keys of an IKE SA, and what they are for."""

    spi_i: bytes
    spi_r: bytes
    suite: IkeSuite
    keys: IkeKeys


class IkeEndpoint:
    """All tunnels and IKE SAs of a gateway."""

    def __init__(
        self,
        random: Random,
        now: float,
        limits: EndpointLimits | None = None,
        crash_secret: Secret | None = None,
        *,
        is_kept: bool = False,
    ) -> None:
        """
        `crash_secret` outlives the process: by it peers know that an IKE SA is lost. `is_kept`: the
        caller asks for `changes` after each call.
        """
        limits = limits or EndpointLimits()
        self._context = Context(random, limits, SpiTable(random))
        self._context.tokens = TokenMaker(crash_secret) if crash_secret is not None else None
        self._tunnels: dict[str, Tunnel] = {}
        self._agenda = Agenda()
        self._entrance = Entrance(self._context, now)
        self._now = now
        self._is_kept = is_kept

    # ---- what is wanted ----

    def configure(self, tunnels: Iterable[TunnelConfig], now: float) -> list[Event]:
        """
        Take the whole set of tunnels.

        Unchanged ones are not touched, changed ones are as little as `effects.py` says, gone ones
        are closed.
        """
        wanted = {config.name: config for config in tunnels}
        for name, tunnel in tuple(self._tunnels.items()):
            if wanted.get(name) == tunnel.config:
                continue
            if name in wanted and edits.take(tunnel, wanted[name], now):
                self._settle(tunnel, now)
                continue
            self._retire(tunnel, reasons.RECONFIGURED if name in wanted else reasons.REMOVED, now)
            del self._tunnels[name]
        for name, config in wanted.items():
            if name not in self._tunnels:
                tunnel = Tunnel(config, self._context.random)
                tunnel.retry_at = now if tunnel.is_wanted else math.inf
                self._tunnels[name] = tunnel
                if self._is_kept:
                    snapshot.prints(tunnel)  # now, not while peers wait for answers
                self._settle(tunnel, now)
        know_twins(self._tunnels.values())
        self._entrance.configure(self._tunnels.values())
        return self._events(now)

    def _retire(self, tunnel: Tunnel, reason: Reason, now: float) -> None:
        tunnel.is_stopped = True
        tunnel.is_wanted = False
        tunnel.retry_at = math.inf
        tunnel.sort_at = math.inf
        tunnel.beside_at = math.inf
        tunnel.redirect = None
        if tunnel.attempt is not None:
            informational.close(tunnel.attempt, reason, now)
        for sa in tuple(tunnel.sas):
            informational.close(sa, reason, now)
        self._settle(tunnel, now)

    def initiate(self, tunnel: str, now: float) -> list[Event]:
        """Set a tunnel up, and keep it up. Raises UsageError if the peer's address is not known."""
        one = self._tunnel(tunnel)
        if one.config.remote is None:
            raise UsageError(f"{tunnel}: the peer's address is not known; it has to begin")
        one.is_stopped = False
        one.is_wanted = True
        one.closed_slots.clear()
        if one.attempt is not None:
            one.attempt.close_wanted = None
        if one.is_idle:
            one.retry_at = now
            self._begin_due(one, now)
        for sa in one.usable()[-1:]:
            sa.child_at.clear()  # now, not after a pause
            slots.ask_for_missing(sa)
        self._settle(one, now)
        return self._events(now)

    def close(
        self, tunnel: str, now: float, reason: Reason = reasons.CLOSED_BY_OPERATOR
    ) -> list[Event]:
        """Close a tunnel. It stays down, and refuses the peer, until `initiate` or `allow`."""
        self._retire(self._tunnel(tunnel), reason, now)
        return self._events(now)

    def close_child(self, spi_in: int, now: float) -> list[Event]:
        """
        Delete the Child SA with this inbound SPI; its IKE SA and the others stay.

        We ask for another only after `initiate`, or with the next IKE SA; the peer may at any time.
        """
        for sa, child in self._find_children(spi_in):
            if child.spi_in == spi_in and child.is_live and sa.is_usable:
                slots.close(sa, child, reasons.CLOSED_BY_OPERATOR)
                self._settle_sa(sa, now)
        return self._events(now)

    def allow(self, tunnel: str, now: float) -> list[Event]:
        """Undo `close` for a tunnel whose peer begins."""
        one = self._tunnel(tunnel)
        one.is_stopped = False
        self._settle(one, now)
        return self._events(now)

    def close_all(self, now: float) -> list[Event]:
        """Close everything, for good: the gateway stops."""
        for tunnel in self._tunnels.values():
            self._retire(tunnel, reasons.SHUTDOWN, now)
        return self._events(now)

    def rekey_child(self, tunnel: str, now: float) -> list[Event]:
        """Rekey the Child SAs that a tunnel sends on."""
        one = self._tunnel(tunnel)
        for sa in one.usable():
            for child in sa.children.values():
                if one.is_used(child):
                    sa.tasks.add(Task(Work.REKEY_CHILD, child.spi_in))
                    dispatch.pump(sa, now)
        self._settle(one, now)
        return self._events(now)

    def rekey_ike(self, tunnel: str, now: float) -> list[Event]:
        """Rekey the IKE SA of a tunnel."""
        one = self._tunnel(tunnel)
        for sa in one.usable()[-1:]:
            sa.tasks.add(Task(Work.REKEY_IKE))
            dispatch.pump(sa, now)
        self._settle(one, now)
        return self._events(now)

    def trace(self, tunnels: frozenset[str]) -> None:
        """Have the messages of these tunnels, and of no others, shown as `Spoken`."""
        self._context.traced = tunnels

    def record(self) -> None:
        """Have the messages of all tunnels shown, but for those that only say: still here."""
        self._context.is_recorded = True

    # ---- what the data plane says ----

    def soft_limit(self, spi: int, now: float, tunnel: str = "") -> list[Event]:
        """
        Rekey the Child SA with this SPI, inbound or outbound: it has carried nearly what it may.
        """
        for sa, child in self._find_children(spi, tunnel):
            sa.tasks.add(Task(Work.REKEY_CHILD, child.spi_in))
            dispatch.pump(sa, now)
            self._settle_sa(sa, now)
        return self._events(now)

    def children_lost(self) -> None:
        """
        Take note that the data plane has lost every ESP SA: `rekey_child` makes others, tunnel by
        tunnel.
        """
        for tunnel in self._tunnels.values():
            lost.forget_keys(tunnel)

    def first_inbound(self, spi_in: int, now: float, tunnel: str = "") -> list[Event]:
        """
        Take note that the peer uses a Child SA: where it replaces the one in use, or is of a newer
        IKE SA, send on it as well.
        """
        for sa, child in self._find_children(spi_in, tunnel):
            one = sa.tunnel
            assert one is not None
            dispatch.heard_esp(sa, now)
            if child.spi_in == spi_in and one.is_next(sa, child):
                one.switch(self._context, child)
            self._settle_sa(sa, now)
        return self._events(now)

    def esp_heard(self, tunnel: str, now: float) -> list[Event]:
        """Take note that authenticated ESP has come in: the peer lives."""
        one = self._tunnel(tunnel)
        for sa in one.usable():
            dispatch.heard_esp(sa, now)
        self._settle(one, now)
        return self._events(now)

    def esp_one_way(self, tunnel: str, now: float) -> list[Event]:
        """
        Take note that nothing authenticated has come for some seconds though we go on sending, or
        though it came steadily before: ask the peer at once, not only after `liveness` of silence.
        """
        one = self._tunnel(tunnel)
        for sa in one.usable():
            dispatch.suspect(sa, now)
        self._settle(one, now)
        return self._events(now)

    def esp_path(self, tunnel: str, path: Path, now: float) -> list[Event]:
        """
        Take note that authenticated ESP comes from another address or port: the NAT has changed its
        mind.
        """
        one = self._tunnel(tunnel)
        for sa in one.usable():
            if sa.path != path and sa.nat.remote and sa.path.local == path.local:
                dispatch.follow(sa, path)
        self._settle(one, now)
        return self._events(now)

    def _find_children(self, spi: int, tunnel: str = "") -> list[tuple[IkeSa, ChildSa]]:
        """Return the Child SAs with an SPI; who knows the tunnel spares a look at all of them."""
        one = self._tunnels.get(tunnel)
        return [
            (sa, child)
            for sa in tuple(self._context.sas.values() if one is None else one.sas)
            for child in tuple(sa.children.values())
            if spi in (child.spi_in, child.spi_out)
        ]

    # ---- revocation ----

    def set_clock(self, wall_offset: float) -> None:
        """Say how many seconds since 1970 the monotonic time 0.0 is: certificates end by date."""
        self._context.wall_offset = wall_offset

    def fetched(self, question: Question, body: bytes | None, now: float) -> list[Event]:
        """Take what a `Fetch` has brought, None for nothing; go on with who has waited for it."""
        for sa in held.take_answer(self._context, question, body, now):
            dispatch.resume(sa, now)
            dispatch.pump(sa, now)
            self._settle_sa(sa, now)
        return self._events(now)

    # ---- the network and the clock ----

    def receive(self, datagram: bytes, path: Path, now: float) -> list[Event]:
        """
        Take a datagram from port 500 or, without its non-ESP marker, from port 4500. Never raises.
        """
        sa = self._entrance.receive(datagram, path, now)
        if sa is not None:
            dispatch.pump(sa, now)
            self._settle_sa(sa, now)
        return self._events(now)

    def on_time(self, now: float) -> list[Event]:
        """Do what is due."""
        for owner in self._agenda.take_due(now):
            if isinstance(owner, Tunnel):
                self._begin_due(owner, now)
                self._begin_beside(owner, now)
                self._sort_duplicates(owner, now)
                self._settle(owner, now)
            elif isinstance(owner, IkeSa):
                # Another IKE SA of its tunnel may have ended it since its deadline was set.
                if owner.state is not State.CLOSED:
                    dispatch.on_time(owner, now)
                self._settle_sa(owner, now)
        return self._events(now)

    @property
    def deadline(self) -> float:
        """Return when `on_time` is next needed, `math.inf` if never."""
        return self._agenda.next

    def _begin_due(self, tunnel: Tunnel, now: float) -> None:
        if tunnel.retry_at > now:
            return
        tunnel.retry_at = math.inf
        if tunnel.is_wanted and tunnel.is_idle:
            init.begin(self._context, tunnel, now)

    def _begin_beside(self, tunnel: Tunnel, now: float) -> None:
        """Begin an IKE SA that is to take over from one that the peer will not rekey."""
        if tunnel.beside_at > now:
            return
        tunnel.beside_at = math.inf
        is_due = tunnel.is_reauth_due and tunnel.config.remote is not None
        if (tunnel.refused or is_due) and tunnel.attempt is None and not tunnel.is_stopped:
            tunnel.is_reauth_due = False
            init.begin(self._context, tunnel, now).is_beside = True

    def _sort_duplicates(self, tunnel: Tunnel, now: float) -> None:
        if tunnel.sort_at > now:
            return
        tunnel.switch_to_preferred(self._context)
        superfluous = tunnel.next_duplicate(now)
        if superfluous is not None:
            informational.close(superfluous, reasons.REDUNDANT, now)

    # ---- after each call ----

    def _settle_sa(self, sa: IkeSa, now: float) -> None:
        """Bring timers and tables up to date for one IKE SA and for all of its tunnel."""
        if sa.tunnel is None or sa not in sa.tunnel.sas:  # those are seen to with their tunnel
            self._settle_one(sa, now)
        for tunnel in (sa.tunnel,) if sa.tunnel is not None else sa.candidates:
            self._settle(tunnel, now)

    def _settle(self, tunnel: Tunnel, now: float) -> None:
        members = list(tunnel.sas)
        if tunnel.attempt is not None:
            members.append(tunnel.attempt)
        for sa in members:
            dispatch.pump(sa, now)
            self._settle_one(sa, now)
        self._agenda.set(tunnel, min(tunnel.retry_at, tunnel.sort_at, tunnel.beside_at))

    def _settle_one(self, sa: IkeSa, now: float) -> None:
        at = math.inf if sa.state is State.CLOSED else max(dispatch.deadline(sa), now)
        self._agenda.set(sa, at)
        self._entrance.settle(sa)
        self._context.touched.add(sa)

    def _events(self, now: float) -> list[Event]:
        self._now = now
        for sa in self._context.ended:
            self._settle_one(sa, now)
        self._context.ended.clear()
        if not self._is_kept:
            self._context.touched.clear()
        events = self._context.events.copy()
        self._context.events.clear()
        return events

    def _tunnel(self, name: str) -> Tunnel:
        try:
            return self._tunnels[name]
        except KeyError:
            raise UsageError(f"no tunnel {name!r}") from None

    # ---- what is seen ----

    def secrets(self, tunnel: str) -> tuple[IkeSecrets, ...]:
        """
        Return the keys of a tunnel's IKE SAs, for a capture whose maker has asked for them. Nothing
        else may.
        """
        return tuple(
            IkeSecrets(sa.spi_i, sa.spi_r, sa.suite, sa.keys.secrets)
            for sa in self._tunnel(tunnel).sas
            if sa.suite is not None and sa.keys is not None
        )

    def tunnel_status(self, tunnel: str) -> TunnelIkeStatus:
        """Return the status of a tunnel, as of the last call."""
        return tunnel_status(self._tunnel(tunnel), self._now)

    def ages(self, tunnel: str, now: float) -> Ages:
        """Return the ages of a tunnel's SAs."""
        return ages(self._tunnel(tunnel), now)

    def round_trip(self, tunnel: str) -> tuple[float, float] | None:
        """
        Return when the last liveness check of a tunnel was answered that was sent once only, and
        how many seconds that took; None if there was none yet.
        """
        found = self._tunnels.get(tunnel)
        return found.round_trip if found is not None else None

    @property
    def counters(self) -> Mapping[str, int]:
        """
        Return the counters: messages by exchange and direction, drops by reason, rekeys, failures.
        """
        return self._context.counters

    @property
    def peer_addresses(self) -> dict[Address, int]:
        """
        Return where peers of ours may be, and of how many tunnels: the addresses of tunnels, those
        to which we speak first, and those of IKE SAs that have authenticated.
        """
        places = {(one, one.config.remote) for one in self._tunnels.values()}
        begun = ((one, one.attempt) for one in self._tunnels.values())
        places |= {(one, sa.path.remote) for one, sa in begun if sa is not None}
        places |= {(sa.tunnel, sa.path.remote) for sa in self._context.sas.values() if sa.tunnel}
        return dict(Counter(address for _, address in places if address is not None))

    @property
    def inbound_spis(self) -> int:
        """Return how many inbound ESP SPIs are taken, those that are only offered included."""
        return len(self._context.spis)

    # ---- restart ----

    def changes(self) -> list[tuple[bytes, bytes]]:
        """
        Return a record of each established IKE SA that has changed since the last call, by its key;
        an empty one is gone.

        They are to be kept, all or none, before any event of the same call is carried out. The
        caller seals them: they hold keys, and must not be seen.
        """
        return snapshot.changed(self._context)

    def not_kept(self) -> None:
        """Take note that the last changes could not be kept: return all with the next ones."""
        self.none_kept()
        self.keep_rest()

    def none_kept(self) -> None:
        """
        Take note that no record is kept any more. Each goes with the next change of its IKE SA,
        those of the others after `keep_rest`.
        """
        for sa in self._context.sas.values():
            sa.kept = None

    def keep_rest(self) -> None:
        """Return whatever is not kept with the next changes."""
        unkept = (sa for sa in self._context.sas.values() if sa.kept is None)
        self._context.touched.update(unkept)

    def restore(self, records: Iterable[bytes], now: float) -> tuple[list[Event], list[str]]:
        """
        Take up the IKE SAs of records; call it after `configure`, on an endpoint that has none.

        An IKE SA whose tunnel is gone or changed is closed. One whose record can not be read is
        lost, and no other; the texts say why.
        """
        found, mistakes = restore.load(records, self._context, self._tunnels, now)
        for sa in found:
            self._settle_sa(sa, now)
        return self._events(now), mistakes
