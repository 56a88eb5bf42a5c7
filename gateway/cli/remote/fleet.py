"""`twinspan status` as the control plane knows it: the whole fleet on one screen."""

from __future__ import annotations

import sys
from collections import Counter

from gateway.cli.output import Format, View, present
from gateway.cli.remote.http import Api, ApiRefused
from gateway.cli.remote.names import Names
from gateway.cli.remote.nouns import NOUNS, Json, cell, value_of
from gateway.cli.remote.session import speaking
from gateway.cli.table import paint, shortened, table

_NODES = ("NODE", "STATE", "ADDRESSES", "LAST REPORT", ">WANTED", ">APPLIED")
_CONNECTIONS = ("CONNECTION", "BORDER GATEWAY", "CUSTOMER GATEWAY", "HA", ">WORKING", ">TUNNELS")
_TUNNELS = ("NOT UP", "CONNECTION", "LOCAL", "REMOTE", "NODE", "ADMIN", "STATE", "WHY")
_COLOURS = {
    "up": "green",
    "redundancy": "green",
    "connecting": "yellow",
    "no_redundancy": "yellow",
    "new": "yellow",
}
_FEW = 8  # connections whose tunnels are asked for one by one, before all tunnels are


def show_fleet(form: Format, context: str | None, tenant: str | None, *, watching: bool) -> None:
    """Print nodes, connections and the tunnels that are not up."""
    view = View(
        lambda answer: fleet_lines(answer, colours=sys.stdout.isatty()),
        lambda answer: [str(each["name"]) for each in _objects(answer["not_up"])],
        _states,
    )
    with speaking(context, tenant) as api:
        present(lambda: fleet(api), view, form, watching=watching)


def fleet(api: Api) -> Json:
    """Return nodes (none if they are not ours to see), connections, and tunnels not up."""
    try:
        nodes = list(api.pages("/v1/nodes"))
    except ApiRefused as error:
        if error.status not in (403, 404):
            raise
        nodes = []
    connections = list(api.pages("/v1/vpn-connections"))
    names = Names(api)
    for one in connections:
        for key, noun in (("border_gateway", "bgw"), ("customer_gateway", "cgw")):
            one[f"{key}_name"] = names.of(noun, str(one[key]))
    return {"nodes": nodes, "connections": connections, "not_up": _not_up(api, connections)}


def _not_up(api: Api, connections: list[Json]) -> list[Json]:
    """Return the tunnels that are not up, asking for no more than is needed."""
    ill = [str(one["id"]) for one in connections if _working(one) < _tunnel_count(one)]
    path = NOUNS["tunnel"].path
    if len(ill) > _FEW:
        tunnels = list(api.pages(path))
    else:
        tunnels = [one for id in ill for one in api.pages(path, {"vpn_connection": id})]
    return [one for one in tunnels if value_of(one, "status.operational") != "up"]


def _working(connection: Json) -> int:
    working = value_of(connection, "status.working")
    if isinstance(working, list):
        return len(working)
    return working if isinstance(working, int) else 0


def _tunnel_count(connection: Json) -> int:
    tunnels = value_of(connection, "status.tunnels")
    return len(tunnels) if isinstance(tunnels, list) else 0


def fleet_lines(answer: Json, *, colours: bool) -> list[str]:
    """Return the lines of `twinspan status` of a fleet."""
    nodes, connections = _objects(answer["nodes"]), _objects(answer["connections"])
    tunnels = sum(_tunnel_count(one) for one in connections)
    up = sum(_working(one) for one in connections)
    states = Counter(str(value_of(node, "status.operational") or "unknown") for node in nodes)
    head = f"tunnels: {up} of {tunnels} up, connections: {len(connections)}"
    if nodes:
        counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        head += f", nodes: {counts}"
    lines = [paint(head, "bold", colours=colours)]
    names = _names(answer)
    if nodes:
        lines += ["", *table(_NODES, [_node_row(node, colours=colours) for node in nodes])]
    if connections:
        rows = [_connection_row(one, colours=colours) for one in connections]
        lines += ["", *table(_CONNECTIONS, rows)]
    if ill := _objects(answer["not_up"]):
        rows = [_tunnel_row(one, names, colours=colours) for one in ill]
        lines += ["", *table(_TUNNELS, rows)]
    return lines


def _names(answer: Json) -> dict[str, str]:
    """Return the names of nodes and connections by their ids."""
    both = (*_objects(answer["nodes"]), *_objects(answer["connections"]))
    return {str(one["id"]): str(one["name"]) for one in both}


def _node_row(node: Json, *, colours: bool) -> tuple[str, ...]:
    state = cell(value_of(node, "status.operational"))
    return (
        str(node["name"]),
        _painted(state, colours=colours),
        cell(node.get("public_addresses")),
        cell(value_of(node, "status.last_report_at")),
        cell(value_of(node, "status.generation_wanted")),
        cell(value_of(node, "status.generation_applied")),
    )


def _connection_row(one: Json, *, colours: bool) -> tuple[str, ...]:
    return (
        str(one["name"]),
        str(one["border_gateway_name"]),
        str(one["customer_gateway_name"]),
        _painted(cell(value_of(one, "status.ha_status")), colours=colours),
        str(_working(one)),
        str(_tunnel_count(one)),
    )


def _tunnel_row(one: Json, names: dict[str, str], *, colours: bool) -> tuple[str, ...]:
    return (
        str(one["name"]),
        names.get(str(one["vpn_connection"]), "-"),
        cell(one.get("local_address")),
        cell(one.get("remote_address")),
        names.get(cell(value_of(one, "status.node")), cell(value_of(one, "status.node"))),
        cell(value_of(one, "status.admin")),
        _painted(cell(value_of(one, "status.operational")), colours=colours),
        why(one),
    )


def _painted(state: str, *, colours: bool) -> str:
    return paint(state, _COLOURS.get(state, "red"), colours=colours) if state != "-" else state


def why(tunnel: Json) -> str:
    """Return the reason of a tunnel that is not up, in one line."""
    reason = value_of(tunnel, "status.reason")
    if not isinstance(reason, dict):
        return "-"
    text = f"{reason.get('code')}: {reason.get('text')}"
    ours, theirs, hint = (reason.get(key) for key in ("ours", "theirs", "hint"))
    if ours or theirs:
        text += f" (ours: {shortened(ours)}; theirs: {shortened(theirs)})"
    return text + (f"; {hint}" if hint else "")


def _states(answer: Json) -> dict[str, str]:
    """Return the state of each node, each connection and each tunnel that is not up, as a line."""
    lines = {}
    for node in _objects(answer["nodes"]):
        lines[f"node {node['name']}"] = (
            f"node {node['name']}: {value_of(node, 'status.operational')}"
        )
    for one in _objects(answer["connections"]):
        ha = cell(value_of(one, "status.ha_status"))
        text = f"{ha}, {_working(one)} of {_tunnel_count(one)} tunnels up"
        lines[str(one["id"])] = f"connection {one['name']}: {text}"
    for one in _objects(answer["not_up"]):
        state = value_of(one, "status.operational")
        lines[str(one["id"])] = f"tunnel {one['name']}: {state}: {why(one)}"
    return lines


def _objects(value: object) -> list[Json]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
