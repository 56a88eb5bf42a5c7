"""
What follows where the data plane has lost its ESP SAs, but the IKE SAs are as they were.

The keys of a lost ESP SA are never installed again: its sequence numbers, and with them its nonces,
would start over, and its replay window would forget what it has seen. So each Child SA in use only
waits for a rekey, in the IKE SA that is still there.
"""

from __future__ import annotations

from gateway.ike.child import ChildSa, Use
from gateway.ike.tunnel import Tunnel


def forget_keys(tunnel: Tunnel) -> None:
    """Let no Child SA be sent on that a tunnel has now; the one in use is the one to be rekeyed."""
    children = {child.spi_in: child for sa in tunnel.sas for child in sa.children.values()}
    for slot, used in tuple(tunnel.in_use.items()):
        tunnel.in_use[slot] = _successor(used, children)
    for child in children.values():
        if child.is_live:  # one for a worker that has not sent on it yet
            tunnel.in_use.setdefault(child.slot, child)
    for child in children.values():
        child.fresh, child.is_lost = None, True
        child.use = Use.IN_USE if tunnel.is_used(child) else Use.RETIRED


def _successor(used: ChildSa, children: dict[int, ChildSa]) -> ChildSa:
    """Return what the peer has just made in place of a Child SA: that one can be rekeyed."""
    made = children.get(used.replaced_by) if used.replaced_by is not None else None
    return made if made is not None and made.use is Use.UNUSED else used
