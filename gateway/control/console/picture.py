"""
The topology as a picture: what is behind us, our gateways, the tunnels, the customers. Pure.

It is SVG made here, so that it is in the page before any script runs; the scripts change classes of
what has `data-tunnel`. The connections that need somebody come first; of very many the rest is told
as a number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup, escape

from gateway.control.console.states import WORST_FIRST, look_of, node_state, state_of, worst

Table = Mapping[str, Any]

SHOWN = 12  # connections
ROW = 64
WIDTH = 980
_VPC_X, _GATEWAY_X, _CUSTOMER_X = 16, 300, 770
_BOX_W, _BOX_H = 190, 44
_NODE_X, _NODE_W, _NODE_H = 530, 104, 26


@dataclass(frozen=True, slots=True)
class Scene:
    """What is in the picture."""

    gateways: Sequence[Table]
    attachments: Sequence[Table]
    customers: Mapping[str, Table]  # by id
    connections: Sequence[Table]
    tunnels: Mapping[str, Sequence[Table]]  # by connection
    nodes: Mapping[str, Table] = field(default_factory=dict)  # by id; a tenant sees none


def topology(scene: Scene) -> Markup:
    """Return the picture as SVG; nothing if there is nothing to show."""
    shown = sorted(scene.connections, key=lambda one: _urgency(scene, one))[:SHOWN]
    groups: dict[str, list[Table]] = defaultdict(list)
    for connection in shown:
        groups[str(connection["border_gateway"])].append(connection)
    if not scene.gateways:
        return Markup("")
    parts, y = [], 24
    for gateway in scene.gateways:
        ours = groups.get(str(gateway["id"]), [])
        if not ours and shown:
            continue
        parts.append(_group(scene, gateway, ours, y))
        y += ROW * max(1, len(ours), len(_attached(scene, gateway))) + 16
    left = len(scene.connections) - len(shown)
    if left:
        parts.append(_text(WIDTH // 2, y + 8, f"and {left} connections more", "note"))
        y += 24
    head = Markup(
        '<svg class="topology" viewBox="0 0 {} {}" role="group" aria-labelledby="topology-title">'
        '<title id="topology-title">{}</title>'
    ).format(WIDTH, y, _summary(scene))
    return head + Markup("").join(parts) + Markup("</svg>")


def _urgency(scene: Scene, connection: Table) -> tuple[int, str]:
    states = [state_of(tunnel) for tunnel in scene.tunnels.get(str(connection["id"]), ())]
    return WORST_FIRST.index(worst(states)), str(connection["name"])


def _summary(scene: Scene) -> str:
    up = sum(state_of(one) == "up" for group in scene.tunnels.values() for one in group)
    total = sum(len(group) for group in scene.tunnels.values())
    return f"{len(scene.connections)} connections with {total} tunnels, {up} of them up"


def _attached(scene: Scene, gateway: Table) -> list[Table]:
    return [one for one in scene.attachments if one["border_gateway"] == gateway["id"]]


def _group(scene: Scene, gateway: Table, connections: Sequence[Table], y: int) -> Markup:
    """Return one Border Gateway in the middle, what it joins at both sides."""
    attached = _attached(scene, gateway)
    height = ROW * max(1, len(connections), len(attached))
    centre = y + height // 2
    nodes = _nodes(scene, connections, y, height)
    parts = [_line(_GATEWAY_X + _BOX_W, centre, _NODE_X, at, "wire") for at in nodes.values()]
    for at, attachment in enumerate(attached):
        row = y + (at * 2 + 1) * height // (2 * len(attached))
        parts.append(_line(_VPC_X + _BOX_W, row, _GATEWAY_X, centre, "wire"))
        cidrs = ", ".join(attachment.get("cidrs") or ()) or "no prefixes"
        parts.append(_box(_VPC_X, row, attachment, "vpc-attachments", cidrs, "vpc"))
    for at, connection in enumerate(connections):
        row = y + (at * 2 + 1) * height // (2 * len(connections))
        parts.append(_tunnels(scene.tunnels.get(str(connection["id"]), ()), nodes, centre, row))
        customer = scene.customers.get(str(connection["customer_gateway"]), {})
        asn = customer.get("asn")
        under = str(customer.get("name", "")) + (f" · AS {asn}" if asn else "")
        parts.append(_box(_CUSTOMER_X, row, connection, "vpn-connections", under, "customer"))
    parts += [_node(scene.nodes[id], at) for id, at in nodes.items()]
    under = f"AS {gateway.get('asn')}"
    parts.append(_box(_GATEWAY_X, centre, gateway, "border-gateways", under, "gateway"))
    return Markup("").join(parts)


def _nodes(scene: Scene, connections: Sequence[Table], y: int, height: int) -> dict[str, int]:
    """Return where the nodes stand that carry these connections' tunnels: y by id."""
    tunnels = [one for it in connections for one in scene.tunnels.get(str(it["id"]), ())]
    used = {str(one.get("node")) for one in tunnels} & scene.nodes.keys()
    ids = sorted(used, key=lambda id: str(scene.nodes[id]["name"]))
    return {id: y + (at * 2 + 1) * height // (2 * len(ids)) for at, id in enumerate(ids)}


def _node(node: Table, y: int) -> Markup:
    look = look_of(node_state(node))
    return Markup(
        '<a href="/console/nodes/{id}"><g class="node {style}"><title>node {full}: {word}</title>'
        '<rect x="{x}" y="{top}" width="{w}" height="{h}" rx="{round}"/>'
        '<text x="{middle}" y="{line}">{symbol}{name}</text></g></a>'
    ).format(
        id=node["id"],
        style=look.style,
        full=node["name"],
        word=look.word,
        x=_NODE_X,
        top=y - _NODE_H // 2,
        w=_NODE_W,
        h=_NODE_H,
        round=_NODE_H // 2,
        middle=_NODE_X + _NODE_W // 2,
        line=y + 4,
        symbol="" if look.style == "up" else f"{look.symbol} ",
        name=_short(str(node["name"]), 13),
    )


def _tunnels(
    tunnels: Sequence[Table], nodes: Mapping[str, int], gateway_y: int, to_y: int
) -> Markup:
    """Return a curve for each tunnel of a connection, a little apart from each other."""
    right = _CUSTOMER_X
    parts = []
    for at, tunnel in enumerate(tunnels):
        state = state_of(tunnel)
        from_y = nodes.get(str(tunnel.get("node")), gateway_y)
        left = (_NODE_X + _NODE_W) if str(tunnel.get("node")) in nodes else _GATEWAY_X + _BOX_W
        middle = (left + right) // 2
        apart = round((at - (len(tunnels) - 1) / 2) * 12)
        begin, end = f"M{left},{from_y + apart // 2}", f"{right},{to_y + apart // 2}"
        curve = f"{begin} C{middle},{from_y + apart} {middle},{to_y + apart} {end}"
        look = look_of(state)
        parts.append(
            Markup(
                '<a href="/console/vpn-tunnels/{id}"><path class="tunnel {style}" d="{curve}" '
                'data-tunnel="{id}"><title>{name}: {word}{why}</title></path></a>'
            ).format(
                id=tunnel["id"],
                style=look.style,
                curve=curve,
                name=tunnel["name"],
                word=look.word,
                why=_why(tunnel),
            )
        )
    return Markup("").join(parts)


def _why(tunnel: Table) -> str:
    reason = (tunnel.get("status") or {}).get("reason")
    return f" ({reason['code']})" if reason else ""


def _box(x: int, y: int, resource: Table, path: str, under: str, style: str) -> Markup:
    return Markup(
        '<a href="/console/{path}/{id}"><g class="box {style}">'
        '<rect x="{x}" y="{top}" width="{w}" height="{h}" rx="8"/>'
        '<text class="name" x="{middle}" y="{first}">{name}</text>'
        '<text class="under" x="{middle}" y="{second}">{under}</text></g></a>'
    ).format(
        path=path,
        id=resource["id"],
        style=style,
        x=x,
        top=y - _BOX_H // 2,
        w=_BOX_W,
        h=_BOX_H,
        middle=x + _BOX_W // 2,
        first=y - 3,
        second=y + 14,
        name=_short(str(resource["name"]), 24),
        under=_short(under, 32),
    )


def _line(x1: int, y1: int, x2: int, y2: int, style: str) -> Markup:
    middle = (x1 + x2) // 2
    return Markup('<path class="{}" d="M{},{} C{},{} {},{} {},{}"/>').format(
        style, x1, y1, middle, y1, middle, y2, x2, y2
    )


def _text(x: int, y: int, text: str, style: str) -> Markup:
    return Markup('<text class="{}" x="{}" y="{}">{}</text>').format(style, x, y, text)


def _short(text: str, most: int) -> Markup:
    return escape(text if len(text) <= most else text[: most - 1] + "…")


def timeline(spans: Sequence[tuple[float, float, str]], begin: float, end: float) -> Markup:
    """
    Return a bar of the states of a tunnel from one moment to another, in seconds since 1970.

    `spans` are from, to, and state; what no span covers is unknown.
    """
    width = 960
    scale = width / max(1.0, end - begin)
    bars = []
    for start, stop, state in spans:
        left, right = max(start, begin), min(stop, end)
        if right > left:
            look = look_of(state)
            bars.append(
                Markup(
                    '<rect class="{}" x="{:.1f}" y="0" width="{:.1f}" height="22">'
                    "<title>{}</title></rect>"
                ).format(look.style, (left - begin) * scale, (right - left) * scale, look.word)
            )
    return (
        Markup(
            '<svg class="timeline" viewBox="0 0 {w} 22" preserveAspectRatio="none" role="img" '
            'aria-label="states of the last hours"><rect class="unknown" width="{w}" height="22"/>'
        ).format(w=width)
        + Markup("").join(bars)
        + Markup("</svg>")
    )
