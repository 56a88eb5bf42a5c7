"""
One VPN Tunnel as it is: its TUN device, its ESP SAs in the data plane, what it carried, and why it
is down.

Driven by the core's events through `IkeDaemon` and by the plan through `Reconciler`. Invariants:
the device has carrier exactly while the data plane holds an outbound SA in any slot (but for the
moment in which those of a lost data plane process are made anew); an inbound SA that is replaced
stays until the core says it is gone; an outbound SA is installed once and then
forgotten here, since a second time would start its sequence numbers, and with them its nonces,
over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from gateway.dataplane.estate import Device
from gateway.dataplane.interface import (
    OUTBOUND_MAX,
    DataPlane,
    EncapKind,
    PlaneSa,
    TunnelOptions,
    TunnelStats,
)
from gateway.errors import DataPlaneError
from gateway.ike.endpoint import ChildStatus, TunnelIkeStatus
from gateway.ike.events import ChildSaUp, Reason
from gateway.ike.iana import ProtocolId, TransformType
from gateway.ike.proposals import parse_proposal
from gateway.node.mtu import InnerMtu, inner_mtu
from gateway.node.netlink import Netlink
from gateway.node.one_way import OneWay, Sign
from gateway.node.plan import TunnelPlan
from gateway.node.settle6 import settle_ipv6
from gateway.node.udp import outer_mtu
from gateway.sa import NAT_T_PORT, Address, Encr, Integ, Path

ADMIN_DOWN = Reason("admin_down", 'the document says admin = "down"')
DEFAULT_OUTER_MTU = 1500  # bytes, where no route to the peer is known yet


@dataclass(frozen=True, slots=True)
class Sample:
    """The tunnel's counters at one time (monotonic seconds)."""

    at: float
    stats: TunnelStats


@dataclass(frozen=True, slots=True)
class Child:
    """What the shell must know of a Child SA after its keys are installed."""

    spi_in: int
    encr: Encr
    integ: Integ
    udp_encap: bool
    slot: int = 0


