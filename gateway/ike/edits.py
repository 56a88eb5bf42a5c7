"""
An edit of a tunnel's configuration, carried out on the SAs it has, make before break.

The new configuration holds from now on for everything that is negotiated, whichever end begins. If
it prefers something else than what is in use, we ask for a rekey at once. The peer refuses until it
has been edited as well; then what is in use stays and we ask again, with growing pauses, or the
peer asks us. So the two ends can be edited in any order.
"""

from __future__ import annotations

import math

from gateway.ike import reasons, resources, slots
from gateway.ike.child import ChildSa, Lifespan, Stage
from gateway.ike.config import ChildSelectors, Lifetime, TunnelConfig
from gateway.ike.effects import Effect, changed_fields, effects_of
from gateway.ike.ike_sa import IkeSa
from gateway.ike.proposals import select_esp, select_ike
from gateway.ike.states import BEFORE_AUTH
from gateway.ike.tasks import Task, Work
from gateway.ike.tunnel import Tunnel, begins

OVERDUE_S = 10.0  # an SA that a shorter lifetime makes overdue is rekeyed within this time
REKEYS = frozenset({Effect.REKEY_IKE, Effect.REKEY_CHILD})
NEGOTIATED = REKEYS | {Effect.NEXT_IKE_SA}


def take(tunnel: Tunnel, config: TunnelConfig, now: float) -> bool:
    """
    Give a tunnel its new configuration; return whether that is possible without closing it.

    If it is not, nothing has changed.
    """
    fields = changed_fields(tunnel.config, config)
    if Effect.RENEW in effects_of(fields):
        return False
    tunnel.config = config
    tunnel.closed_slots.clear()
    tunnel.backoff.timers = config.timers
    carry_out(tunnel, fields, now)
    return True


def carry_out(tunnel: Tunnel, fields: frozenset[str], now: float) -> None:
    """Do what changes of these fields ask for."""
    effects = effects_of(fields)
    for sa in tunnel.sas:
        if Effect.IKE_TIMES in effects:
            _draw_ike_times(sa, now)
        if Effect.CHILD_TIMES in effects:
            _draw_child_times(sa, now)
        if Effect.CHILD_VOLUMES in effects:
            _rekey_all(sa)
    if NEGOTIATED & effects:
        _begin_again(tunnel, now)
    rekeys = REKEYS & effects
    if rekeys or Effect.RESOURCES in effects:
        _outdate(tunnel)
        rekey_unfit(tunnel, rekeys)
    if Effect.RESOURCES in effects:
        _rekey_first(tunnel)
    if Effect.START in effects and not tunnel.is_stopped:
        tunnel.is_wanted = begins(tunnel.config)
        tunnel.retry_at = now if tunnel.is_wanted and tunnel.is_idle else math.inf


def _begin_again(tunnel: Tunnel, now: float) -> None:
    """What was refused may be accepted now: do not wait for the next attempt."""
    attempt = tunnel.attempt
    if attempt is not None and attempt.state in BEFORE_AUTH:
        tunnel.attempt = None
        attempt.end(reasons.RECONFIGURED, now)
    tunnel.backoff.attempts = 0
    if tunnel.is_wanted and tunnel.is_idle:
        tunnel.retry_at = now


# ---- lifetimes ----


def _draw_ike_times(sa: IkeSa, now: float) -> None:
    lifetime = sa.config.ike_lifetime
    span = Lifespan.draw(lifetime, sa.context.random, sa.original_initiator)
    soft, sa.hard_at = _times(sa, lifetime, span, sa.established_at, now)
    sa.rekey_at = min(sa.rekey_at, soft) if sa.refusals else soft


def _draw_child_times(sa: IkeSa, now: float) -> None:
    lifetime = sa.config.child_lifetime
    for child in sa.children.values():
        if not child.is_live:
            continue
        span = Lifespan.draw(lifetime, sa.context.random, sa.original_initiator)
        soft, child.hard_at = _times(sa, lifetime, span, child.up_at, now)
        child.rekey_at = min(child.rekey_at, soft) if child.refusals else soft


def _times(
    sa: IkeSa, lifetime: Lifetime, span: Lifespan, born_at: float, now: float
) -> tuple[float, float]:
    """Return when to rekey and when to give up an SA; if both are past, there is time to rekey."""
    early = sa.context.jitter(0.0, min(OVERDUE_S, lifetime.seconds * lifetime.jitter))
    soft = max(born_at + span.soft_s, now + early)
    return soft, max(born_at + span.hard_s, soft + span.hard_s - span.soft_s)


# ---- proposals and selectors ----


def _outdate(tunnel: Tunnel) -> None:
    """Note what was made, or is being asked for, by an earlier configuration."""
    for sa in (*tunnel.sas, *([tunnel.attempt] if tunnel.attempt is not None else [])):
        sa.is_outdated = True
        sa.refusals = 0
        sa.ke_group = None
        request = sa.window.outstanding
        if request is not None and request.offer is not None:
            request.is_outdated = True


def rekey_unfit(tunnel: Tunnel, which: frozenset[Effect] = REKEYS) -> None:
    """Rekey the SAs of a tunnel, IKE or Child, that are not what its configuration prefers."""
    config = tunnel.config
    best, _ = select_ike(config.ike_proposals, config.ike_proposals)
    for sa in tunnel.usable():
        if Effect.REKEY_IKE in which and sa.suite != best:
            sa.is_outdated = True
            sa.rekey_at = math.inf
            sa.tasks.add(Task(Work.REKEY_IKE))
        for child in tuple(sa.children.values()):
            if not child.is_live:
                continue
            if resources.is_surplus(config, child):
                slots.delete(sa, child, reasons.RECONFIGURED)
            elif Effect.REKEY_CHILD in which and not is_fit(child, config):
                _rekey(sa, child)


def is_fit(child: ChildSa, config: TunnelConfig) -> bool:
    """Return whether a Child SA is what the configuration prefers, selectors included."""
    proposals = config.esp_proposals
    preferred, _ = select_esp(proposals, proposals, want_group=True)
    selectors = ChildSelectors(child.local_ts, child.remote_ts)
    return child.suite == preferred and selectors == config.selectors_of(child.slot)


def _rekey_first(tunnel: Tunnel) -> None:
    """Rekey the first Child SA: with it the ends agree on how many more there are."""
    for sa in tunnel.usable():
        for child in sa.children.values():
            if child.is_live and child.slot == 0:
                _rekey(sa, child)


def _rekey_all(sa: IkeSa) -> None:
    if sa.is_usable:
        for child in sa.children.values():
            _rekey(sa, child)


def _rekey(sa: IkeSa, child: ChildSa) -> None:
    child.refusals = 0
    if child.stage is Stage.INSTALLED:
        child.rekey_at = math.inf
        sa.tasks.add(Task(Work.REKEY_CHILD, child.spi_in))
