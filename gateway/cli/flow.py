"""`twinspan path`: which tunnel carries a flow, and why; or why none does."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.client import DEFAULT_RUNTIME_DIR, RuntimeDir, ask_one
from gateway.cli.output import AsJson, Json, OutputOption, View, Watch, format_of, present
from gateway.cli.remote.session import ContextOption, TenantOption
from gateway.cli.show import Fleet, is_fleet_meant
from gateway.cli.table import paint

EXIT_NOT_CARRIED = 1
_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58}
_WELL = ("carried", "local")


def path(
    source: Annotated[str, typer.Argument(help="address that the packets come from")],
    destination: Annotated[str, typer.Argument(help="address that they go to")],
    proto: Annotated[
        str | None,
        typer.Option(
            help="tcp, udp, icmp or a number",
            show_default=False,
            autocompletion=lambda incomplete: [p for p in _PROTOCOLS if p.startswith(incomplete)],
        ),
    ] = None,
    sport: Annotated[int, typer.Option(min=0, max=65535, help="source port; 0: any")] = 0,
    dport: Annotated[int, typer.Option(min=0, max=65535, help="destination port; 0: any")] = 0,
    border_gateway: Annotated[
        str | None, typer.Option(help="look only into this Border Gateway", show_default=False)
    ] = None,
    as_json: AsJson = False,
    output: OutputOption = None,
    watching: Watch = False,
    fleet: Fleet = False,
    context: ContextOption = None,
    tenant: TenantOption = None,
    runtime_dir: RuntimeDir = Path(DEFAULT_RUNTIME_DIR),
) -> None:
    """
    Say which tunnel carries a flow, and why: the kernel is asked, for these very ports. If nothing
    carries it, why not. The status is 1 then.

    Where no gateway runs and a control plane is known, or with --fleet, the nodes are asked by it.
    """
    asked: Json = {
        "source": source,
        "destination": destination,
        "protocol": _protocol(proto),
        "source_port": sport,
        "destination_port": dport,
    }
    if border_gateway is not None:
        asked["border_gateway"] = border_gateway
    if is_fleet_meant(runtime_dir, context, fleet=fleet):
        # Imported here: a node has no use for it.
        from gateway.cli.remote.explain import show_path

        given = {key: str(value) for key, value in asked.items() if value}
        is_well = show_path(given, format_of(output, as_json), context, tenant, watching=watching)
        raise typer.Exit(0 if is_well else EXIT_NOT_CARRIED)
    view = View(partial(path_lines, colours=sys.stdout.isatty()), _names, _states)
    answer: Json = {}

    def ask() -> Json:
        answer.update(ask_one(runtime_dir, "path", **asked))
        return answer

    present(ask, view, format_of(output, as_json), watching=watching)
    if not any(place["verdict"] in _WELL for place in _objects(answer["places"])):
        raise typer.Exit(EXIT_NOT_CARRIED)


def _protocol(text: str | None) -> int:
    if text is None:
        return 0
    number = _PROTOCOLS.get(text.lower(), int(text) if text.isdecimal() else -1)
    if not 0 <= number <= 255:
        known = ", ".join(_PROTOCOLS)
        raise typer.BadParameter(
            f"{text!r} is none of {known}, and no number to 255", param_hint="--proto"
        )
    return number


def path_lines(answer: Json, *, colours: bool) -> list[str]:
    """Return the lines of `twinspan path`."""
    places = _objects(answer["places"])
    lines = [_flow(answer)]
    for place in places:
        lines += _place(place, colours=colours)
    return lines


def _flow(answer: Json) -> str:
    numbers = {number: name for name, number in _PROTOCOLS.items()}
    protocol = answer["protocol"]
    words = [f"{answer['source']} to {answer['destination']}"]
    if protocol:
        words.append(numbers.get(int(str(protocol)), f"protocol {protocol}"))
    if answer["source_port"] or answer["destination_port"]:
        words.append(f"port {answer['source_port'] or '*'} to {answer['destination_port'] or '*'}")
    return ", ".join(words)


def _place(place: Json, *, colours: bool) -> list[str]:
    owners = place["border_gateways"]
    assert isinstance(owners, list)
    where = f"  in        {', '.join(owners) or 'no border gateway'}"
    if place["namespace"]:
        where += f", namespace {place['namespace']}"
    came_by = (
        _way(place["came_by"]) if place["came_by"] else "this machine, or there is no way back"
    )
    lines = [where, f"  from      {came_by}", *_routes(place)]
    if place["leaves_by"]:
        lines.append(f"  by        {_way(place['leaves_by'])}")
    lines += _tunnel(_object(place["tunnel"]), _object(place["selectors"]))
    verdict = str(place["verdict"])
    shown = paint(verdict, "green" if verdict in _WELL else "red", colours=colours)
    return [*lines, f"{shown}: {place['why']}"]


def _routes(place: Json) -> list[str]:
    route = _object(place["route"])
    lines = []
    if route:
        kind = f"{route['kind']} " if route["kind"] != "unicast" else ""
        lines.append(f"  route     {kind}{route['prefix']} metric {route['metric']}, {route['by']}")
    if place["picked_by"]:
        for hop in _objects(place["next_hops"]):
            mark = f", picked by {place['picked_by']}" if hop["picked"] else ""
            lines.append(f"  shared    {_way(hop)} weight {hop['weight']}{mark}")
    for one in _objects(place["candidates"]):
        lines.append(
            f"  choice    {one['prefix']} by {one['owner']}: {one['standing']}: {one['why']}"
        )
    return lines


def _tunnel(tunnel: Json, selectors: Json) -> list[str]:
    if not tunnel:
        return []
    state = f"{tunnel['status']}, standing {tunnel['standing']}"
    lines = [
        f"  tunnel    {_titled(tunnel)} of {tunnel['connection']}: {state},"
        f" {tunnel['local']} - {tunnel['remote']}, MTU {tunnel['mtu']}"
    ]
    if selectors:
        sides = (", ".join(_texts(selectors[key])) for key in ("local_ts", "remote_ts"))
        lines.append(f"  selectors {' === '.join(sides)}")
    return lines


def _titled(tunnel: Json) -> str:
    """Return a tunnel's name with the title for people beside it, where there is one."""
    return f"{tunnel['name']} ({tunnel['title']})" if tunnel["title"] else str(tunnel["name"])


def _way(value: object) -> str:
    way = _object(value)
    return (
        f"{way['interface']} ({way['kind']} {way['name']})"
        if way["name"]
        else str(way["interface"])
    )


def _names(answer: Json) -> list[str]:
    """Return what carries the flow: tunnels, lines, attachments."""
    places = [place for place in _objects(answer["places"]) if place["verdict"] == "carried"]
    return [str(_object(place["leaves_by"])["name"]) for place in places]


def _states(answer: Json) -> dict[str, str]:
    return {
        str(place["namespace"]): f"{place['verdict']}: {place['why']}"
        for place in _objects(answer["places"])
    }


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[Json]:
    return [_object(each) for each in value] if isinstance(value, list) else []


def _texts(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []
