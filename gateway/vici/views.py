"""
Our status values as VICI's sections: names, units and spellings as strongSwan's own. Pure.

A VPN Tunnel is both connection ("ike") and child. Where it has several Child SAs each is a child of
its own, "NAME/1" and so on, in the order of the document's pairs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.dataplane.interface import OUTBOUND_MAX, SaStats
from gateway.ike.config import Identity
from gateway.ike.iana import ADDITIONAL, POST_QUANTUM, Group, Prf, ProtocolId, TransformType
from gateway.ike.proposals import parse_proposal
from gateway.ike.selectors import selector_text
from gateway.ike.status import ChildStatus, TunnelIkeStatus
from gateway.node.plan import TunnelPlan
from gateway.sa import Encr, Integ, TrafficSelector
from gateway.vici.wire import Section, Value

IKE_STATES = {"established": "ESTABLISHED", "connecting": "CONNECTING", "closing": "DELETING"}
CHILD_STATES = {
    "installed": "INSTALLED",
    "rekeying": "REKEYING",
    "replaced": "REKEYED",
    "deleting": "DELETING",
    "lingering": "DELETED",  # strongSwan too keeps the inbound SA for a while
}
TASKS = {
    "init": "IKE_INIT",
    "auth": "IKE_AUTH",
    "close": "IKE_DELETE",
    "delete_child": "CHILD_DELETE",
    "rekey_ike": "IKE_REKEY",
    "rekey_child": "CHILD_REKEY",
    "new_child": "CHILD_CREATE",
    "liveness": "IKE_DPD",
}
# VICI's counter: those of ours that it is the sum of.
COUNTERS: Mapping[str, Sequence[str]] = {
    "ike-rekey-init": ("rekey_ike.done",),
    "ike-rekey-resp": ("rekey_ike.answered",),
    "child-rekey": ("rekey_child.done", "rekey_child.answered"),
    "invalid": ("drop.malformed", "drop.version", "drop.exchange", "drop.flags", "drop.bad_icv"),
    "invalid-spi": ("drop.unknown_spi",),
    **{
        f"{vici}-{way}-{short}": (f"{way}.{kind}.{ours}",)
        for vici, ours in (
            ("ike-init", "ike_sa_init"),
            ("ike-auth", "ike_auth"),
            ("create-child", "create_child_sa"),
            ("info", "informational"),
        )
        for way in ("in", "out")
        for kind, short in (("request", "req"), ("response", "resp"))
    },
}


@dataclass(slots=True)
class Numbers:
    """
    Unique numbers for SAs, given at first sight and never again, as strongSwan counts. What is gone
    is forgotten by `keep`.
    """

    _given: dict[bytes | int, int] = field(default_factory=dict)
    _last: int = 0

    def of(self, spi: bytes | int) -> int:
        """Return the number of the SA with this SPI."""
        if spi not in self._given:
            self._last += 1
            self._given[spi] = self._last
        return self._given[spi]

    def keep(self, spis: Iterable[bytes | int]) -> None:
        """Forget all SAs but these."""
        self._given = {spi: self._given[spi] for spi in spis if spi in self._given}

    def __len__(self) -> int:
        return len(self._given)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a Child SA has carried, by direction; None where it is not known."""

    inbound: SaStats | None = None
    outbound: SaStats | None = None


# ---- names ----


def child_name(plan: TunnelPlan, slot: int) -> str:
    """Return the name of a tunnel's child."""
    return plan.name if len(plan.ike.selectors) < 2 else f"{plan.name}/{slot + 1}"


def slots_named(plan: TunnelPlan, name: str) -> tuple[int, ...]:
    """Return the slots that a child's name means; a tunnel's name means all of them."""
    slots = plan.ike.slots
    if name == plan.name:
        return tuple(slots)
    return tuple(slot for slot in slots if child_name(plan, slot) == name)


# ---- list-sa ----