@dataclass(slots=True, eq=False)
class Tunnel:
    """The actual tunnel. `number` is its id in the data plane; times are seconds since 1970."""

    number: int
    plan: TunnelPlan
    plane: DataPlane
    kernel: Netlink
    changed_at: float  # of the last change between up and down
    children: dict[int, Child] = field(default_factory=dict)  # by inbound SPI, in order
    waiting: dict[int, PlaneSa] = field(default_factory=dict)  # outbound SAs not used yet
    active: dict[int, int] = field(default_factory=dict)  # by slot: inbound SPI of what is sent on
    is_taken_over: bool = False  # what the data plane has of it waits for `adopt`
    orphans: set[int] = field(default_factory=set)  # SPIs of a process before that nobody knows
    is_bridging: bool = False  # what it sent on is lost and is made anew
    found: dict[int, int] = field(default_factory=dict)  # by slot: SPI that it was sending on
    ike_path: Path | None = None
    fits: InnerMtu | None = None  # MTU and MSS in force
    reason: Reason | None = None
    samples: tuple[Sample, ...] = ()  # the last two, oldest first
    path: tuple[Path, EncapKind] | None = None  # what the data plane was told
    one_way: OneWay = field(default_factory=OneWay)
    ike_rekeys: int = 0  # since the gateway process began
    child_rekeys: int = 0

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def is_up(self) -> bool:
        """Whether the tunnel can carry traffic: it has carrier."""
        return bool(self.active) or bool(self.orphans) or self.is_bridging

    # ---- the core's events ----

    def child_up(self, event: ChildSaUp, at: float) -> None:
        """Install a new Child SA; send on it if the core says so. Raises DataPlaneError."""
        sides = (event.local_ts, event.remote_ts, event.limits)
        self.plane.add_inbound(self.number, PlaneSa(event.inbound, *sides, self.plan.replay_window))
        inbound = event.inbound
        self.children[inbound.spi] = Child(
            inbound.spi, inbound.encr, inbound.integ, event.udp_encap, event.slot
        )
        self.waiting[inbound.spi] = PlaneSa(event.outbound, *sides, resource=event.resource)
        if event.use_outbound:
            self.send_on(inbound.spi, at)

    def send_on(self, spi_in: int, at: float) -> None:
        """Send on the Child SA with this inbound SPI from now on. Raises DataPlaneError."""
        outbound = self.waiting.pop(spi_in, None)
        if outbound is None:
            return
        was_up, child = self.is_up, self.children[spi_in]
        self._tell_path(child.udp_encap)
        self.plane.set_outbound(self.number, outbound, child.slot)
        self.active[child.slot] = spi_in
        self.is_bridging = False
        if self.is_taken_over:
            self.found[child.slot] = outbound.sa.spi
        else:
            self.fit_mtu()
            self.drop_orphans()
        if not was_up:
            self._set_carrier(True, at)
        self.reason = None

    def outbound_done(self, spi_in: int, reason: Reason, at: float) -> None:
        """
        Send no more: the tunnel is being closed. The inbound SA stays, since packets of the peer
        are under way. (One of a process before is known by its inbound SPI only.)
        """
        slot = self._slot_of(spi_in)
        if slot is not None:
            self._stop_slot(slot, reason, at)
        elif not self.active and spi_in in self.orphans:
            self._stop_sending(reason, at)

    def child_down(self, spi_in: int, reason: Reason, at: float) -> None:
        """
        Remove a Child SA; without carrier if it was in use: the core has named a successor before,
        if any.
        """
        if spi_in in self.orphans:
            self._orphan_down(spi_in, reason, at)
            return
        if self.children.pop(spi_in, None) is None:
            return
        self.waiting.pop(spi_in, None)
        slot = self._slot_of(spi_in)
        if slot is not None:
            self._stop_slot(slot, reason, at)
        self.plane.del_inbound(spi_in)

    def _orphan_down(self, spi_in: int, reason: Reason, at: float) -> None:
        """Remove an SA of the process before: a restored core has closed it before we knew it."""
        self.orphans.discard(spi_in)
        if not self.is_up:
            self._stop_sending(reason, at)
        self.plane.del_inbound(spi_in)

    def _slot_of(self, spi_in: int) -> int | None:
        """Return the slot that sends on the Child SA with this inbound SPI."""
        return next((slot for slot, spi in self.active.items() if spi == spi_in), None)

    def _stop_slot(self, slot: int, reason: Reason, at: float) -> None:
        """Send no more in one slot; the tunnel stays up as long as another one sends."""
        if len(self.active) == 1:
            self._stop_sending(reason, at)
            return
        del self.active[slot]
        self.plane.clear_outbound(self.number, slot)

    def _stop_sending(self, reason: Reason, at: float) -> None:
        used: Iterable[int] = self.active or range(OUTBOUND_MAX)  # a process before may have any
        if self.is_bridging:
            used = ()  # what was sent on has gone with its data plane process
        self.active = {}
        self.is_bridging = False
        self.one_way = OneWay()
        self.reason = reason if self.plan.admin_up else ADMIN_DOWN
        # Carrier first: the kernel goes over to the twin before packets are lost here.
        self._set_carrier(False, at)
        for slot in used:
            self.plane.clear_outbound(self.number, slot)

    def move_to(self, path: Path) -> None:
        """Take a new address or port of the peer (or our own move to port 4500)."""
        self.ike_path = path
        for child in self._sending():
            self._tell_path(child.udp_encap)

    # ---- after a restart ----

    def child_again(self, event: ChildSaUp) -> None:
        """
        Install what is missing of a Child SA that the process before was just told of.

        The record of it was kept before anything was installed, so what is not in the data plane
        has never been there. Raises DataPlaneError.
        """
        sides = (event.local_ts, event.remote_ts, event.limits)
        inbound = event.inbound
        outbound = PlaneSa(event.outbound, *sides, resource=event.resource)
        if inbound.spi in self.orphans:
            self.orphans.discard(inbound.spi)
        else:
            wanted = PlaneSa(inbound, *sides, self.plan.replay_window)
            self.plane.add_inbound(self.number, wanted)
        self.children[inbound.spi] = Child(
            inbound.spi, inbound.encr, inbound.integ, event.udp_encap, event.slot
        )
        if not event.use_outbound:
            self.waiting[inbound.spi] = outbound
            return
        if self.found.get(event.slot) != outbound.sa.spi:
            self.plane.set_outbound(self.number, outbound, event.slot)
            self.found[event.slot] = outbound.sa.spi
        self.active[event.slot] = inbound.spi

    def adopt(self, status: TunnelIkeStatus, began_at: float) -> tuple[int, ...]:
        """
        Know the Child SAs again that the data plane holds and a restored core knows too; part with
        what the core, if it has an IKE SA, does not know.

        Return the inbound SPIs of those that the core believes are sent on and that are not, be it
        that the data plane has them no more: the process before may have ended while it had others
        made in their place.
        """
        held = self.orphans | self.children.keys()
        known = [child for child in status.children if child.spi_in in held]
        fresh = {child.spi_in: child_of(child) for child in known}
        self.children = {**fresh, **self.children}
        self.orphans -= self.children.keys()
        self.active = {
            child.slot: child.spi_in
            for child in known
            if child.is_outbound and self.found.get(child.slot) == child.spi_out
        }
        self.ike_path = status.path
        self.changed_at = began_at
        self.is_taken_over = False
        if known or status.state == "established" or not self.is_up:
            self._part_with_the_rest(began_at)
        self.found = {}
        used = [child for child in status.children if child.is_outbound]
        return tuple(child.spi_in for child in used if child.slot not in self.active)

    def _part_with_the_rest(self, at: float) -> None:
        for slot in self.found.keys() - self.active.keys():
            self.plane.clear_outbound(self.number, slot)
        self.drop_orphans()
        for child in self._sending():
            self._tell_path(child.udp_encap)
        self._set_carrier(bool(self.active), at)

    def drop_orphans(self) -> None:
        """Remove the SAs that no core knows. Raises DataPlaneError."""
        if self.orphans:
            for slot in set(range(OUTBOUND_MAX)) - self.active.keys():
                self.plane.clear_outbound(self.number, slot)
        for spi in sorted(self.orphans):
            self.orphans.discard(spi)
            self.plane.del_inbound(spi)

    def give_up_orphans(self, reason: Reason, at: float) -> None:
        """
        Remove what a crashed gateway process left, and end the tunnel if that was all it had.

        Orphans carry traffic until IKE has made a new Child SA; but nobody can rekey them or notice
        that the peer is gone, so the caller bounds their time.
        """
        if self.orphans and not self.active:
            self._stop_sending(reason, at)
        self.drop_orphans()

    def end(self, reason: Reason, at: float) -> None:
        """
        End a tunnel that is not to be up any more. It may have carrier without any SA, where the
        process before has ended while it had others made.
        """
        if self.orphans:
            self.give_up_orphans(reason, at)
        else:
            self.reason = reason
            self._set_carrier(False, at)

    # ---- after the end of a data plane process ----

    def put_back(self, device: Device) -> None:
        """
        Give the device to another data plane process. The SAs are gone: if any was sent on, carrier
        stays until `send_on` or `give_up_bridge`. Raises DataPlaneError.
        """
        self.is_bridging = self.is_up
        self.children, self.waiting, self.active = {}, {}, {}
        self.orphans, self.found, self.is_taken_over = set(), {}, False
        self.samples, self.one_way = (), OneWay()
        self.fits = self.fits or self._fitting()
        self.path = self.path or first_path(self.plan)
        options = options_of(self.plan, self.fits)
        self.plane.add_tunnel(
            self.number, device.name, device.queues, device.uso, *self.path, options
        )

    def give_up_bridge(self, reason: Reason, at: float) -> None:
        """Let traffic go elsewhere: nothing has been made in place of what is lost."""
        self._stop_sending(reason, at)

    # ---- what it carries ----

    def sample(self, now: float) -> Sign:
        """Read the counters; return what they say of the peer since the last time."""
        stats = self.plane.tunnel_stats(self.number)
        last = self.samples[-1] if self.samples else None
        self.samples = (*self.samples[-1:], Sample(now, stats))
        if last is None:
            return Sign.LIFE if stats.in_at > 0.0 else Sign.NONE
        return self.one_way.take(
            last.at,
            now,
            self.plan.ike.timers.one_way,
            sent=stats.out_packets > last.stats.out_packets,
            heard=stats.in_at > last.stats.in_at,
        )

    def rates_bps(self) -> tuple[float, float]:
        """Return inbound and outbound bits per second between the last two samples."""
        if len(self.samples) < 2:
            return 0.0, 0.0
        old, new = self.samples
        seconds = max(new.at - old.at, 1e-3)
        inbound = new.stats.in_bytes - old.stats.in_bytes
        outbound = new.stats.out_bytes - old.stats.out_bytes
        return inbound * 8 / seconds, outbound * 8 / seconds

    # ---- the device ----

    def fit_mtu(self) -> None:
        """
        Set MTU and MSS to what the suite in use leaves of the path's MTU; nothing if that is so
        already.
        """
        fits = self._fitting()
        if fits == self.fits:
            return
        self.plane.set_options(self.number, options_of(self.plan, fits))
        self.kernel.set_mtu(self.plan.interface, fits.mtu)
        inner = self.plan.inner_local
        if settle_ipv6(self.kernel, self.plan.interface) and inner and inner.version == 6:
            self.kernel.add_address(self.plan.interface, inner)
        self.fits = fits

    def _fitting(self) -> InnerMtu:
        local, remote = self.outer_addresses()
        outer = outer_mtu(local, remote) if remote is not None else None
        fits = [inner_mtu(self.plan, one, outer or DEFAULT_OUTER_MTU) for one in self._sending()]
        if not fits:
            return inner_mtu(self.plan, None, outer or DEFAULT_OUTER_MTU)
        return min(fits, key=lambda one: one.mtu)

    def _sending(self) -> list[Child]:
        """Return the Child SAs that are sent on."""
        return [self.children[spi] for spi in self.active.values() if spi in self.children]

    def begin_anew(self) -> None:
        """Forget where the peer was and why there is no tunnel: what is wanted now is another."""
        self.ike_path = None
        self.reason = None

    def outer_addresses(self) -> tuple[Address, Address | None]:
        """Return our outer address and the peer's, where it is known."""
        if self.ike_path is not None:
            return self.ike_path.local, self.ike_path.remote
        return self.plan.ike.local, self.plan.ike.remote

    def _tell_path(self, udp_encap: bool) -> None:
        local, remote = self.outer_addresses()
        if remote is None:
            return
        if not udp_encap:
            path, encap = Path(local, 0, remote, 0), EncapKind.ESP
        elif self.ike_path is not None and self.ike_path.local_port == NAT_T_PORT:
            path, encap = self.ike_path, EncapKind.UDP
        else:
            path, encap = Path(local, NAT_T_PORT, remote, NAT_T_PORT), EncapKind.UDP
        if (path, encap) != self.path:
            self.plane.set_path(self.number, path, encap)
            self.path = (path, encap)

    def _set_carrier(self, up: bool, at: float) -> None:
        self.plane.set_carrier(self.number, up)
        self.kernel.settle_carrier(self.plan.interface)
        self.changed_at = at


