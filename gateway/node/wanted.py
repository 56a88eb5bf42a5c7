"""What is wanted of a tunnel, as `explain` shows it on its node and in the control plane. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.ike.selectors import selector_text
from gateway.node.plan import TunnelPlan
from gateway.sa import TrafficSelector


def wanted_of(plan: TunnelPlan) -> dict[str, object]:
    """Return our own values of a tunnel: identities, proposals, selectors, routes."""
    ike, pairs = plan.ike, plan.ike.selectors
    return {
        "local": str(ike.local),
        "remote": str(ike.remote) if ike.remote else "any",
        "local_id": str(ike.local_id),
        "remote_id": str(ike.remote_id) if ike.remote_id else "any",
        "ike_proposals": [str(one) for one in ike.ike_proposals],
        "esp_proposals": [str(one) for one in ike.esp_proposals],
        "local_ts": texts(dict.fromkeys(ts for one in pairs for ts in one.local)),
        "remote_ts": texts(dict.fromkeys(ts for one in pairs for ts in one.remote)),
        "start": ike.start.value,
        "encap": ike.encap.value,
        "liveness_s": ike.timers.liveness,
        "routes": [f"{route.prefix} metric {route.metric}" for route in plan.routes],
        "inner_address": str(plan.inner_local) if plan.inner_local else None,
    }


def texts(selectors: Iterable[TrafficSelector]) -> list[str]:
    """Return traffic selectors as they are written."""
    return [selector_text(one) for one in selectors]
