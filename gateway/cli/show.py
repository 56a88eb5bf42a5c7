"""`twinspan status` and `explain`: what is, and why."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.client import (
    CONTROL_SOCKET,
    DEFAULT_RUNTIME_DIR,
    Json,
    RuntimeDir,
    ask_one,
    complete_tunnel,
)
from gateway.cli.output import AsJson, OutputOption, View, Watch, format_of, present
from gateway.cli.remote.contexts import is_chosen, local_socket
from gateway.cli.remote.session import ContextOption, TenantOption, usage_error
from gateway.cli.table import amount, duration, paint, shortened, table_by_gateway
from gateway.errors import ConfigError

Fleet = Annotated[
    bool, typer.Option("--fleet", help="ask the control plane, also where a gateway runs")
]
_HEAD = (
    "CONNECTION",
    "HA",
    "TUNNEL",
    "STATE",
    "LOCAL",
    "REMOTE",
    "SUITE",
    "PQ",
    "SINCE",
    ">IN",
    ">OUT",
    ">RECEIVED",
    ">SENT",
    ">DROPS",
)
_COLOUR = {"up": "green", "connecting": "yellow", "down": "red"}


def status(
    as_json: AsJson = False,
    output: OutputOption = None,
    watching: Watch = False,
    fleet: Annotated[
        bool, typer.Option("--fleet", help="of all nodes, also where this machine is one")
    ] = False,
    context: ContextOption = None,
    tenant: TenantOption = None,
    runtime_dir: RuntimeDir = Path(DEFAULT_RUNTIME_DIR),
) -> None:
    """
    Show every tunnel: is it allowed, is it up, and why not. `*` marks the one that carries traffic.
    HA says whether the connection outlives the loss of any one address, ours or the customer's.
    PQ says whether its keys are safe from a quantum computer.

    Where no gateway runs and a control plane is known, or with --fleet: nodes, connections, and the
    tunnels that are not up.
    """
    form = format_of(output, as_json)
    if is_fleet_meant(runtime_dir, context, fleet=fleet):
        # Imported here: a node has no use for it.
        from gateway.cli.remote.fleet import show_fleet

        return show_fleet(form, context, tenant, watching=watching)
    view = View(
        partial(status_lines, colours=sys.stdout.isatty()),
        lambda answer: [str(tunnel["name"]) for tunnel in _objects(answer["tunnels"])],
        _states,
    )
    return present(lambda: ask_one(runtime_dir, "status"), view, form, watching=watching)


def is_fleet_meant(runtime_dir: Path, context: str | None, *, fleet: bool) -> bool:
    """Say whether `status` is about the fleet: if it is said so, or no gateway is here but that."""
    if fleet or context is not None:
        return True
    if (runtime_dir / CONTROL_SOCKET).exists():
        return False
    try:
        return is_chosen(os.environ) or local_socket(os.environ).exists()
    except ConfigError as error:
        usage_error(error)


def _states(answer: Json) -> dict[str, str]:
    """Return the state of each tunnel as a line, without what changes all the time."""
    lines = {}
    for tunnel in _objects(answer["tunnels"]):
        name, reason = str(tunnel["name"]), _object(tunnel["reason"])
        text = f"{name}: {tunnel['status']}" + (", carries traffic" if tunnel["active"] else "")
        lines[name] = text + (f": {_why(reason)}" if reason else "")
    return lines


def status_lines(answer: Json, *, colours: bool) -> list[str]:
    """Return the lines of `twinspan status`."""
    tunnels = _objects(answer["tunnels"])
    up = sum(tunnel["status"] == "up" for tunnel in tunnels)
    since = duration(_number(answer["since_s"]))
    head = f"{answer['gateway']}: {up} of {len(tunnels)} tunnels up"
    head += f", pid {answer['pid']}, since {since}"
    if generation := _object(answer.get("document")).get("generation"):
        head += f", generation {generation}"
    owners_of = {each["name"]: each for each in _objects(answer.get("connections"))}
    rows = [
        _row(tunnel, owners_of.get(tunnel["connection"], {}), colours=colours) for tunnel in tunnels
    ]
    lines = [paint(head, "bold", colours=colours)]
    owners = [str(tunnel["border_gateway"]) for tunnel in tunnels]
    lines += table_by_gateway(*_with_watch(rows, tunnels), owners) if rows else []
    for tunnel in tunnels:
        name = _titled(tunnel["name"], tunnel)
        if reason := _object(tunnel["reason"]):
            lines.append(f"{name}: {_why(reason)}")
        for refused in _objects(tunnel["refused"]):
            lines.append(f"{name}: a rekey is refused, tried again: {_why(refused)}")
        lines += [f"{name}: {line}" for line in _missing_pairs(tunnel)]
    lines += [_held(tunnel) for tunnel in tunnels if tunnel["causes"] and not tunnel["reason"]]
    if replaced := _object(answer.get("data_plane_replaced")):
        lines.append(_replaced(replaced))
    notes = answer["notes"]
    assert isinstance(notes, list)
    return lines + [f"note: {note}" for note in notes]


def _replaced(one: Json) -> str:
    """Return what the last other data plane process has cost."""
    at = datetime.fromtimestamp(_number(one["at"])).astimezone().isoformat(" ", "seconds")
    return (
        f"data plane replaced at {at}: {one['renewed']} of {one['tunnels']} tunnels have new keys,"
        f" silent for {one['silent_s']} s at most"
    )


def _with_watch(
    rows: list[tuple[str, ...]], tunnels: list[Json]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return head and rows; where a tunnel has BGP or probes, with them after the state."""
    head: tuple[str, ...] = _HEAD
    for title, key, text in (("PROBE", "probe", _probe), ("BGP", "bgp", _bgp)):
        found = [_object(tunnel.get(key)) for tunnel in tunnels]
        if any(found):
            at = head.index("STATE") + 1
            both = zip(rows, found, strict=True)
            rows = [(*row[:at], text(one) if one else "-", *row[at:]) for row, one in both]
            head = (*head[:at], title, *head[at:])
    return head, rows


def _probe(probe: Json) -> str:
    parts = [str(probe["state"])]
    if probe["rtt_mean_ms"] is not None:
        parts.append(f"{_number(probe['rtt_mean_ms']):.1f} ms")
    if probe["loss_percent"] is not None:
        parts.append(f"{_number(probe['loss_percent']):g}% lost")
    return ", ".join(parts)


def _bgp(session: Json) -> str:
    bfd = "" if session["bfd"] == "off" else f", bfd {session['bfd']}"
    return f"{session['state']}{bfd}, {session['imported']} in, {session['exported']} out"


def _titled(name: object, of: Json) -> str:
    """Return a name with the title for people beside it, where there is one."""
    return f"{name} ({of['title']})" if of.get("title") else str(name)


def _row(tunnel: Json, connection: Json, *, colours: bool) -> tuple[str, ...]:
    state = str(tunnel["status"])
    mark = "*" if tunnel["active"] else ""
    if tunnel["admin"] == "down":
        mark = " (admin down)"
    ike = _object(tunnel["ike"])
    children = _objects(tunnel["children"])
    drops = _object(tunnel["drops"])
    suite = children[-1]["suite"] if children else ike.get("suite", "-")
    return (
        _titled(tunnel["connection"], connection),
        str(connection.get("ha_status", "-")),
        _titled(tunnel["name"], tunnel),
        paint(state + mark, _COLOUR.get(state, "red"), colours=colours),
        str(tunnel["local"]),
        str(tunnel["remote"]),
        str(suite or "-"),
        _post_quantum(ike),
        duration(_number(tunnel["since_s"])),
        amount(_number(tunnel["in_bps"]), "bit/s"),
        amount(_number(tunnel["out_bps"]), "bit/s"),
        amount(_number(tunnel["in_bytes"]), "B"),
        amount(_number(tunnel["out_bytes"]), "B"),
        str(round(sum(_number(count) for count in drops.values()))),
    )


def _post_quantum(ike: Json) -> str:
    """Return whether what a tunnel carries withstands a quantum computer; "-" without keys."""
    if ike.get("state") != "established":
        return "-"
    return "yes" if ike.get("post_quantum") else "no"


def _missing_pairs(tunnel: Json) -> list[str]:
    """Return a line for each pair of prefixes without a Child SA, of a tunnel that is up."""
    if tunnel["status"] != "up":
        return []
    return [
        f"no Child SA for {_pair(pair)}" + (f": {_why(reason)}" if reason else "")
        for pair in _objects(tunnel.get("pairs"))
        if pair["status"] != "up"
        for reason in [_object(pair["reason"])]
    ]


def _pair(pair: Json) -> str:
    return f"{_listed(pair['local_ts'])} === {_listed(pair['remote_ts'])}"


def _pair_line(pair: Json) -> str:
    if pair["status"] != "up":
        return f"  pair      {_pair(pair)}: down"
    return (
        f"  pair      {_pair(pair)}: up, {pair['in_packets']} packets received,"
        f" {pair['out_packets']} sent"
    )


def _why(reason: Json) -> str:
    text = f"{reason['code']}: {reason['text']}"
    if reason["ours"] or reason["theirs"]:
        text += f" (ours: {shortened(reason['ours'])}; theirs: {shortened(reason['theirs'])})"
    return text + (f"; {reason['hint']}" if reason["hint"] else "")


