"""
What a changed field of a tunnel's configuration does to the SAs that it has: one table, as data.

`edits.py` carries it out; the node's difference and `twinspan reload` say it from the same table.
The rule is make before break: what the protocol can change under traffic is changed so, and only
what an IKE SA is bound to for life (addresses, identities, encapsulation) closes it.
"""

from __future__ import annotations

from enum import Enum
from operator import attrgetter

from gateway.ike.config import TunnelConfig


class Effect(Enum):
    """What one changed field does. The SAs carry on in all cases but the last."""

    NEXT_IKE_SA = "next_ike_sa"  # of use only when an IKE SA begins: this one stays as it is
    FROM_NOW = "from_now"  # looked up whenever it is needed: holds at once
    START = "start"  # who begins: holds as soon as there is no IKE SA
    IKE_TIMES = "ike_times"  # when the IKE SA is rekeyed and given up is drawn anew
    CHILD_TIMES = "child_times"  # the same of its Child SAs
    CHILD_VOLUMES = "child_volumes"  # the Child SAs are rekeyed: limits come with their keys
    REKEY_IKE = "rekey_ike"  # the IKE SA is rekeyed now, unless it is what is preferred now
    REKEY_CHILD = "rekey_child"  # the Child SAs are rekeyed now, with the same exception
    RESOURCES = "resources"  # Child SAs for a worker each come and go; the first is rekeyed
    RENEW = "renew"  # closed, and begun anew


EFFECT_OF: dict[str, Effect] = {
    "name": Effect.RENEW,
    "local": Effect.RENEW,
    "remote": Effect.RENEW,
    "local_id": Effect.RENEW,  # what the peer has authenticated, for the life of the IKE SA
    "remote_id": Effect.RENEW,
    "encap": Effect.RENEW,  # settled by NAT detection in IKE_SA_INIT (RFC 7296 section 2.23)
    "psk": Effect.NEXT_IKE_SA,  # rekeys do not authenticate again (RFC 7296 section 2.8.3)
    "credentials": Effect.NEXT_IKE_SA,
    "ppk": Effect.NEXT_IKE_SA,
    "childless": Effect.NEXT_IKE_SA,
    "allow_redirect": Effect.FROM_NOW,
    "remote_ike_port": Effect.NEXT_IKE_SA,
    "ike_proposals": Effect.REKEY_IKE,
    "esp_proposals": Effect.REKEY_CHILD,
    "local_ts": Effect.REKEY_CHILD,  # a rekey may change them (RFC 7296 section 2.9.2)
    "remote_ts": Effect.REKEY_CHILD,
    "further": Effect.RENEW,  # which Child SA stands for which selectors
    "resources": Effect.RESOURCES,
    "ike_lifetime": Effect.IKE_TIMES,
    "child_lifetime.seconds": Effect.CHILD_TIMES,
    "child_lifetime.jitter": Effect.CHILD_TIMES,
    "child_lifetime.bytes": Effect.CHILD_VOLUMES,
    "child_lifetime.packets": Effect.CHILD_VOLUMES,
    "start": Effect.START,
    "timers": Effect.FROM_NOW,
    "fragment_size": Effect.FROM_NOW,
}


def changed_fields(old: TunnelConfig, new: TunnelConfig) -> frozenset[str]:
    """Return the names of the fields in which two configurations differ."""
    return frozenset(name for name in EFFECT_OF if value_of(old, name) != value_of(new, name))


def value_of(config: TunnelConfig, name: str) -> object:
    """Return the value of a field as the table names it."""
    return attrgetter(name)(config)


def effects_of(fields: frozenset[str]) -> frozenset[Effect]:
    """Return what a change of these fields does."""
    return frozenset(EFFECT_OF[name] for name in fields)