def ike_section(
    plan: TunnelPlan,
    ike: TunnelIkeStatus,
    number: int,
    now: float,
    children: Mapping[str, Value] | None = None,
) -> Section:
    """Return an IKE SA as list-sa has it, with `children` as its child-sas."""
    section: dict[str, Value] = {
        "uniqueid": str(number),
        "version": "2",
        "state": "REKEYING" if ike.task == "rekey_ike" else IKE_STATES.get(ike.state, "CREATED"),
    }
    if ike.path is not None:
        section |= {
            "local-host": str(ike.path.local),
            "local-port": str(ike.path.local_port),
        }
    section["local-id"] = str(plan.ike.local_id)
    if ike.path is not None:
        section |= {
            "remote-host": str(ike.path.remote),
            "remote-port": str(ike.path.remote_port),
        }
    section["remote-id"] = ike.peer_id or _identity(plan.ike.remote_id)
    section |= _yes("initiator", ike.original_initiator)
    section |= {"initiator-spi": ike.spi_i.hex(), "responder-spi": ike.spi_r.hex()}
    section |= _yes("nat-local", ike.nat_local) | _yes("nat-remote", ike.nat_remote)
    section |= _yes("nat-any", ike.nat_local or ike.nat_remote)
    section |= suite_section(ike.suite, ProtocolId.IKE)
    if ike.state in ("established", "closing"):
        section["established"] = str(int(ike.age_s))
        section |= _until("rekey-time", ike.rekey_at, now)
    if ike.task:
        section["tasks-active"] = [TASKS.get(ike.task, ike.task.upper())]
    section["child-sas"] = children or {}
    return section


def child_section(
    plan: TunnelPlan,
    tunnel: int,
    child: ChildStatus,
    number: int,
    traffic: Traffic,
    now: float,
) -> Section:
    """Return a Child SA as list-sa has it; `tunnel` is the tunnel's number."""
    section: dict[str, Value] = {
        "name": child_name(plan, child.slot),
        "uniqueid": str(number),
        "reqid": str((tunnel - 1) * OUTBOUND_MAX + child.slot + 1),
        "state": CHILD_STATES.get(child.state, child.state.upper()),
        "mode": "TUNNEL",
        "protocol": "ESP",
    }
    section |= _yes("encap", child.encap)
    section |= {"spi-in": f"{child.spi_in:08x}", "spi-out": f"{child.spi_out:08x}"}
    section |= suite_section(child.suite, ProtocolId.ESP)
    section |= {"esn": "1"} if child.esn else {}
    section |= {"cpu": str(child.resource - 1)} if child.resource else {}
    section |= _carried("in", traffic.inbound, now) | _carried("out", traffic.outbound, now)
    section |= _until("rekey-time", child.rekey_at, now)
    section |= _until("life-time", child.hard_at, now)
    section["install-time"] = str(max(0, int(now - child.up_at)))
    section |= {"local-ts": _texts(child.local_ts), "remote-ts": _texts(child.remote_ts)}
    return section


def child_key(plan: TunnelPlan, child: ChildStatus, number: int) -> str:
    """Return the name of a Child SA's section."""
    return f"{child_name(plan, child.slot)}-{number}"


def suite_section(suite: str, protocol: ProtocolId) -> dict[str, Value]:
    """Return the algorithms of a suite by strongSwan's names; nothing for no suite."""
    if not suite:
        return {}
    proposal = parse_proposal(suite, protocol)
    encr = proposal.of_type(TransformType.ENCR)[0]
    found: dict[str, Value] = {"encr-alg": Encr(encr.id).name}
    found |= {"encr-keysize": str(encr.key_bits)} if encr.key_bits else {}
    integ = proposal.of_type(TransformType.INTEG)
    if integ and not Encr(encr.id).is_aead:
        found["integ-alg"] = Integ(integ[0].id).name
    prf = proposal.of_type(TransformType.PRF)
    found |= {"prf-alg": f"PRF_{Prf(prf[0].id).name}"} if prf else {}
    group = proposal.of_type(TransformType.DH)
    found |= {"dh-group": group_name(Group(group[0].id))} if group else {}
    further = [one for kind in ADDITIONAL for one in proposal.of_type(kind)]
    # strongSwan numbers them by their place, as the proposal's text does.
    found |= {f"ake{one.type - ADDITIONAL.start + 1}": group_name(Group(one.id)) for one in further}
    return found


