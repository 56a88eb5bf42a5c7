"""`twinspan bgp` and `routes`: who we speak BGP with, and where each prefix goes and why."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.client import (
    DEFAULT_RUNTIME_DIR,
    Json,
    Refused,
    RuntimeDir,
    ask_one,
    give_up,
)
from gateway.cli.output import AsJson, OutputOption, View, Watch, format_of, present
from gateway.cli.remote.session import ContextOption, TenantOption
from gateway.cli.show import is_fleet_meant
from gateway.cli.table import paint, table_by_gateway
from gateway.cli.table import table as table_of
from gateway.routing.tables import Table, is_in

_BGP_HEAD = (
    "NAME",
    "PEER",
    ">AS",
    "BGP",
    "BFD",
    "SINCE",
    ">LEARNED",
    ">REFUSED",
    ">ANNOUNCED",
    "LAST ERROR",
)
_ROUTES_HEAD = (
    "BORDER GATEWAY",
    "PREFIX",
    "STATE",
    "TYPE",
    "ORIGIN",
    "BY",
    "NEXT HOP",
    "AS PATH",
    "WHY",
)
_COLOURS = {"best": "green", "shares": "green", "refused": "red", "down": "red"}


def bgp(
    as_json: AsJson = False,
    output: OutputOption = None,
    watching: Watch = False,
    runtime_dir: RuntimeDir = Path(DEFAULT_RUNTIME_DIR),
) -> None:
    """Show every BGP session and line with its BFD. `*` marks what carries traffic."""
    view = View(
        partial(bgp_lines, colours=sys.stdout.isatty()),
        lambda answer: [str(peer["name"]) for peer in _objects(answer["peers"])],
        _session_states,
    )
    form = format_of(output, as_json)
    present(lambda: ask_one(runtime_dir, "bgp"), view, form, watching=watching)


def _session_states(answer: Json) -> dict[str, str]:
    """Return the state of each session as a line, without its counts."""
    return {
        str(peer["name"]): f"{_name(peer)}: {peer['state']}, bfd {peer['bfd']}"
        + (f": {peer['error']}" if peer["error"] else "")
        for peer in _objects(answer["peers"])
    }


def bgp_lines(answer: Json, *, colours: bool) -> list[str]:
    """Return the lines of `twinspan bgp`."""
    peers, birds = _objects(answer["peers"]), _objects(answer["birds"])
    static = _objects(answer["static_lines"])
    if not birds:
        return ['no connection has routing = "bgp", and there is no direct line']
    lines = [f"the state of BGP is not known: {bird['error']}" for bird in birds if bird["error"]]
    if not peers and not static:
        return lines
    rows = [_peer_row(peer, colours=colours) for peer in peers]
    rows += [_line_row(line, colours=colours) for line in static]
    gateways = [_gateway(each) for each in (*peers, *static)]
    lines += table_by_gateway(_BGP_HEAD, rows, gateways)
    for peer in peers:
        if peer["limit_hit"]:
            lines.append(
                f"{_name(peer)}: the peer announces more than bgp_prefix_limit"
                f" {peer['prefix_limit']}: the rest is left out"
            )
    return lines


def _peer_row(peer: Json, *, colours: bool) -> tuple[str, ...]:
    is_up = peer["state"] == "established"
    state = str(peer["state"]) + ("*" if peer["active"] else "")
    return (
        _name(peer),
        str(peer["remote"]),
        str(peer["asn"]),
        paint(state, "green" if is_up else "red", colours=colours),
        str(peer["bfd"]),
        str(peer["since"]).partition(".")[0],
        str(peer["imported"]),
        str(peer["refused"]),
        str(peer["exported"]),
        str(peer["error"]),
    )


def _line_row(line: Json, *, colours: bool) -> tuple[str, ...]:
    """Return the row of a line without a session: what is known of it is its BFD."""
    state = "static" + ("*" if line["active"] else "")
    is_well = line["bfd"] in ("up", "off")
    shown = paint(state, "green" if is_well else "red", colours=colours)
    return (_name(line), str(line["remote"]), "", shown, str(line["bfd"]), *[""] * 5)


def routes(
    as_json: AsJson = False,
    table: Annotated[
        Table | None,
        typer.Option(
            help="one table: static, propagated (of attachments and learned) or effective (those"
            " that carry traffic); without it, all routes and why those lost that did"
        ),
    ] = None,
    border_gateway: Annotated[
        str | None, typer.Option(help="only routes of this Border Gateway", show_default=False)
    ] = None,
    output: OutputOption = None,
    watching: Watch = False,
    fleet: Annotated[
        bool, typer.Option("--fleet", help="ask the control plane, also where a gateway runs")
    ] = False,
    context: ContextOption = None,
    tenant: TenantOption = None,
    runtime_dir: RuntimeDir = Path(DEFAULT_RUNTIME_DIR),
) -> None:
    """
    Show every route to and from the customers: what became of it, and why. Where no gateway runs,
    the control plane asks the nodes.
    """
    view = View(
        partial(routes_lines, colours=sys.stdout.isatty()),
        lambda answer: [str(route["prefix"]) for route in _objects(answer["routes"])],
        _route_states,
    )
    form = format_of(output, as_json)
    if is_fleet_meant(runtime_dir, context, fleet=fleet):
        # Imported here: a node has no use for it.
        from gateway.cli.remote.asked import routes_of_fleet
        from gateway.cli.remote.session import speaking

        with speaking(context, tenant) as api:
            return present(
                lambda: routes_of_fleet(api, table, border_gateway), view, form, watching=watching
            )
    return present(
        lambda: chosen(ask_one(runtime_dir, "routes"), table, border_gateway),
        view,
        form,
        watching=watching,
    )


def _route_states(answer: Json) -> dict[str, str]:
    """Return what became of each route as a line."""
    return {
        " ".join(str(route[key]) for key in ("border_gateway", "prefix", "owner")): (
            f"{route['prefix']} of {_owner(route)}: {route['standing']}: {route['why']}"
        )
        for route in _objects(answer["routes"])
    }


def chosen(answer: Json, table: Table | None, border_gateway: str | None) -> Json:
    """
    Return of an answer's routes those of one table and one Border Gateway.

    Ends the program with a message if the gateway has none of that name.
    """
    known = _objects(answer.get("border_gateways"))
    names = {str(one["name"]): str(one["title"]) for one in known}
    if known and border_gateway not in (None, *names, *names.values()):
        there = ", ".join(f"{name} ({title})" if title else name for name, title in names.items())
        text = f"no Border Gateway is named {border_gateway!r}; there are: {there}"
        give_up(Refused(text))
    found = [
        route
        for route in _objects(answer["routes"])
        if is_in(table, route["origin"], route["standing"])
        and border_gateway in (None, route["border_gateway"], route.get("border_gateway_title"))
    ]
    return {**answer, "routes": found}


def routes_lines(answer: Json, *, colours: bool) -> list[str]:
    """Return the lines of `twinspan routes`, those of each Border Gateway together."""
    found = sorted(_objects(answer["routes"]), key=_gateway)
    notes = answer.get("notes")
    lines = [str(note) for note in notes] if isinstance(notes, list) else []
    if answer.get("left_off"):
        lines.append(f"and {answer['left_off']} routes more: ask for one table")
    if not found:
        return ["no routes", *lines]
    rows = [_route_row(route, colours=colours) for route in found]
    if len({route["border_gateway"] for route in found}) == 1:
        return table_of(_ROUTES_HEAD[1:], [row[1:] for row in rows]) + lines
    return table_of(_ROUTES_HEAD, rows) + lines


def _route_row(route: Json, *, colours: bool) -> tuple[str, ...]:
    standing = str(route["standing"])
    colour = _COLOURS.get(standing)
    hops = route["next_hops"]
    return (
        _gateway(route),
        str(route["prefix"]),
        paint(standing, colour, colours=colours) if colour else standing,
        str(route["next_hop_type"]).replace("_", " "),
        str(route["origin"]),
        _owner(route),
        ", ".join(str(hop) for hop in hops) if isinstance(hops, list) else "",
        str(route["as_path"]),
        str(route["why"]),
    )


def _name(way: Json) -> str:
    """Return what people call a session or line."""
    return str(way.get("title") or way["name"])


def _owner(route: Json) -> str:
    return str(route.get("owner_title") or route["owner"])


def _gateway(shown: Json) -> str:
    return str(shown.get("border_gateway_title") or shown["border_gateway"])


def _objects(value: object) -> list[Json]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
