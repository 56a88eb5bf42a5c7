"""From what `twinspan status` shows to what a report says. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.fleet.messages import Counters, TunnelState, Why

Json = Mapping[str, object]


def tunnel_state(shown: Json) -> TunnelState:
    """Return the state of a tunnel."""
    children, ike = _objects(shown["children"]), _object(shown["ike"])
    suite = children[-1]["suite"] if children else ike.get("suite", "")
    reason = _object(shown["reason"])
    return TunnelState.model_validate(
        {
            **{key: shown[key] for key in ("name", "admin", "since", "active", "standing", "mtu")},
            **{key: shown[key] for key in ("local", "remote", "interface")},
            "operational": shown["status"],
            "reason": why(reason) if reason else None,
            "suite": suite or "",
            "bgp": _object(shown["bgp"]).get("state", ""),
            "probe": _object(shown["probe"]).get("state", ""),
        }
    )


def counters(shown: Json) -> Counters:
    """Return what a tunnel has carried, and what is measured of it."""
    drops = _object(shown["drops"]).values()
    keys = ("in_bytes", "out_bytes", "in_packets", "out_packets", "in_bps", "out_bps")
    trips = _object(shown["round_trip"])
    return Counters.model_validate(
        {
            **{key: shown[key] for key in keys},
            "drops": sum(int(str(one)) for one in drops),
            **{side: trips.get(side) for side in ("inside", "outside")},
        }
    )


def why(reason: Json) -> Why:
    """Return a reason; a peer's words in it are cut to what a message may have."""
    keys = ("code", "text", "ours", "theirs", "hint")
    return Why(**{key: str(reason.get(key, ""))[:2000] for key in keys})


def _object(value: object) -> Json:
    return value if isinstance(value, Mapping) else {}


def _objects(value: object) -> list[Json]:
    return [_object(each) for each in value] if isinstance(value, list) else []