@dataclass(slots=True)
class Tunnels:
    """All actual tunnels, found by name or by their number in the data plane."""

    by_name: dict[str, Tunnel] = field(default_factory=dict)
    by_number: dict[int, Tunnel] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Tunnel]:
        return iter(list(self.by_name.values()))

    def __len__(self) -> int:
        return len(self.by_name)

    def add(self, tunnel: Tunnel) -> None:
        self.by_name[tunnel.name] = tunnel
        self.by_number[tunnel.number] = tunnel

    def remove(self, tunnel: Tunnel) -> None:
        del self.by_name[tunnel.name]
        del self.by_number[tunnel.number]

    def next_number(self) -> int:
        """Return a number that no tunnel has."""
        return max(self.by_number, default=0) + 1


def child_of(status: ChildStatus) -> Child:
    """Return what the shell must know of a Child SA that was there before this process."""
    suite = parse_proposal(status.suite, ProtocolId.ESP)
    encr = Encr(suite.of_type(TransformType.ENCR)[0].id)
    integs = suite.of_type(TransformType.INTEG)
    integ = Integ(integs[0].id) if integs and not encr.is_aead else Integ.NONE
    return Child(status.spi_in, encr, integ, status.encap, status.slot)


def options_of(plan: TunnelPlan, fits: InnerMtu) -> TunnelOptions:
    """Return the data plane's options for a tunnel."""
    inner = plan.inner_local
    return TunnelOptions(
        mtu=fits.mtu,
        mss_clamp4=fits.mss4,
        mss_clamp6=fits.mss6,
        rate_bps=plan.rate_bps,
        copy_dscp=plan.copy_dscp,
        icmp4=inner.ip if inner is not None and inner.version == 4 else None,
        icmp6=inner.ip if inner is not None and inner.version == 6 else None,
    )


def first_path(plan: TunnelPlan) -> tuple[Path, EncapKind]:
    """Return a path for a tunnel that has no SA yet; with a peer at any address, toward nobody."""
    local = plan.ike.local
    nobody = type(local)(0)
    return Path(local, NAT_T_PORT, plan.ike.remote or nobody, NAT_T_PORT), EncapKind.UDP


def is_gone(error: DataPlaneError) -> bool:
    """Return whether an error only says that what should be removed is not there."""
    return error.code == -4  # GW_E_NOENT
