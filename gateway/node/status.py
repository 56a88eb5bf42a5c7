"""
What the gateway reports: each tunnel with whether it is allowed, whether it is up, and why not.

The shapes here are the JSON of `twinspan status --json`; names stay as they are once published.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict

import gateway
from gateway.dataplane.interface import DataPlane, TunnelStats, WorkerStats
from gateway.errors import DataPlaneError
from gateway.ike.endpoint import ChildStatus, TunnelIkeStatus
from gateway.ike.events import Reason
from gateway.ike.exchanges.proof import PeerProof
from gateway.ike.reasons import silent
from gateway.ike.status import Ages
from gateway.node.daemon import IkeDaemon
from gateway.node.machine import notes
from gateway.node.measure import Measurer
from gateway.node.namespaces import Namespaces
from gateway.node.plan import TunnelPlan
from gateway.node.probes import Prober
from gateway.node.reconcile import Reconciler
from gateway.node.redundancy import HaStatus, Leg, ha_status
from gateway.node.rollout import Rollout
from gateway.node.routing import RoutingReport
from gateway.node.traffic import ConnectionFacts, Way
from gateway.node.tunnel import ADMIN_DOWN, Tunnel, Tunnels
from gateway.node.wanted import texts, wanted_of

Json = dict[str, object]

NOTES_S = 300.0  # for Prometheus

SILENT_S = 3.0  # without an answer to a new IKE SA, and it is said so: some tries were in vain
TAKEN_DOWN = Reason("taken_down", "an operator has taken the tunnel down", hint="twinspan up")
WAITING = Reason(
    "waiting_for_peer",
    "the peer is to begin",
    hint='start = "initiate" makes us begin; a peer from another address is not let in',
)


class StatusView:
    """Reads the actual state; changes nothing."""

    def __init__(
        self,
        daemon: IkeDaemon,
        reconciler: Reconciler,
        tunnels: Tunnels,
        plane: DataPlane,
        namespaces: Namespaces,
        routing: RoutingReport,
        rollout: Rollout,
        prober: Prober,
        measurer: Measurer,
        about_source: Callable[[], Json] = dict,
    ) -> None:
        self._about_source = about_source
        self._rollout = rollout
        self._daemon = daemon
        self._reconciler = reconciler
        self._tunnels = tunnels
        self._plane = plane
        self._namespaces = namespaces
        self._routing = routing
        self._prober = prober
        self._measurer = measurer
        self._clock = time.monotonic
        self._began_at = time.time()
        self._noted: list[str] = []
        self._noted_at = -math.inf
        self.version = gateway.__version__

    def whole(self) -> Json:
        """Return the status of the gateway and all its tunnels."""
        plan, source = self._reconciler.plan, self._about_source()
        return {
            **self._gateway(self.notes()),
            "pid": os.getpid(),
            "public_addresses": [str(address) for address in plan.sockets] if plan else [],
            "document": {key: value for key, value in source.items() if key != "notes"},
            "interfaces": self._reconciler.ports.report(),
            "tunnels": self.tunnels(self.plans),
        }

    def figures(self) -> Json:
        """
        Return that part of the status that Prometheus is told, with a tenth of the work for it.

        What tunnels have carried is as of their last sample, at most seconds ago; notes, for which
        the kernel is asked about every peer, are counted anew after some minutes.
        """
        plans, now = self.plans, self._clock()
        if now - self._noted_at >= NOTES_S:
            self.notes()
        active = self._active(plans)
        return {
            **self._gateway(self._noted),
            "neighbours": self._routing.neighbours(),
            "tunnels": [self._figures(plan, plan.name in active) for plan in plans],
        }

    def _gateway(self, noted: list[str]) -> Json:
        """Return what both have beside the tunnels."""
        plan, said = self._reconciler.plan, self._about_source().get("notes", [])
        each = [self._plane.worker_stats(number) for number in range(self._reconciler.workers)]
        assert isinstance(said, list)
        return {
            "gateway": plan.name if plan else "",
            "version": self.version,
            "since_s": round(time.time() - self._began_at, 1),
            "notes": [*noted, *said],
            "connections": self.connections(self.plans),
            "counters": self._counters(each),
            "workers": [dict(stats.counters) for stats in each],
            "data_plane_replaced": self._daemon.renewed,
        }

    @property
    def plans(self) -> tuple[TunnelPlan, ...]:
        """The tunnels that there should be."""
        return self._reconciler.plan.tunnels if self._reconciler.plan else ()

    def leads_to(self, name: str) -> TunnelPlan | None:
        """Return what a tunnel is to be by the document: now, or at its turn in an edit."""
        return self._rollout.leads_to(name)

    def tunnels(self, plans: Iterable[TunnelPlan]) -> list[Json]:
        """Return the status of some tunnels, all of each connection."""
        plans = tuple(plans)
        active = self._active(plans)
        return [self._tunnel(plan, plan.name in active) for plan in plans]

    def notes(self) -> list[str]:
        """Return what an operator should know of machine and routing."""
        plan = self._reconciler.plan
        self._noted_at = self._clock()
        self._noted = [
            *(notes(plan, self._reconciler.workers, self._namespaces) if plan else []),
            *self._namespaces.troubles.values(),
            *self._reconciler.ports.notes,
            *self._reconciler.isolation.notes,
            *self._reconciler.lanes.notes,
            *self._routing.notes,
            *self._edits(),
        ]
        return list(self._noted)

    def _edits(self) -> list[str]:
        return [
            f"{name} is still as before the last edit: it follows when its twin is back"
            for name in sorted(self._rollout.waiting)
        ]

    def explanation(self, name: str) -> Json:
        """Return what is known about one tunnel, with both sides' proposals and selectors."""
        plans = self.plans
        plan = next(plan for plan in plans if plan.name == name)
        return {**self._tunnel(plan, name in self._active(plans)), "wanted": wanted_of(plan)}

    # ---- one connection ----

    def connections(self, plans: Iterable[TunnelPlan]) -> list[Json]:
        """Return the status of the connections that have these tunnels, all of each one's."""
        legs: dict[str, list[Leg]] = {}
        owners, speakers = {}, self._routing.speakers
        for plan in plans:
            owners[plan.connection] = plan
            legs.setdefault(plan.connection, []).append(self._leg(plan, speakers))
        return [
            {
                "name": name,
                "title": owners[name].connection_title,
                "border_gateway": owners[name].border_gateway,
                "ha_status": ha_status(found).value,
                "working": sum(leg.works for leg in found),
            }
            for name, found in legs.items()
        ]

    def traffic(self) -> list[ConnectionFacts]:
        """Return what the traffic of each connection takes now, and whether it is redundant."""
        plans = self._reconciler.plan.tunnels if self._reconciler.plan else ()
        active, speakers = self._active(plans), self._routing.speakers
        groups: dict[str, list[tuple[TunnelPlan, Leg]]] = {}
        for plan in plans:
            groups.setdefault(plan.connection, []).append((plan, self._leg(plan, speakers)))
        return [
            ConnectionFacts(
                name,
                tuple(self._way(plan, leg, plan.name in active) for plan, leg in group),
                frozenset(plan.name for plan, _ in group if plan.name in active),
                ha_status([leg for _, leg in group]) is HaStatus.REDUNDANCY,
            )
            for name, group in groups.items()
        ]

    def _way(self, plan: TunnelPlan, leg: Leg, is_active: bool) -> Way:
        if is_active:
            return Way(plan.name, leg.works)
        tunnel = self._tunnels.by_name.get(plan.name)
        # Of one that is up IKE knows no reason, and this is done every second.
        ike = None if tunnel is not None and tunnel.is_up else self._ike_status(plan.name)
        reason = self._reason(plan, tunnel, ike)
        causes = self._reconciler.steering.causes(plan.name)
        code = reason.code if reason else (causes[0].value if causes else "")
        return Way(plan.name, leg.works, code)

    def _leg(self, plan: TunnelPlan, speakers: frozenset[str]) -> Leg:
        tunnel = self._tunnels.by_name.get(plan.name)
        local, remote = tunnel.outer_addresses() if tunnel else (plan.local, plan.remote)
        is_up = tunnel is not None and tunnel.is_up
        is_told = plan.name not in speakers or self._routing.is_established(plan.name)
        return Leg(local, remote, is_up and is_told)

    # ---- one tunnel ----

    def _tunnel(self, plan: TunnelPlan, active: bool) -> Json:
        tunnel = self._tunnels.by_name.get(plan.name)
        ike = self._ike_status(plan.name)
        local, remote = tunnel.outer_addresses() if tunnel else (plan.local, plan.remote)
        return {
            **self._of_both(plan, tunnel, ike, active),
            "interface": plan.interface,
            "local": str(local),
            "remote": str(remote) if remote else "any",
            "since_s": round(time.time() - tunnel.changed_at, 1) if tunnel else 0.0,
            "ike": _ike(ike, self._clock()),
            "children": self._children(plan, tunnel, ike),
            "refused": [asdict(one) for one in ike.refused] if ike else [],
            "pairs": self._pairs(tunnel, ike),
            "standing": self._reconciler.steering.of(plan.name).value,
            "causes": [cause.value for cause in self._reconciler.steering.causes(plan.name)],
            **_traffic(tunnel, self._stats(tunnel) if tunnel else None),
        }

    def _figures(self, plan: TunnelPlan, active: bool) -> Json:
        """Return of a tunnel what Prometheus is told."""
        tunnel, known = self._tunnels.by_name.get(plan.name), plan.name in self._daemon.known
        is_up, endpoint = tunnel is not None and tunnel.is_up, self._daemon.endpoint
        ike = None if is_up else self._ike_status(plan.name)
        ages = endpoint.ages(plan.name, self._clock()) if known else Ages()
        stats = tunnel.samples[-1].stats if tunnel and tunnel.samples else None
        if stats is None and tunnel is not None:
            stats = self._stats(tunnel)
        return {
            **self._of_both(plan, tunnel, ike, active),
            "ike": {"age_s": ages.ike_s, "attempts": ike.attempts if ike else 0},
            "children": [{"age_s": ages.child_s, "sends": True}],
            **_traffic(tunnel, stats),
        }

    def _of_both(
        self, plan: TunnelPlan, tunnel: Tunnel | None, ike: TunnelIkeStatus | None, active: bool
    ) -> Json:
        """Return of a tunnel what status shows and Prometheus is told."""
        reason = self._reason(plan, tunnel, ike)
        allowed = plan.admin_up and plan.name not in self._reconciler.taken_down
        return {
            "name": plan.name,
            "title": plan.title,
            "connection": plan.connection,
            "border_gateway": plan.border_gateway,
            "admin": "up" if allowed else "down",
            "status": _status(tunnel, ike),
            "reason": asdict(reason) if reason else None,
            "since": tunnel.changed_at if tunnel else 0.0,
            "mtu": tunnel.fits.mtu if tunnel and tunnel.fits else plan.mtu,
            "active": active,
            "bgp": self._routing.of_tunnel(plan.name),
            "probe": self._prober.of_tunnel(plan.name),
            "round_trip": self._measurer.of_tunnel(plan.name),
            "rekeys": {
                "ike": tunnel.ike_rekeys if tunnel else 0,
                "child": tunnel.child_rekeys if tunnel else 0,
            },
        }

    def _ike_status(self, name: str) -> TunnelIkeStatus | None:
        if name not in self._daemon.known:
            return None  # not allowed to be up, or it could not be made
        return self._daemon.endpoint.tunnel_status(name)

    def _reason(
        self, plan: TunnelPlan, tunnel: Tunnel | None, ike: TunnelIkeStatus | None
    ) -> Reason | None:
        """Return why a tunnel is not up, or carries nothing all the same; None if it is well."""
        if tunnel is not None and tunnel.is_up:
            return self._prober.reason(plan.name) or self._routing.reason(
                plan.name, tunnel.changed_at
            )
        if not plan.admin_up:
            return ADMIN_DOWN
        if plan.name in self._reconciler.taken_down:
            return TAKEN_DOWN
        trouble = self._reconciler.troubles.get(plan.name)
        if trouble is not None:
            return trouble
        before = tunnel.reason if tunnel is not None else None
        found = _why_down(ike, before) if ike is not None else before
        if found is None or tunnel is None:
            return found
        return self._daemon.sockets.unsent.explained(found, tunnel.outer_addresses()[1])

    def _pairs(self, tunnel: Tunnel | None, ike: TunnelIkeStatus | None) -> list[Json]:
        """Return the Child SAs that a tunnel is to have, where they are several."""
        if tunnel is None or ike is None:
            return []
        spis = {child.slot: child.spi_in for child in ike.children if child.is_outbound}
        return [
            {
                "local_ts": texts(one.selectors.local),
                "remote_ts": texts(one.selectors.remote),
                "status": "up" if one.is_up else "down",
                "reason": asdict(one.reason) if one.reason else None,
                **self._pair_traffic(tunnel, slot, spis.get(slot)),
            }
            for slot, one in enumerate(ike.slots)
        ]

    def _children(
        self, plan: TunnelPlan, tunnel: Tunnel | None, ike: TunnelIkeStatus | None
    ) -> list[Json]:
        """Return the Child SAs that there are; what each carries, where workers have their own."""
        if ike is None:
            return []
        children = [_child(one, self._clock()) for one in ike.children]
        if tunnel is None or not plan.ike.resources:
            return children
        return [
            {
                **shown,
                "resource": one.resource,
                **self._pair_traffic(tunnel, one.slot, one.spi_in if one.is_outbound else None),
            }
            for shown, one in zip(children, ike.children, strict=True)
        ]

    def _pair_traffic(self, tunnel: Tunnel, slot: int, spi_in: int | None) -> Json:
        """Return what the Child SA in use of one slot has carried since it was made."""
        counts = dict.fromkeys(("in_packets", "in_bytes", "out_packets", "out_bytes"), 0)
        if spi_in is None:
            return {**counts}
        try:
            inbound = self._plane.inbound_stats(spi_in)
            outbound = self._plane.outbound_stats(tunnel.number, slot)
        except DataPlaneError:
            return {**counts}
        values = inbound.packets, inbound.bytes, outbound.packets, outbound.bytes
        return dict(zip(counts, values, strict=True))

    def _stats(self, tunnel: Tunnel) -> TunnelStats | None:
        try:
            return self._plane.tunnel_stats(tunnel.number)
        except DataPlaneError:
            return None

    def _active(self, plans: tuple[TunnelPlan, ...]) -> set[str]:
        """
        Return the tunnel of each connection that traffic takes now: of those up, the lowest metric;
        with BGP those that its routes go through.
        """
        best: dict[str, TunnelPlan] = {}
        chosen, learned = self._routing.chosen, set(self._routing.active)
        for plan in plans:
            tunnel = self._tunnels.by_name.get(plan.name)
            if tunnel is None or not tunnel.is_up or plan.name in chosen:
                continue
            holder = best.get(plan.connection)
            if holder is None or self._metric(plan) < self._metric(holder):
                best[plan.connection] = plan
        return learned | {plan.name for plan in best.values()}

    def _metric(self, plan: TunnelPlan) -> float:
        """Return the best metric of a tunnel's routes; infinite if it is withdrawn."""
        found = [self._reconciler.routes.metric(plan.name, route) for route in plan.routes]
        return min((one for one in found if one is not None), default=math.inf if found else 0)

    # ---- the whole gateway ----

    def _counters(self, each: list[WorkerStats]) -> Json:
        workers: Json = {}
        drops: Json = {}
        for stats in each:
            _add(workers, stats.counters)
            _add(drops, stats.drops)
        return {
            "ike": {**self._daemon.endpoint.counters, "drop.shed": self._daemon.strangers.shed},
            "send_errors": dict(self._daemon.sockets.send_errors),
            "workers": workers,
            "drops": drops,
        }


