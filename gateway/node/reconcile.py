"""
Make the actual gateway the wanted one: sockets, TUN devices, addresses, routes, and what IKE is
told.

Start, reload, an operator's up and down, and taking over from an earlier gateway process are all
this one path. A tunnel that is as wanted is not touched. What can not be made (a device name in
use) is a reason at its tunnel, is tried again, and holds up nothing else.

Order: what goes, goes first at the peer (IKE), then here; what comes, comes first here, then at the
peer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import ip_address

from gateway.dataplane.control import close_all
from gateway.dataplane.estate import Device, Estate
from gateway.dataplane.interface import DataPlane, EncapKind, PlaneState
from gateway.errors import DataPlaneError, GatewayError
from gateway.ike.events import Reason
from gateway.model.codes import hint_of
from gateway.netns.wire import NamespaceError
from gateway.node.daemon import IkeDaemon
from gateway.node.difference import Change, Facet, difference
from gateway.node.isolation import Isolation
from gateway.node.journal import Journal
from gateway.node.lanes import Lanes
from gateway.node.mtu import inner_mtu
from gateway.node.namespaces import Namespaces
from gateway.node.netlink import Netlink, NetlinkError
from gateway.node.plan import NodePlan, TunnelPlan
from gateway.node.ports import Ports
from gateway.node.routes import Routes
from gateway.node.steering import Steering
from gateway.node.tun import QUEUE_LEN, TunError, device_of, open_tun
from gateway.node.tunnel import (
    DEFAULT_OUTER_MTU,
    Tunnel,
    Tunnels,
    first_path,
    is_gone,
    options_of,
)
from gateway.node.udp import open_nat_t_socket, open_raw_esp_socket
from gateway.sa import NAT_T_PORT, Address

NOT_ALLOWED = Reason("admin_down", "the tunnel is not allowed to be up any more")

_SOCKETS = ((NAT_T_PORT, EncapKind.UDP), (0, EncapKind.ESP))


class Reconciler:
    """Holds the wanted plan and makes it so. `apply` may be called again and again."""

    def __init__(
        self,
        plane: DataPlane,
        namespaces: Namespaces,
        daemon: IkeDaemon,
        tunnels: Tunnels,
        steering: Steering,
        journal: Journal,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._plane = plane
        self._namespaces = namespaces
        self._daemon = daemon
        self._tunnels = tunnels
        self.steering = steering
        self.ports = Ports(namespaces, journal)
        self.isolation = Isolation(namespaces, journal)
        self.lanes = Lanes(journal)
        self.routes = Routes(namespaces, tunnels, steering, journal)
        self._journal = journal
        self._clock = clock
        self._wall = wall
        self.workers = 1
        self._plane_sockets: set[tuple[str, int, int]] = set()
        self.plan: NodePlan | None = None
        self.taken_down: set[str] = set()  # by an operator, until they say up
        self.troubles: dict[str, Reason] = {}  # tunnels that can not be made now, and why

    # ---- the one path ----

    def apply(self, wanted: NodePlan) -> Change:
        """
        Make `wanted` so; return what was different.

        Raises SocketError, before anything else changed, if a new address can not be bound.
        """
        change = difference(self.actual(wanted), wanted)
        try:
            self._open_sockets(wanted)
        except GatewayError:
            if self.plan is not None:
                self._close_sockets(self.plan)
            raise
        before, self.plan = self.plan, wanted
        self._namespaces.use(wanted.namespaces)
        self.routes.stop_clear_text(wanted)
        if not self.ports.are(wanted.ports) or _places(before) != _places(wanted):
            self.ports.apply(wanted.ports, wanted.sockets)
        remade = {c.new.name for c in change.changed if Facet.INTERFACE in c.facets}
        gone = {plan.name for plan in change.removed} | remade
        if gone:
            self._tell_ike(plan for plan in wanted.tunnels if plan.name not in remade)
        for tunnel in self._tunnels:
            if tunnel.name in gone:
                self._remove(tunnel)
        self.troubles.clear()
        for changed in change.changed:
            self._try_tunnel(
                changed.new, self._make if changed.new.name in remade else self._change
            )
        for plan in change.added:
            self._try_tunnel(plan, self._make)
        made = remade | {plan.name for plan in change.added}
        if made or not self.isolation.is_so(wanted.spokes) or _places(before) != _places(wanted):
            self.isolation.apply(wanted.spokes)
        self.routes.apply(wanted, made)
        self._close_sockets(wanted)
        self._tell_ike(wanted.tunnels)
        names = frozenset(plan.name for plan in wanted.tunnels)
        self.taken_down &= names
        self.steering.forget(names)
        return change

    def actual(self, wanted: NodePlan) -> NodePlan:
        """Return what is: `wanted` with the tunnels that there are."""
        return replace(wanted, tunnels=tuple(tunnel.plan for tunnel in self._tunnels))

    def repair(self) -> None:
        """Make again what has gone since, or could not be made: devices, addresses, routes."""
        if self.plan is None:
            return
        lost = self._namespaces.lost()
        there = set(self._namespaces) - set(lost)
        links = {name: self._namespaces.of(name).links() for name in there}
        broken = {
            t.name for t in self._tunnels if t.plan.interface not in links.get(t.plan.namespace, ())
        }
        broken |= self._daemon.broken & set(self._tunnels.by_name)
        self._daemon.broken.clear()
        if broken:
            self._tell_ike(plan for plan in self.plan.tunnels if plan.name not in broken)
        for tunnel in self._tunnels:
            if tunnel.name in broken:
                self._remove(tunnel)
            elif not links[tunnel.plan.namespace][tunnel.plan.interface].is_up:
                self._journal.warning("device is down", tunnel=tunnel.name)
                self._try_tunnel(tunnel.plan, self._fit)
        for namespace in lost:  # when no tunnel is left that would use it
            self.ports.leave(namespace)
            self._namespaces.forget(namespace)
            self.routes.forget(namespace)
        if broken or self.troubles or self._namespaces.troubles:
            self.apply(self.plan)
        else:
            self.ports.apply(self.plan.ports, self.plan.sockets)
            self.isolation.apply(self.plan.spokes)
        self.routes.repair(self.plan)

    def release_namespaces(self) -> None:
        """Let go of the network namespaces that the plan has no use for; their BIRDs have ended."""
        if self.plan is not None:
            self._namespaces.release(self.plan.namespaces)

    def move_traffic(self) -> None:
        """Make the routes follow the tunnels' standings."""
        if self.plan is not None:
            self.routes.move(self.plan)

    def _tell_ike(self, plans: Iterable[TunnelPlan]) -> None:
        there = self._tunnels.by_name
        wanted = [plan.ike for plan in plans if plan.name in there and plan.admin_up]
        for ike in wanted:
            if ike.name not in self._daemon.known and not there[ike.name].is_up:
                there[ike.name].begin_anew()  # one that was down, or is new
        self._daemon.configure(wanted)
        for name in self.taken_down & self._daemon.known:
            self._daemon.close_tunnel(name)
        for tunnel in self._tunnels:
            self._end_bridge(tunnel)

    def _end_bridge(self, tunnel: Tunnel) -> None:
        """Nothing is made in place of what a lost data plane process had of a closed tunnel."""
        is_closed = tunnel.name not in self._daemon.known or tunnel.name in self.taken_down
        if tunnel.is_bridging and is_closed:
            tunnel.give_up_bridge(NOT_ALLOWED, self._wall())

    # ---- an operator's word ----

    def take_down(self, name: str) -> None:
        """Close a tunnel and refuse its peer until `allow`."""
        self.taken_down.add(name)
        if name in self._daemon.known:
            self._daemon.close_tunnel(name)
        if name in self._tunnels.by_name:
            self._end_bridge(self._tunnels.by_name[name])

    def allow(self, name: str) -> None:
        """Undo `take_down`, and set the tunnel up now if the peer's address is known."""
        self.taken_down.discard(name)
        if name in self._daemon.known:
            self._daemon.open_tunnel(name)

    # ---- after a restart ----

    def take_over(self, state: PlaneState, wanted: NodePlan) -> None:
        """
        Know again what a running data plane holds from an earlier gateway process.

        `apply` follows: it makes what is missing and tells IKE; then `adopt` sorts out the SAs.
        """
        self.workers = state.workers
        self._namespaces.use(wanted.namespaces)
        self._plane_sockets = set(state.sockets)
        plans = {f"{plan.name}@{plan.interface}": plan for plan in wanted.tunnels}
        for number, label in state.names.items():
            plan = plans.get(label)
            if plan is None or not self._has_device(plan):
                self._plane.del_tunnel(number)
                continue
            tunnel = self._new_tunnel(number, plan)
            tunnel.is_taken_over = True
            tunnel.orphans = set(state.tunnels.get(number, ()))
            tunnel.found = dict(state.outbound.get(number, {}))
            self._tunnels.add(tunnel)

    def _has_device(self, plan: TunnelPlan) -> bool:
        try:
            return self._namespaces.of(plan.namespace).has(plan.interface)
        except NamespaceError:
            return False

    def adopt(self) -> None:
        """
        Match the Child SAs of a restored core with those in the data plane, for tunnels taken over.

        What differs from the plan is changed: the earlier process may have had another document.
        """
        for tunnel in self._tunnels:
            if not tunnel.is_taken_over:
                continue
            if tunnel.name in self._daemon.known:
                status = self._daemon.endpoint.tunnel_status(tunnel.name)
                for spi_in in tunnel.adopt(status, self._wall() - status.age_s):
                    self._daemon.rekey_child(spi_in)
            else:
                tunnel.is_taken_over = False
                tunnel.end(NOT_ALLOWED, self._wall())
            self._try_tunnel(tunnel.plan, self._fit)

    # ---- another data plane process ----

    def put_back(self, left: Estate, workers: int) -> None:
        """
        Give another data plane process what the one before had, but for SAs. What it does not take
        is made anew. Raises DataPlaneError if it takes no socket.
        """
        self.workers = workers
        self._daemon.broken.clear()
        self._daemon.worker_failed = False
        self._plane_sockets.clear()
        self._put_back_sockets(left)
        for tunnel in self._tunnels:
            device = left.devices.pop(tunnel.number, None)
            if device is None:
                self._daemon.broken.add(tunnel.name)
            else:
                self._put_back(tunnel, device)
        left.close()
        self._plane.settle()
        if self._daemon.broken:
            self._daemon.trouble.set()

    def _put_back(self, tunnel: Tunnel, device: Device) -> bool:
        try:
            tunnel.put_back(device)
        except DataPlaneError as error:
            self._journal.error("tunnel_setup", tunnel=tunnel.name, text=str(error))
            close_all(device.descriptors)
            self._daemon.broken.add(tunnel.name)
            return False
        return True

    def inherit(self, left: Estate, wanted: NodePlan) -> None:
        """
        Put in again what another gateway process had given to another data plane process.

        It follows `take_over`, and `apply` follows as there.
        """
        self._put_back_sockets(left)
        plans = {f"{plan.name}@{plan.interface}": plan for plan in wanted.tunnels}
        links = {name: self._namespaces.of(name).links() for name in self._namespaces}
        for number, device in tuple(left.devices.items()):
            plan = plans.get(device.name)
            link = links.get(plan.namespace, {}).get(plan.interface) if plan is not None else None
            if plan is None or link is None or not _is_of(device, plan):
                continue
            tunnel = self._new_tunnel(number, plan)
            del left.devices[number]
            if not self._put_back(tunnel, device):
                continue
            tunnel.is_bridging = link.has_carrier
            self._tunnels.add(tunnel)
            self._try_tunnel(plan, self._fit)
        left.close()
        self._plane.settle()

    def _put_back_sockets(self, left: Estate) -> None:
        for place in tuple(left.sockets):
            address, port, kind = ip_address(place[0]), place[1], EncapKind(place[2])
            held = left.sockets.pop(place)
            for worker in range(self.workers):
                descriptor = held.pop(worker, None)
                if descriptor is None:
                    self._give_new_socket(worker, address, port, kind)
                else:
                    self._plane.add_socket(descriptor, worker, address, port, kind)
            close_all(list(held.values()))  # fewer workers than before
            self._plane_sockets.add(place)

    # ---- the end ----

    def remove(self) -> None:
        """
        Remove routes and interfaces of ours: the gateway is to end. TUN devices go with the data
        plane.
        """
        self.ports.remove()  # first: nobody behind them is to send in clear
        self.routes.remove()
        self.isolation.remove()

    # ---- sockets ----

    def _open_sockets(self, wanted: NodePlan) -> None:
        for address in wanted.sockets:
            if address not in self._daemon.sockets.addresses:
                self._daemon.sockets.open(address)
            for port, kind in _SOCKETS:
                if (str(address), port, int(kind)) not in self._plane_sockets:
                    self._give_sockets(address, port, kind)

    def _give_sockets(self, address: Address, port: int, kind: EncapKind) -> None:
        """Hand one socket for each worker to the data plane."""
        for worker in range(self.workers):
            self._give_new_socket(worker, address, port, kind)
        self._plane_sockets.add((str(address), port, int(kind)))

    def _give_new_socket(self, worker: int, address: Address, port: int, kind: EncapKind) -> None:
        made = open_nat_t_socket(address) if port else open_raw_esp_socket(address)
        try:
            self._plane.add_socket(made.fileno(), worker, address, port, kind)
        except DataPlaneError:
            made.close()
            raise
        made.detach()

    def _close_sockets(self, wanted: NodePlan) -> None:
        for address in self._daemon.sockets.addresses - set(wanted.sockets):
            self._daemon.sockets.close(address)
        for held in tuple(self._plane_sockets):
            address, port, kind = ip_address(held[0]), held[1], EncapKind(held[2])
            if address not in wanted.sockets:
                self._plane.del_socket(address, port, kind)
                self._plane_sockets.discard(held)

    # ---- tunnels ----

    def _remove(self, tunnel: Tunnel) -> None:
        self._tunnels.remove(tunnel)
        try:
            self._plane.del_tunnel(tunnel.number)
        except DataPlaneError as error:
            if not is_gone(error):
                raise
        self._journal.info("tunnel removed", tunnel=tunnel.name)

    def _try_tunnel(self, plan: TunnelPlan, act: Callable[[TunnelPlan], None]) -> None:
        try:
            act(plan)
        except (TunError, NetlinkError, NamespaceError, DataPlaneError) as error:
            self._journal.error("tunnel_setup", tunnel=plan.name, text=str(error))
            self.troubles[plan.name] = Reason(
                "setup_failed", str(error), hint=hint_of("setup_failed")
            )

    def _new_tunnel(self, number: int, plan: TunnelPlan) -> Tunnel:
        kernel = self._namespaces.of(plan.namespace)
        return Tunnel(number, plan, self._plane, kernel, self._wall())

    def _make(self, plan: TunnelPlan) -> None:
        """Make the device and the tunnel in the data plane, without SAs: carrier is off."""
        tunnel = self._new_tunnel(self._tunnels.next_number(), plan)
        tun = open_tun(plan.interface, self.lanes.of(min(plan.workers, self.workers)))
        fits = inner_mtu(plan, None, DEFAULT_OUTER_MTU)
        try:
            if tunnel.kernel is not self._namespaces.own:
                self._namespaces.own.move(plan.interface, tunnel.kernel.namespace)
            self._set_device(plan, fits.mtu, len(tun.queues))
            self._plane.add_tunnel(
                tunnel.number,
                f"{plan.name}@{plan.interface}",
                tun.queues,
                tun.uso,
                *first_path(plan),
                options_of(plan, fits),
            )
        except GatewayError:
            tun.close()
            raise
        tunnel.fits = fits
        self._tunnels.add(tunnel)

    def _set_device(self, plan: TunnelPlan, mtu: int, queues: int) -> None:
        """
        Set up a new TUN device: as a tunnel, with its MTU and addresses, up but without carrier.
        """
        kernel = self._namespaces.of(plan.namespace)
        kernel.set_tunnel_behaviour(plan.interface, QUEUE_LEN)
        kernel.leave_dead_routes6(plan.interface)
        if queues > 1:
            kernel.set_no_queueing(plan.interface)
        kernel.set_mtu(plan.interface, mtu)
        kernel.set_up(plan.interface, up=True)
        _set_addresses(kernel, plan)
        kernel.settle_carrier(plan.interface)

    def _change(self, plan: TunnelPlan) -> None:
        """
        Change what may be changed under traffic: addresses, MTU, rate, DSCP. IKE is told by the
        caller.
        """
        tunnel = self._tunnels.by_name[plan.name]
        ends = (tunnel.plan.ike.local, tunnel.plan.ike.remote)
        if ends != (plan.ike.local, plan.ike.remote):
            tunnel.begin_anew()
        tunnel.plan = plan
        self._fit(plan)
        self._journal.info("tunnel changed", tunnel=plan.name)

    def _fit(self, plan: TunnelPlan) -> None:
        tunnel = self._tunnels.by_name[plan.name]
        tunnel.fits = None  # say everything again
        tunnel.fit_mtu()
        tunnel.kernel.set_up(plan.interface, up=True)
        _set_addresses(tunnel.kernel, plan)


def _is_of(device: Device, plan: TunnelPlan) -> bool:
    """Say whether the queues are still those of the tunnel's device: it may have gone since."""
    return all(device_of(queue.fd) == plan.interface for queue in device.queues)


def _places(plan: NodePlan | None) -> object:
    """Return where a plan has something: namespaces, and our addresses."""
    return (plan.namespaces, plan.sockets) if plan is not None else None


def _set_addresses(kernel: Netlink, plan: TunnelPlan) -> None:
    wanted = {plan.inner_local} if plan.inner_local is not None else set()
    actual = kernel.addresses(plan.interface)
    for address in sorted(wanted - actual, key=str):
        kernel.add_address(plan.interface, address)
    for address in sorted(actual - wanted, key=str):
        kernel.del_address(plan.interface, address)