def group_name(group: Group) -> str:
    """Return strongSwan's name of a key exchange method: "ECP_384"."""
    if group is Group.X25519:
        return "CURVE_25519"
    if group in POST_QUANTUM:
        return group.name.replace("MLKEM", "ML_KEM_")
    return re.sub(r"(?<=[A-Z])(?=\d)", "_", group.name)


def _carried(way: str, stats: SaStats | None, now: float) -> dict[str, Value]:
    found: dict[str, Value] = {
        f"bytes-{way}": str(stats.bytes if stats else 0),
        f"packets-{way}": str(stats.packets if stats else 0),
    }
    if stats is not None and stats.last_at > 0.0:
        found[f"use-{way}"] = str(max(0, int(now - stats.last_at)))
    return found


def _until(name: str, at: float, now: float) -> dict[str, Value]:
    return {} if at == math.inf else {name: str(int(at - now))}


def _yes(name: str, holds: bool) -> dict[str, Value]:
    return {name: "yes"} if holds else {}


def _texts(selectors: Iterable[TrafficSelector]) -> list[str]:
    return [selector_text(one) for one in selectors]


def _identity(identity: Identity | None) -> str:
    return str(identity) if identity is not None else "%any"


# ---- list-conn ----


def conn_section(plan: TunnelPlan) -> Section:
    """Return a tunnel as list-conn has it; times in seconds."""
    ike, timers = plan.ike, plan.ike.timers
    secret = {"class": "pre-shared key" if ike.credentials is None else "public key"}
    section: dict[str, Value] = {
        "local_addrs": [str(plan.local)],
        "remote_addrs": [str(plan.remote) if plan.remote is not None else "%any"],
        "local_port": "500",
        "remote_port": str(ike.remote_ike_port),
        "version": "IKEv2",
        "reauth_time": "0",
        "rekey_time": str(int(ike.ike_lifetime.seconds)),
        "unique": "UNIQUE_REPLACE",
    }
    section |= {"dpd_delay": str(int(timers.liveness))} if timers.liveness else {}
    section["proposals"] = [str(one) for one in ike.ike_proposals]
    section["local-1"] = {**secret, "id": str(ike.local_id)}
    section["remote-1"] = {**secret, "id": _identity(ike.remote_id)}
    section["children"] = {
        child_name(plan, slot): _conn_child(plan, slot) for slot in range(len(ike.selectors))
    }
    return section


def _conn_child(plan: TunnelPlan, slot: int) -> Section:
    selectors, lifetime = plan.ike.selectors[slot], plan.ike.child_lifetime
    return {
        "mode": "TUNNEL",
        "rekey_time": str(int(lifetime.seconds)),
        "rekey_bytes": str(lifetime.bytes),
        "rekey_packets": str(lifetime.packets),
        "dpd_action": "restart" if plan.ike.start.value == "initiate" else "clear",
        "close_action": "start" if plan.ike.start.value == "initiate" else "none",
        "esp_proposals": [str(one) for one in plan.ike.esp_proposals],
        "local-ts": _texts(selectors.local),
        "remote-ts": _texts(selectors.remote),
        "interface": plan.interface,
    }


# ---- counters and stats ----


def counters_section(ours: Mapping[str, int]) -> Section:
    """Return the counters of the whole gateway by strongSwan's names."""
    return {name: str(sum(ours.get(one, 0) for one in parts)) for name, parts in COUNTERS.items()}


def stats_section(
    running: str, since: str, workers: int, statuses: Sequence[TunnelIkeStatus]
) -> Section:
    """Return what `stats` answers; what we have no counterpart of is 0."""
    half_open = sum(one.state == "connecting" for one in statuses)
    total = sum(one.state != "idle" for one in statuses)
    none = {"critical": "0", "high": "0", "medium": "0", "low": "0"}
    return {
        "uptime": {"running": running, "since": since},
        "workers": {"total": str(workers), "idle": str(workers), "active": none},
        "queues": none,
        "scheduled": "0",
        "ikesas": {"total": str(total), "half-open": str(half_open)},
        "plugins": ["vici"],
    }


def duration_text(seconds: float) -> str:
    """Return a time span as strongSwan words it: the largest unit that is there twice."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds / length)} {unit}"
    whole = int(seconds)
    return f"{whole} second{'' if whole == 1 else 's'}"