def _add(total: Json, more: Mapping[str, int]) -> None:
    for name, value in more.items():
        before = total.get(name, 0)
        assert isinstance(before, int)
        total[name] = before + value


def _traffic(tunnel: Tunnel | None, stats: TunnelStats | None) -> Json:
    in_bps, out_bps = tunnel.rates_bps() if tunnel else (0.0, 0.0)
    return {
        "in_bytes": stats.in_bytes if stats else 0,
        "out_bytes": stats.out_bytes if stats else 0,
        "in_packets": stats.in_packets if stats else 0,
        "out_packets": stats.out_packets if stats else 0,
        "in_esp_bytes": stats.in_esp_bytes if stats else 0,
        "out_esp_bytes": stats.out_esp_bytes if stats else 0,
        "in_bps": round(in_bps),
        "out_bps": round(out_bps),
        "drops": dict(stats.drops) if stats else {},
    }


def _why_down(ike: TunnelIkeStatus, before: Reason | None) -> Reason | None:
    """Return why a tunnel is not up that may be: what failed last, or a peer that is silent."""
    last = ike.last_failure
    if last is not None and last.code == "peer_unreachable":
        return last
    if ike.state == "connecting" and ike.age_s >= SILENT_S and ike.task:
        return silent(ike.task)
    return last or before or (WAITING if ike.state == "idle" else None)


