"""
What must change so that a node does what a new plan says. Pure; reconcile acts on it.

A change names the tunnels it touches and, for each, which facets; every other tunnel is left alone.
To act on a change, first remove, then change, then add: a device may pass from tunnel to tunnel.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gateway.ike.effects import Effect, changed_fields, effects_of
from gateway.node.plan import NodePlan, TunnelPlan
from gateway.sa import Address


class Facet(Enum):
    """A part of a tunnel that can change by itself, and what a change of it disturbs."""

    ADMIN = "admin"  # allowed or not: the IKE SA is begun or closed
    IKE = "ike"  # the IKE SA is closed and begun again
    REKEY = "rekey"  # new keys by another suite or for other selectors; traffic goes on
    IKE_SETTINGS = "ike_settings"  # keys stay: lifetimes, timers, the PSK of the next IKE SA
    INTERFACE = "interface"  # the TUN device is made anew: another name, place or number of workers
    ADDRESSES = "addresses"  # the addresses on the device; traffic goes on
    FAILBACK = "failback"  # when it takes its traffic back
    ROUTES = "routes"  # routes through the device; traffic to others goes on
    OPTIONS = "options"  # data plane options; traffic goes on
    PROBES = "probes"  # how the path is watched; traffic goes on
    OWNER = "owner"  # names: its title, the resources it belongs to, as status shows them


FACET_OF = {
    "connection": Facet.OWNER,
    "border_gateway": Facet.OWNER,
    "title": Facet.OWNER,
    "connection_title": Facet.OWNER,
    "interface": Facet.INTERFACE,
    "namespace": Facet.INTERFACE,
    "workers": Facet.INTERFACE,
    "admin_up": Facet.ADMIN,
    "inner_local": Facet.ADDRESSES,
    "inner_remote": Facet.ADDRESSES,
    "mtu": Facet.OPTIONS,
    "rate_bps": Facet.OPTIONS,
    "copy_dscp": Facet.OPTIONS,
    "replay_window": Facet.OPTIONS,
    "preference": Facet.FAILBACK,
    "failback": Facet.FAILBACK,
    "routes": Facet.ROUTES,
    "fail_closed": Facet.ROUTES,
    "probe": Facet.PROBES,
    "measure": Facet.PROBES,
}
FACET_OF_EFFECT = {  # the same for the fields of `ike`
    Effect.NEXT_IKE_SA: Facet.IKE_SETTINGS,
    Effect.FROM_NOW: Facet.IKE_SETTINGS,
    Effect.START: Facet.IKE_SETTINGS,
    Effect.IKE_TIMES: Facet.IKE_SETTINGS,
    Effect.CHILD_TIMES: Facet.IKE_SETTINGS,
    Effect.CHILD_VOLUMES: Facet.REKEY,
    Effect.REKEY_IKE: Facet.REKEY,
    Effect.REKEY_CHILD: Facet.REKEY,
    Effect.RESOURCES: Facet.REKEY,
    Effect.RENEW: Facet.IKE,
}


# What a tunnel carries ends by these, for a moment at least; BGP between the inner addresses too.
INTERRUPTING = frozenset({Facet.IKE, Facet.INTERFACE, Facet.ADDRESSES})


# What is done about each, in the words of `twinspan reload`, the most drastic first.
WORDS = {
    Facet.ADMIN: "opened or closed",
    Facet.INTERFACE: "device made anew",
    Facet.IKE: "renegotiated",
    Facet.REKEY: "rekeyed",
    Facet.IKE_SETTINGS: "keys kept, IKE settings taken over",
    Facet.ADDRESSES: "inner addresses",
    Facet.FAILBACK: "failback",
    Facet.ROUTES: "routes",
    Facet.PROBES: "probes",
    Facet.OPTIONS: "options",
    Facet.OWNER: "owner",
}
# What a plan has beside tunnels, in the words of `twinspan reload`.
BESIDE_WORDS = {
    "name": "name of the gateway",
    "workers": "workers",
    "sockets": "public addresses",
    "namespaces": "network namespaces",
    "ports": "interfaces of attachments and lines",
    "routing": "BGP",
    "propagations": "propagation into VPCs",
    "spokes": "isolation of spokes",
    "titles": "titles",
}


@dataclass(frozen=True, slots=True)
class TunnelChange:
    """One tunnel before and after, and the facets in which it differs (at least one)."""

    old: TunnelPlan
    new: TunnelPlan
    facets: frozenset[Facet]

    @property
    def words(self) -> list[str]:
        """Return what is done to the tunnel, for a person."""
        return [word for facet, word in WORDS.items() if facet in self.facets]


@dataclass(frozen=True, slots=True)
class Change:
    """The least change from one plan to another. Lists are in the order of the plans."""

    removed: tuple[TunnelPlan, ...]
    changed: tuple[TunnelChange, ...]
    added: tuple[TunnelPlan, ...]
    sockets_removed: tuple[Address, ...]
    sockets_added: tuple[Address, ...]
    name: str | None = None  # the new one, if it differs
    workers: int | None = None  # the new number, if it differs: needs a new data plane

    @property
    def is_empty(self) -> bool:
        """Return whether nothing is to be done."""
        lists = (self.removed, self.changed, self.added, self.sockets_removed, self.sockets_added)
        return not any(lists) and self.name is None and self.workers is None


def difference(old: NodePlan | None, new: NodePlan) -> Change:
    """Return the least change that turns `old` (None: nothing at all) into `new`."""
    before = {tunnel.name: tunnel for tunnel in old.tunnels} if old else {}
    after = {tunnel.name: tunnel for tunnel in new.tunnels}
    kept = [(before[name], tunnel) for name, tunnel in after.items() if name in before]
    had = old.sockets if old else ()
    return Change(
        removed=tuple(tunnel for name, tunnel in before.items() if name not in after),
        changed=tuple(
            TunnelChange(was, tunnel, facets)
            for was, tunnel in kept
            if (facets := _facets(was, tunnel))
        ),
        added=tuple(tunnel for name, tunnel in after.items() if name not in before),
        sockets_removed=tuple(address for address in had if address not in new.sockets),
        sockets_added=tuple(address for address in new.sockets if address not in had),
        name=new.name if old is None or old.name != new.name else None,
        workers=new.workers if old is None or old.workers != new.workers else None,
    )


def beside_tunnels(old: NodePlan, new: NodePlan) -> list[str]:
    """Return what differs beside the tunnels themselves, for a person."""
    return [word for key, word in BESIDE_WORDS.items() if getattr(old, key) != getattr(new, key)]


def leaves_first(old: TunnelPlan, new: TunnelPlan | None) -> bool:
    """Return whether traffic must leave a tunnel before `old` becomes `new` (None: it goes)."""
    if new is None:
        return True
    return old.admin_up and (not new.admin_up or bool(_facets(old, new) & INTERRUPTING))


def _facets(old: TunnelPlan, new: TunnelPlan) -> frozenset[Facet]:
    if old is new:
        return frozenset()
    own = {facet for field, facet in FACET_OF.items() if getattr(old, field) != getattr(new, field)}
    effects = effects_of(changed_fields(old.ike, new.ike))
    return frozenset(own | {FACET_OF_EFFECT[effect] for effect in effects})
