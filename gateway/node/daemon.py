"""
The shell around the IKE core: carries bytes and time to an `IkeEndpoint`, and its events to sockets
and data plane.

Four ways in (datagram, punt, timer, operator), one way out (`carry_out`), one timer. Nothing here
knows the protocol; an `if` about IKE belongs in the core.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeAlias, assert_never

from gateway.dataplane.interface import DataPlane, Punt, PuntType
from gateway.errors import DataPlaneError, GatewayError
from gateway.ike.config import TunnelConfig
from gateway.ike.endpoint import IkeEndpoint
from gateway.ike.events import (
    ChildSaAgain,
    ChildSaDown,
    ChildSaUp,
    Dropped,
    Event,
    Failed,
    Fetch,
    IkeSaDown,
    IkeSaUp,
    Keepalive,
    Note,
    OutboundDone,
    OutboundReady,
    PathChanged,
    Reason,
    Send,
    Spoken,
)
from gateway.ike.reasons import selectors_text
from gateway.node.expiry import Expiry
from gateway.node.fetch import Fetcher
from gateway.node.journal import Journal, Level
from gateway.node.one_way import Sign
from gateway.node.strangers import Strangers
from gateway.node.tunnel import Tunnel, Tunnels
from gateway.node.udp import IkeSockets
from gateway.pki.question import Question
from gateway.sa import NAT_T_PORT, Path

SAMPLES_A_TICK = (
    200  # tunnels whose counters are read in one turn: bounds how long the loop is held
)


Changes: TypeAlias = list[tuple[bytes, bytes]]  # records by key; an empty one is gone


def keep_nothing(changes: Changes) -> None:
    """Let the next gateway process begin without IKE SAs."""


class IkeDaemon:
    """Carries bytes and time to the endpoint, and its events to sockets, data plane and tunnels."""

    def __init__(
        self,
        endpoint: IkeEndpoint,
        plane: DataPlane,
        tunnels: Tunnels,
        journal: Journal,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.endpoint = endpoint
        self.strangers = Strangers()
        self.sockets = IkeSockets(self.datagram_received, self.strangers)
        self._plane = plane
        self._tunnels = tunnels
        self._journal = journal
        self._clock = clock
        self._wall = wall
        self._fetcher = Fetcher(self._fetched, journal)
        self.keep: Callable[[Changes], None] = keep_nothing  # for the next gateway process
        self._expiry = Expiry(journal)
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._next_sample = 0
        self._watchers: list[Callable[[Event], None]] = []
        self.known: frozenset[str] = frozenset()  # tunnels that the core was told of
        self.worker_failed = False
        self.broken: set[str] = set()  # tunnels whose TUN device is gone
        self.renewed: dict[str, object] | None = None  # what the last other data plane has cost
        self.trouble = asyncio.Event()  # one of these two has changed
        self.idle = asyncio.Event()  # set while the core waits for nothing

    # ---- ways in ----

    def configure(self, tunnels: Iterable[TunnelConfig]) -> None:
        """Tell the core the whole set of tunnels that may be up."""
        configs = tuple(tunnels)
        self.known = frozenset(config.name for config in configs)
        self._set_clock()
        self._expiry.keep(self.known)
        self.carry_out(self.endpoint.configure(configs, self._clock()))
        self.strangers.know(self.endpoint.peer_addresses)

    def close_tunnel(self, name: str) -> None:
        """An operator takes a tunnel down: it stays so, and refuses its peer."""
        self.carry_out(self.endpoint.close(name, self._clock()))

    def open_tunnel(self, name: str) -> None:
        """An operator wants a tunnel up."""
        now = self._clock()
        self.carry_out(self.endpoint.allow(name, now))
        tunnel = self._tunnels.by_name.get(name)
        if tunnel is not None and not tunnel.is_up and tunnel.plan.remote is not None:
            self.carry_out(self.endpoint.initiate(name, now))

    def initiate(self, name: str) -> None:
        """
        Begin a tunnel, or ask for those of its Child SAs that are missing. Raises UsageError if the
        peer's address is not known.
        """
        self.carry_out(self.endpoint.initiate(name, self._clock()))

    def terminate_tunnel(self, name: str) -> None:
        """Close a tunnel's IKE SA; unlike after `close_tunnel` either end may begin again."""
        self.close_tunnel(name)
        self.carry_out(self.endpoint.allow(name, self._clock()))

    def terminate_child(self, spi_in: int) -> None:
        """Close the Child SA with this inbound SPI; its IKE SA stays."""
        self.carry_out(self.endpoint.close_child(spi_in, self._clock()))

    def rekey_child(self, spi_in: int) -> None:
        """Rekey the Child SA with this inbound SPI."""
        self.carry_out(self.endpoint.soft_limit(spi_in, self._clock()))

    def rekey_tunnel(self, name: str, *, ike: bool) -> None:
        """An operator wants new keys: of the IKE SA, or of the Child SA."""
        rekey = self.endpoint.rekey_ike if ike else self.endpoint.rekey_child
        self.carry_out(rekey(name, self._clock()))

    def close_all(self) -> None:
        """The gateway stops: tell every peer."""
        self.carry_out(self.endpoint.close_all(self._clock()))

    def datagram_received(self, datagram: bytes, path: Path) -> None:
        """An IKE datagram came, without non-ESP marker."""
        self.carry_out(self.endpoint.receive(datagram, path, self._clock()))

    def punt_received(self, punt: Punt) -> None:
        """The fast path has something to say."""
        if self._is_closed:
            return  # as if lost on the way: the next gateway process has the core's state by now
        now = self._clock()
        match punt.type:
            case PuntType.IKE:
                if punt.path is not None:
                    self._punted(punt.data, punt.path)
            case PuntType.SOFT_LIMIT:
                self.carry_out(self.endpoint.soft_limit(punt.spi, now, **self._of(punt)))
            case PuntType.HARD_LIMIT:
                # The rekey that the soft limit asked for has not come; it must come now.
                self._journal.warning("hard_limit", spi=f"{punt.spi:#010x}", **self._of(punt))
                self.carry_out(self.endpoint.soft_limit(punt.spi, now, **self._of(punt)))
            case PuntType.PATH_CHANGED:
                tunnel = self._tunnels.by_number.get(punt.tunnel)
                if tunnel is not None and tunnel.name in self.known and punt.path is not None:
                    self.carry_out(self.endpoint.esp_path(tunnel.name, punt.path, now))
            case PuntType.UNKNOWN_SPI:
                text, source = f"{punt.spi:#010x}", punt.path.remote if punt.path else None
                self._journal.from_peer(
                    Level.DEBUG, "unknown_spi", source, spi=text, path=punt.path
                )
            case PuntType.FIRST_INBOUND:
                self.carry_out(self.endpoint.first_inbound(punt.spi, now, **self._of(punt)))
            case PuntType.PATH_MTU:
                self._path_mtu(punt.tunnel)
            case PuntType.WORKER_FAILED:
                self._worker_failed(punt)
            case _:
                assert_never(punt.type)

    def _fetched(self, question: Question, body: bytes | None) -> None:
        if not self._is_closed:
            self.carry_out(self.endpoint.fetched(question, body, self._clock()))

    def _set_clock(self) -> None:
        """Tell the core the date: certificates end by it, and a clock may be set right later."""
        self.endpoint.set_clock(self._wall() - self._clock())

    def _punted(self, datagram: bytes, path: Path) -> None:
        """An IKE datagram came to port 4500."""
        if self.strangers.is_first(str(path.remote)):
            self.datagram_received(datagram, path)
        else:
            self.strangers.let_in(path.remote, partial(self.datagram_received, datagram, path))

    def _path_mtu(self, number: int) -> None:
        """A datagram of a tunnel was too large for its path: fit what goes into the tunnel now."""
        tunnel = self._tunnels.by_number.get(number)
        if tunnel is None or not tunnel.active:
            return
        try:
            tunnel.fit_mtu()
        except GatewayError as error:
            self._journal.from_peer(Level.ERROR, "sample", tunnel=tunnel.name, text=str(error))

    def _worker_failed(self, punt: Punt) -> None:
        text = punt.data.decode("ascii", "replace")
        tunnel = self._tunnels.by_number.get(punt.tunnel)
        if punt.tunnel == 0:
            self._journal.error("worker_failed", text=text)
            self.worker_failed = True
        elif tunnel is not None:
            self._journal.error("device_failed", tunnel=tunnel.name, text=text)
            self.broken.add(tunnel.name)
        self.trouble.set()

    def _timer_fired(self) -> None:
        self._timer = None
        self.carry_out(self.endpoint.on_time(self._clock()))

    def tick(self) -> None:
        """
        Read counters, once a second: authenticated ESP is a sign of life, sending without any is a
        sign of the opposite, and status wants rates.
        """
        now = self._clock()
        self._set_clock()
        self.strangers.know(self.endpoint.peer_addresses)
        tunnels = list(self._tunnels)
        start = self._next_sample if self._next_sample < len(tunnels) else 0
        for tunnel in tunnels[start : start + SAMPLES_A_TICK]:
            self._sample(tunnel, now)
        self._next_sample = start + SAMPLES_A_TICK

    def _sample(self, tunnel: Tunnel, now: float) -> None:
        """Read a tunnel's counters and tell the core what follows from them."""
        try:
            sign = tunnel.sample(now)
            if tunnel.active:
                tunnel.fit_mtu()  # the path's MTU may have changed
        except GatewayError as error:
            self._journal.from_peer(Level.ERROR, "sample", tunnel=tunnel.name, text=str(error))
            return
        if tunnel.name not in self.known:
            return
        self._expiry.sample(tunnel.plan.ike, self.endpoint, now, self._wall())
        if sign is Sign.LIFE:
            self.carry_out(self.endpoint.esp_heard(tunnel.name, now))
        elif sign is Sign.DOUBT:
            self.carry_out(self.endpoint.esp_one_way(tunnel.name, now))

    # ---- the way out ----

    def look_on(self, see: Callable[[Event], None]) -> None:
        """Call `see` as `watch` does, for as long as the daemon lives."""
        self._watchers.append(see)

    @contextlib.contextmanager
    def watch(self, see: Callable[[Event], None]) -> Iterator[None]:
        """Call `see` with each event of the core just before it is carried out."""
        self.look_on(see)
        try:
            yield
        finally:
            self._watchers.remove(see)

    def _show(self, event: Event) -> None:
        for see in tuple(self._watchers):
            try:
                see(event)
            except Exception as error:  # who looks on must not stop the tunnels
                self._journal.error("bug", where="watcher", text=repr(error))

    def carry_out(self, events: list[Event]) -> None:
        """
        Carry out the core's events, in order: the order is the core's promise.

        What has changed is kept before. What cannot be kept must not be seen by a peer: from an
        older state the next process would use message IDs and IVs again.
        """
        is_kept = self._write_ahead()
        for event in events:
            if not is_kept and isinstance(event, Send):
                continue  # as if lost on the way: the core or the peer sends again
            self._show(event)
            try:
                self._carry_out_one(event)
            except GatewayError as error:
                # The data plane or the kernel refused: the other events are not to suffer by it.
                self._not_carried_out(event, error)
        self._rearm()

    def _write_ahead(self) -> bool:
        """Hand on what has changed, for the next process; return whether that went well."""
        try:
            self.keep(self.endpoint.changes())
        except DataPlaneError as error:
            self.endpoint.not_kept()
            self._journal.from_peer(Level.ERROR, "not_kept", text=str(error))
            return False
        return True

    def _not_carried_out(self, event: Event, error: GatewayError) -> None:
        what = type(event).__name__
        name = getattr(event, "tunnel", None) or ""
        self._journal.error("not_carried_out", tunnel=name, what=what, text=str(error))
        tunnel = self._tunnels.by_name.get(name)
        if isinstance(event, ChildSaUp | ChildSaAgain | OutboundReady) and tunnel is not None:
            # The peer believes in an SA that is not there: begin anew, but not in a tight loop.
            tunnel.reason = Reason("not_carried_out", str(error))
            self.broken.add(name)

    def _carry_out_one(self, event: Event) -> None:
        match event:
            case Send(datagram, path):
                self._send(datagram, path)
            case IkeSaUp():
                self._ike_up(event)
            case IkeSaDown():
                self._ike_down(event)
            case ChildSaUp():
                self._child_up(event)
            case ChildSaAgain(name, up):
                if (tunnel := self._tunnels.by_name.get(name)) is not None:
                    tunnel.child_again(up)
            case OutboundReady(name, spi_in):
                if (tunnel := self._tunnels.by_name.get(name)) is not None:
                    tunnel.send_on(spi_in, self._wall())
            case OutboundDone():
                self._outbound_done(event)
            case ChildSaDown():
                self._child_down(event)
            case PathChanged(name, path):
                self._journal.info("path_changed", tunnel=name, path=str(path))
                if (tunnel := self._tunnels.by_name.get(name)) is not None:
                    tunnel.move_to(path)
            case Keepalive(name, _):
                if (tunnel := self._tunnels.by_name.get(name)) is not None:
                    self._plane.send_keepalive(tunnel.number)
            case Dropped(reason, path, name):
                fields = {"tunnel": name} if name else {}
                self._journal.from_peer(
                    Level.DEBUG, "dropped", path.remote, reason=reason, path=path, **fields
                )
            case Failed(name, reason):
                self._failed(name, reason)
            case Note(name, text):
                fields = {"tunnel": name} if name else {}
                self._journal.from_peer(Level.DEBUG, "note", text=text, **fields)
            case Fetch(question, name):
                tunnel = self._tunnels.by_name.get(name)
                self._fetcher.begin(question, tunnel.plan.border_gateway if tunnel else "")
            case Spoken():
                pass  # for who watches
            case _:
                assert_never(event)

    def _send(self, datagram: bytes, path: Path) -> None:
        if path.local_port != NAT_T_PORT:
            self.sockets.send(datagram, path)
            return
        try:
            self._plane.send_ike(path, datagram)
        except DataPlaneError as error:
            # As on port 500: counted, and otherwise lost on the way; retransmission is the core's.
            self.sockets.lost(path.remote, error)
        else:
            self.sockets.unsent.left(path.remote)

    def _ike_up(self, event: IkeSaUp) -> None:
        self._journal.info(
            "ike_sa up" if event.replaces is None else "ike_sa rekeyed",
            tunnel=event.tunnel,
            spi_i=event.spi_i.hex(),
            spi_r=event.spi_r.hex(),
            suite=event.suite,
            path=str(event.path),
            peer=event.peer_id,
        )
        tunnel = self._tunnels.by_name.get(event.tunnel)
        if tunnel is not None:
            tunnel.ike_rekeys += event.replaces is not None
            tunnel.move_to(event.path)

    def _ike_down(self, event: IkeSaDown) -> None:
        fields = reason_fields(event.reason)
        spi_i = event.spi_i.hex()
        self._journal.info("ike_sa down", tunnel=event.tunnel, spi_i=spi_i, **fields)
        tunnel = self._tunnels.by_name.get(event.tunnel)
        if tunnel is not None and not tunnel.is_up:
            tunnel.reason = event.reason

    def _child_up(self, event: ChildSaUp) -> None:
        tunnel = self._tunnels.by_name.get(event.tunnel)
        if tunnel is None:
            return
        was_up = tunnel.is_up
        tunnel.child_up(event, self._wall())
        tunnel.child_rekeys += event.replaces is not None
        self._journal.info(
            "child_sa up" if event.replaces is None else "child_sa rekeyed",
            tunnel=event.tunnel,
            spi_in=f"{event.inbound.spi:#010x}",
            spi_out=f"{event.outbound.spi:#010x}",
            suite=event.suite,
            encap="udp" if event.udp_encap else "esp",
            **_pair(tunnel, event),
        )
        self._say_change(tunnel, was_up)

    def _outbound_done(self, event: OutboundDone) -> None:
        tunnel = self._tunnels.by_name.get(event.tunnel)
        if tunnel is not None:
            was_up = tunnel.is_up
            tunnel.outbound_done(event.spi_in, event.reason, self._wall())
            self._say_change(tunnel, was_up)

    def _child_down(self, event: ChildSaDown) -> None:
        spi = f"{event.spi_in:#010x}"
        fields = reason_fields(event.reason)
        self._journal.info("child_sa down", tunnel=event.tunnel, spi_in=spi, **fields)
        tunnel = self._tunnels.by_name.get(event.tunnel)
        if tunnel is not None:
            was_up = tunnel.is_up
            tunnel.child_down(event.spi_in, event.reason, self._wall())
            self._say_change(tunnel, was_up)

    def _failed(self, name: str, reason: Reason) -> None:
        tunnel = self._tunnels.by_name.get(name)
        remote = tunnel.outer_addresses()[1] if tunnel is not None else None
        reason = self.sockets.unsent.explained(reason, remote)
        is_up = tunnel is not None and tunnel.is_up
        what = "rekey failed" if is_up else "failed"
        self._journal.from_peer(Level.WARNING, what, tunnel=name, **reason_fields(reason))
        if tunnel is not None and not is_up:
            tunnel.reason = reason

    def _say_change(self, tunnel: Tunnel, was_up: bool) -> None:
        if tunnel.is_up == was_up:
            return
        if tunnel.is_up:
            mtu = tunnel.fits.mtu if tunnel.fits else 0
            self._journal.info(
                "tunnel up", tunnel=tunnel.name, interface=tunnel.plan.interface, mtu=mtu
            )
        else:
            fields = reason_fields(tunnel.reason) if tunnel.reason else {}
            self._journal.warning("tunnel down", tunnel=tunnel.name, **fields)

    def _of(self, punt: Punt) -> dict[str, str]:
        tunnel = self._tunnels.by_number.get(punt.tunnel)
        return {"tunnel": tunnel.name} if tunnel is not None else {}

    # ---- the one timer ----

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self.endpoint.deadline
        if deadline == math.inf:
            self.idle.set()
        else:
            self.idle.clear()
            delay = max(0.0, deadline - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self._timer_fired)

    def close(self) -> None:
        """Stop listening and forget the timer; from now on the endpoint stays as it is."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._fetcher.close()
        self.sockets.close_all()


def _pair(tunnel: Tunnel, event: ChildSaUp) -> dict[str, str]:
    """Return the field of a log line that tells several Child SAs of a tunnel apart."""
    if event.resource:
        return {"resource": str(event.resource)}
    if not tunnel.plan.ike.further:
        return {}
    return {"pair": f"{selectors_text(event.local_ts)} === {selectors_text(event.remote_ts)}"}


def reason_fields(reason: Reason) -> dict[str, str]:
    """Return the fields of a log line that say why."""
    fields = {"reason": reason.code, "text": reason.text}
    fields |= {"ours": reason.ours} if reason.ours else {}
    fields |= {"theirs": reason.theirs} if reason.theirs else {}
    fields |= {"hint": reason.hint} if reason.hint else {}
    return fields