def _status(tunnel: Tunnel | None, ike: TunnelIkeStatus | None) -> str:
    if tunnel is not None and tunnel.is_up:
        return "up"
    return "connecting" if ike is not None and ike.state == "connecting" else "down"


def _certificate(proof: PeerProof | None) -> Json | None:
    """Return by what certificate or raw key the peer has proved itself; None: a shared key."""
    if proof is None:
        return None
    return {"method": proof.method, "name": proof.name, "ends_at": proof.ends_at or None}


def _ike(ike: TunnelIkeStatus | None, now: float) -> Json:
    if ike is None:
        return {"state": "idle"}
    tries = {"attempts": ike.attempts, "retry_in_s": _until(ike.retry_at, now)}
    if ike.state == "idle":  # there is no IKE SA, whose all the rest would be
        return {"state": ike.state, **tries}
    return {
        "state": ike.state,
        "spi_i": ike.spi_i.hex(),
        "spi_r": ike.spi_r.hex(),
        "suite": ike.suite,
        "post_quantum": ike.is_post_quantum,
        "ppk": ike.has_ppk,
        "peer_certificate": _certificate(ike.peer_proof),
        "age_s": round(ike.age_s, 1),
        "rekey_in_s": _until(ike.rekey_at, now),
        "path": str(ike.path) if ike.path else "",
        "peer_id": ike.peer_id,
        "role": "initiator" if ike.original_initiator else "responder",
        "nat_local": ike.nat_local,
        "nat_remote": ike.nat_remote,
        "task": ike.task,
        **tries,
    }


def _child(child: ChildStatus, now: float) -> Json:
    return {
        "spi_in": f"{child.spi_in:#010x}",
        "spi_out": f"{child.spi_out:#010x}",
        "suite": child.suite,
        "state": child.state,
        "sends": child.is_outbound,
        "encap": "udp" if child.encap else "esp",
        "esn": child.esn,
        "age_s": round(now - child.up_at, 1),
        "rekey_in_s": _until(child.rekey_at, now),
        "local_ts": texts(child.local_ts),
        "remote_ts": texts(child.remote_ts),
    }


def _until(at: float, now: float) -> float | None:
    """Return the seconds until `at`, None for never."""
    return None if at == math.inf else round(max(0.0, at - now), 1)