_STANDINGS = {"demoted": "last choice", "withdrawn": "carries no traffic"}
_CAUSES = {
    "drain": "its traffic is being moved away",
    "failback": "it was down, traffic stays where it is",
    "damped": "it failed too often, and has to be quiet for some minutes",
    "probe": "nobody answers through it",
}


def _held(tunnel: Json) -> str:
    """Return why a tunnel that is up carries no traffic, or carries it as the last choice."""
    causes = tunnel["causes"]
    assert isinstance(causes, list)
    words = "; ".join(_CAUSES[cause] for cause in causes)
    return f"{_titled(tunnel['name'], tunnel)}: {_STANDINGS[str(tunnel['standing'])]}: {words}"


def complete_any_tunnel(incomplete: str) -> list[str]:
    """Return the tunnels that begin so: of the gateway here, else of the control plane."""
    # Imported here: only a shell that completes needs it.
    from gateway.cli.remote.names import completer

    return complete_tunnel(incomplete) or completer("tunnel")(incomplete)


_AnyTunnel = Annotated[
    str, typer.Argument(help="name or title of a VPN Tunnel", autocompletion=complete_any_tunnel)
]


def explain(
    tunnel: _AnyTunnel,
    as_json: AsJson = False,
    output: OutputOption = None,
    context: ContextOption = None,
    tenant: TenantOption = None,
    fleet: Fleet = False,
    runtime_dir: RuntimeDir = Path(DEFAULT_RUNTIME_DIR),
) -> None:
    """
    Say all that is known about one tunnel: state, reason, both ends' values, SAs, routes, drops.
    """
    form = format_of(output, as_json)
    if is_fleet_meant(runtime_dir, context, fleet=fleet):
        from gateway.cli.remote.explain import explain_tunnel

        return explain_tunnel(tunnel, form, context, tenant)
    view = View(explain_lines, lambda answer: [str(answer["name"])], lambda answer: {})
    return present(lambda: ask_one(runtime_dir, "explain", tunnel=tunnel), view, form)


def explain_lines(answer: Json) -> list[str]:
    """Return the lines of `twinspan explain`."""
    since = duration(_number(answer["since_s"]))
    lines = [
        f"{_titled(answer['name'], answer)} of {answer['connection']}: admin {answer['admin']},"
        f" {answer['status']} since {since}" + (", carries traffic" if answer["active"] else "")
    ]
    if answer["reason"]:
        reason = _object(answer["reason"])
        lines += [f"  why       {reason['code']}: {reason['text']}"]
        lines += [f"  {key:<9} {reason[key]}" for key in ("ours", "theirs", "hint") if reason[key]]
    for refused in _objects(answer["refused"]):
        lines += [f"  refused   {refused['code']}: {refused['text']}; it is tried again"]
        lines += [
            f"  {key:<9} {refused[key]}" for key in ("ours", "theirs", "hint") if refused[key]
        ]
    if answer["causes"]:
        lines += [f"  standing  {_held(answer).partition(': ')[2]}"]
    mtu = f"{answer['mtu']} bytes" if answer["mtu"] else "not known yet"
    lines += [
        f"  path      {answer['local']} - {answer['remote']}",
        f"  device    {answer['interface']}, MTU {mtu}",
    ]
    lines += _fields("ike", answer["ike"])
    lines += [_pair_line(pair) for pair in _objects(answer.get("pairs"))]
    for child in _objects(answer["children"]):
        lines += _fields("child", child)
    lines += _fields("probe", answer.get("probe"))
    trips = _object(answer.get("round_trip"))
    for side in ("inside", "outside"):
        lines += _fields(side, trips.get(side))
    lines += _fields("bgp", answer.get("bgp"))
    lines += _fields("wanted", answer["wanted"])
    drops = _object(answer["drops"])
    dropped = ", ".join(f"{name} {count}" for name, count in drops.items())
    lines += [
        f"  received  {amount(_number(answer['in_bytes']), 'B')}, {answer['in_packets']} packets",
        f"  sent      {amount(_number(answer['out_bytes']), 'B')}, {answer['out_packets']} packets",
        f"  drops     {dropped or 'none'}",
    ]
    return lines


def _fields(title: str, value: object) -> list[str]:
    lines = []
    for key, part in _object(value).items():
        shown = _listed(part) if isinstance(part, list) else part
        if shown not in (None, ""):
            lines.append(f"  {title:<9} {key} = {shown}")
    return lines


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[Json]:
    return [_object(each) for each in value] if isinstance(value, list) else []


def _listed(value: object) -> str:
    return ", ".join(str(one) for one in value) if isinstance(value, list) else str(value)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
