"""
The status of a gateway as Prometheus reads it. Pure.

Every tunnel that there should be has all its series, also one that is down or could not be made: a
series that is missing alarms nobody.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from gateway.node.failovers import Failovers
from gateway.prometheus.text import Sample, family, histograms, labelled, text_of

Json = Mapping[str, Any]

_TUNNEL_COUNTERS = {
    "in_bytes": "bytes of inner packets that came out of the tunnel",
    "out_bytes": "bytes of inner packets that went into the tunnel",
    "in_packets": "inner packets that came out of the tunnel",
    "out_packets": "inner packets that went into the tunnel",
    "in_esp_bytes": "bytes of ESP packets received, from SPI to ICV",
    "out_esp_bytes": "bytes of ESP packets sent, from SPI to ICV",
}


def metrics_text(status: Json, failovers: Failovers) -> str:
    """Return all series of a status, as `StatusView.figures` has it, and of the failovers."""
    return text_of(
        [
            *_process(status),
            *_tunnels(status["tunnels"], _titles(status["connections"])),
            *_connections(status["connections"], failovers),
            *_neighbours(status["neighbours"]),
            *_setups(status["counters"].get("ike", {})),
            *_counters(status["counters"], status["workers"]),
        ]
    )


def _titles(connections: Iterable[Json]) -> dict[str, str]:
    """Return what people call each connection."""
    return {one["name"]: one.get("title") or one["name"] for one in connections}


def _process(status: Json) -> Iterator[list[str]]:
    info = labelled({"version": status["version"], "gateway": status["gateway"]})
    yield family("twinspan_info", "gauge", "this gateway and its version", [(info, 1)])
    text = "seconds since the gateway process began"
    yield family("twinspan_uptime_seconds", "gauge", text, [("", status["since_s"])])
    notes = status.get("notes") or ()
    text = "things that status tells an operator to look at"
    yield family("twinspan_notes", "gauge", text, [("", len(notes))])


# ---- tunnels ----


def _tunnels(tunnels: Iterable[Json], titles: Mapping[str, str]) -> Iterator[list[str]]:
    named = [(_tunnel_labels(one, titles), one) for one in tunnels]
    plain = [(labelled(labels), one) for labels, one in named]
    for name, text, value in _GAUGES:
        samples = [(labels, value(one)) for labels, one in plain]
        yield family(f"twinspan_tunnel_{name}", "gauge", text, samples)
    states = [
        (labelled({**labels, "state": one["status"], "reason": _reason(one)}), 1)
        for labels, one in named
    ]
    yield family("twinspan_tunnel_state", "gauge", "the state of a tunnel, and why", states)
    for name, text in _TUNNEL_COUNTERS.items():
        samples = [(labels, int(one.get(name, 0))) for labels, one in plain]
        yield family(f"twinspan_tunnel_{name}_total", "counter", text, samples)
    dropped = [(labels, sum(one["drops"].values())) for labels, one in plain]
    text = "dropped packets, for whatever reason"
    yield family("twinspan_tunnel_dropped_packets_total", "counter", text, dropped)
    yield _rekeys(plain)
    yield from _measured(plain)
    yield from _of_some(named)


def _tunnel_labels(tunnel: Json, titles: Mapping[str, str]) -> dict[str, object]:
    return {
        "tunnel": tunnel.get("title") or tunnel["name"],
        "id": tunnel["name"],
        "connection": titles.get(tunnel["connection"], tunnel["connection"]),
        "border_gateway": tunnel["border_gateway"],
    }


def _reason(tunnel: Json) -> str:
    reason = tunnel.get("reason")
    return str(reason["code"]) if reason else ""


_GAUGES: tuple[tuple[str, str, Callable[[Json], float]], ...] = (
    ("up", "1 if it carries traffic", lambda one: one["status"] == "up"),
    ("admin_up", "1 if it is allowed to be up", lambda one: one["admin"] == "up"),
    ("active", "1 if its connection's traffic goes this way", lambda one: bool(one["active"])),
    ("in_bits_per_second", "inner traffic that comes out now", lambda one: one["in_bps"]),
    ("out_bits_per_second", "inner traffic that goes in now", lambda one: one["out_bps"]),
    (
        "last_change_timestamp_seconds",
        "when it went up or down, in seconds since 1970",
        lambda one: one.get("since") or 0,
    ),
    ("mtu_bytes", "largest inner packet", lambda one: one.get("mtu") or 0),
    ("ike_sa_age_seconds", "age of its IKE SA", lambda one: one["ike"].get("age_s") or 0),
    (
        "child_sa_age_seconds",
        "age of its oldest Child SA in use",
        lambda one: max((each["age_s"] for each in one["children"] if each["sends"]), default=0),
    ),
    ("ike_attempts", "attempts to set it up since it was up", lambda one: _attempts(one)),
)


def _attempts(tunnel: Json) -> int:
    return 0 if tunnel["status"] == "up" else int(tunnel["ike"].get("attempts") or 0)


_MEASURED = (
    ("rtt_seconds", "rtt_ms", 1e-3, "mean round trip over the last minute"),
    ("rtt_min_seconds", "min_ms", 1e-3, "shortest round trip of the last minute"),
    ("rtt_max_seconds", "max_ms", 1e-3, "longest round trip of the last minute"),
    ("rtt_jitter_seconds", "jitter_ms", 1e-3, "mean difference from one round trip to the next"),
    ("loss_ratio", "loss_percent", 1e-2, "part of the echo requests of the last minute lost"),
)
_SIDES = ("inside", "outside")


def _measured(plain: list[tuple[str, Json]]) -> Iterator[list[str]]:
    """Yield round trip and loss of all tunnels; NaN where nobody answers or nothing is measured."""
    sides = [
        (f'{labels[:-1]},path="{side}"}}', (one.get("round_trip") or {}).get(side) or {})
        for labels, one in plain
        for side in _SIDES
    ]
    for name, key, scale, text in _MEASURED:
        samples = [(labels, _scaled(side.get(key), scale)) for labels, side in sides]
        yield family(f"twinspan_tunnel_{name}", "gauge", text, samples)
    answered = [(labels, side.get("state") == "answered") for labels, side in sides]
    text = "1 if echo requests, or outside IKE, were answered of late"
    yield family("twinspan_tunnel_answered", "gauge", text, answered)


def _scaled(value: float | None, scale: float) -> float:
    return math.nan if value is None else round(value * scale, 9)


def _rekeys(plain: list[tuple[str, Json]]) -> list[str]:
    samples: list[Sample] = [
        (f'{labels[:-1]},sa="{sa}"}}', one["rekeys"][sa])
        for labels, one in plain
        for sa in ("ike", "child")
    ]
    return family("twinspan_tunnel_rekeys_total", "counter", "rekeys of its SAs", samples)


def _of_some(named: list[tuple[dict[str, object], Json]]) -> Iterator[list[str]]:
    """Yield what only some tunnels have: drops by reason, BGP, BFD, probes."""
    drops = [
        (labelled({**labels, "reason": reason}), count)
        for labels, one in named
        for reason, count in one["drops"].items()
    ]
    yield family("twinspan_tunnel_drops_total", "counter", "dropped packets, by reason", drops)
    bgp = [(labelled(labels), one["bgp"]) for labels, one in named if one.get("bgp")]
    text = "1 if the BGP session in it is established"
    up = [(labels, session.get("state") == "established") for labels, session in bgp]
    yield family("twinspan_tunnel_bgp_established", "gauge", text, up)
    text = "1 if BFD in it is up"
    bfd = [(labels, one["bfd"] == "up") for labels, one in bgp if one["bfd"] != "off"]
    yield family("twinspan_tunnel_bfd_up", "gauge", text, bfd)
    probes = [(labelled(labels), one["probe"]) for labels, one in named if one.get("probe")]
    for key, name, text, scale in (
        ("rtt_ms", "probe_rtt_seconds", "round trip of the last probe through it", 1e-3),
        ("loss_percent", "probe_loss_ratio", "part of the last probes that was lost", 1e-2),
    ):
        samples = [
            (labels, probe[key] * scale) for labels, probe in probes if probe.get(key) is not None
        ]
        yield family(f"twinspan_tunnel_{name}", "gauge", text, samples)


# ---- connections, and the whole gateway ----


def _connections(connections: Iterable[Json], failovers: Failovers) -> Iterator[list[str]]:
    labels_of = [(_connection_labels(one), one) for one in connections]
    named = [(labelled(labels), one) for labels, one in labels_of]
    redundant = [(labels, one["ha_status"] == "redundancy") for labels, one in named]
    text = "1 if it outlives the loss of any one address"
    yield family("twinspan_connection_redundant", "gauge", text, redundant)
    working = [(labels, one["working"]) for labels, one in named]
    text = "tunnels of it that work"
    yield family("twinspan_connection_working_tunnels", "gauge", text, working)
    text = "times that its traffic left a tunnel that had failed"
    counts = [(labels, failovers.counts[one["name"]]) for labels, one in named]
    yield family("twinspan_connection_failovers_total", "counter", text, counts)
    text = "how long nothing came in in a failover, where that is known"
    silences = [(labels, failovers.of(one["name"])) for labels, one in labels_of]
    yield histograms("twinspan_connection_failover_silence_seconds", text, silences)


def _neighbours(neighbours: Iterable[Json]) -> Iterator[list[str]]:
    """Yield the sessions of direct lines and of VPC routers."""
    named = [
        (labelled({key: one[key] for key in ("name", "kind", "border_gateway")}), one)
        for one in neighbours
    ]
    for name, key, text in (
        ("bgp_established", "established", "1 if the BGP session with it is established"),
        ("bfd_up", "bfd_up", "1 if BFD with it is up"),
    ):
        samples = [(labels, one[key]) for labels, one in named if one[key] is not None]
        yield family(f"twinspan_neighbour_{name}", "gauge", text, samples)


def _connection_labels(connection: Json) -> dict[str, object]:
    return {
        "connection": connection.get("title") or connection["name"],
        "id": connection["name"],
        "border_gateway": connection["border_gateway"],
    }


# What is there from the start, so that a rate sees the first one. Others appear when they occur;
# there is one for each code of docs/events.md at most.
_REFUSALS = ("authentication_failed", "identity_mismatch", "no_proposal_chosen")
_KEPT_OUT = ("unknown_peer", "half_open_limit")


def _setups(ike: Mapping[str, int]) -> Iterator[list[str]]:
    """Yield what became of IKE SAs that were not set up: those of others, and our own."""
    refused = dict.fromkeys(_REFUSALS, 0) | _behind("refused.", ike)
    refused |= {reason: ike.get(f"drop.{reason}", 0) for reason in _KEPT_OUT}
    text = "set-ups that others began and that were not let in"
    yield family("twinspan_ike_refused_total", "counter", text, _by_reason(refused))
    text = "set-ups and rekeys of ours that failed"
    yield family("twinspan_ike_failed_total", "counter", text, _by_reason(_behind("failed.", ike)))


def _behind(head: str, counters: Mapping[str, int]) -> dict[str, int]:
    return {key[len(head) :]: value for key, value in counters.items() if key.startswith(head)}


def _by_reason(counts: Mapping[str, int]) -> list[Sample]:
    return [(labelled({"reason": reason}), count) for reason, count in counts.items()]


def _counters(counters: Json, each_worker: Iterable[Json]) -> Iterator[list[str]]:
    text = "what a worker of the data plane has counted"
    workers = [
        (labelled({"worker": number, "counter": key}), int(value))
        for number, each in enumerate(each_worker)
        for key, value in each.items()
    ]
    yield family("twinspan_worker_total", "counter", text, workers)
    for group, name, label, text in (
        ("ike", "twinspan_ike_total", "event", "what IKE has counted"),
        ("drops", "twinspan_drops_total", "reason", "dropped packets that belong to no tunnel"),
        ("send_errors", "twinspan_ike_send_errors_total", "error", "IKE datagrams not sent"),
    ):
        samples = [
            (labelled({label: key}), int(value)) for key, value in counters.get(group, {}).items()
        ]
        yield family(name, "counter", text, samples)
