"""`twinspan explain` and `path` by the control plane, which asks the nodes."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping

from gateway.cli.flow import path_lines
from gateway.cli.output import Format, View, present
from gateway.cli.remote.names import found, path_of
from gateway.cli.remote.nouns import NOUNS, Json, cell
from gateway.cli.remote.session import speaking
from gateway.cli.show import explain_lines

_ID = re.compile(r"\b[a-z]{3,5}-[a-z2-7]{10}\b")
_WORDS = ("ours", "theirs", "hint")


def explain_tunnel(name: str, form: Format, context: str | None, tenant: str | None) -> None:
    """Print all that the control plane and the tunnel's node know about it."""
    view = View(explained, lambda answer: [str(answer["name"])], lambda answer: {})
    with speaking(context, tenant) as api:
        noun = NOUNS["tunnel"]
        place = path_of(noun, str(found(api, noun, name)["id"])) + "/explain"
        present(lambda: api.get(place), view, form)


def explained(answer: Json) -> list[str]:
    """Return the lines of `twinspan explain` from the control plane's answer."""
    names = {str(answer[key]): str(answer[f"{key}_name"]) for key in ("vpn_connection", "node")}
    names[str(answer["id"])] = str(answer["name"])
    details, refused = answer["details"], answer["not_answered"]
    if isinstance(details, dict):
        lines = explain_lines({**details, "title": ""})  # the name stands for the id: no title
    else:
        lines = _without_node(answer)
    lines.insert(1, f"  node      {answer['node_name'] or 'none'}{_refusal(refused)}")
    return [_with_names(line, names) for line in [*lines, *_failure(answer["last_failure"])]]


def _refusal(refused: object) -> str:
    """Return why a node has said nothing."""
    return f", not asked: {refused['detail']}" if isinstance(refused, dict) else ""


def _without_node(answer: Json) -> list[str]:
    """Return what the control plane knows by itself."""
    status = answer["status"]
    assert isinstance(status, dict)
    lines = [
        f"{answer['name']} of {answer['vpn_connection_name']}: admin {status.get('admin')},"
        f" {status.get('operational')} since {status.get('since') or 'unknown'}"
    ]
    if isinstance(reason := status.get("reason"), dict):
        lines += [f"  why       {reason.get('code')}: {reason.get('text')}"]
        lines += [f"  {key:<9} {reason[key]}" for key in _WORDS if reason.get(key)]
    told = ("admin", "operational", "since", "reason", "round_trip")
    lines += _fields("status", {key: one for key, one in status.items() if key not in told})
    trips = status.get("round_trip")
    for side, trip in trips.items() if isinstance(trips, dict) else ():
        lines += _fields(side, trip) if isinstance(trip, dict) else []
    wanted = answer["wanted"]
    return lines + (_fields("wanted", wanted) if isinstance(wanted, dict) else [])


def _failure(failure: object) -> list[str]:
    """Return what failed last, which may be long ago."""
    if not isinstance(failure, dict):
        return []
    lines = [f"  failed    {failure['at']}: {failure['code']}: {failure['text']}"]
    return lines + [f"  {'':<9} {key} {failure[key]}" for key in _WORDS if failure.get(key)]


def _fields(title: str, values: Json) -> list[str]:
    return [f"  {title:<9} {key} = {cell(one)}" for key, one in values.items() if cell(one) != "-"]


def _with_names(text: str, names: Mapping[str, str]) -> str:
    """Return a text with names in the place of ids."""
    return _ID.sub(lambda found: names.get(found[0], found[0]), text)


def show_path(
    asked: Mapping[str, str],
    form: Format,
    context: str | None,
    tenant: str | None,
    *,
    watching: bool,
) -> bool:
    """Print what becomes of a flow; return whether somebody carries it."""
    answer: Json = {}
    view = View(found_lines, _carriers, _states)

    def ask() -> Json:
        answer.clear()
        answer.update(api.get("/v1/paths", asked))
        return answer

    with speaking(context, tenant) as api:
        present(ask, view, form, watching=watching)
    return answer["verdict"] in ("carried", "local")


def found_lines(answer: Json) -> list[str]:
    """Return the lines of `twinspan path` from the control plane's answer."""
    names, colours = answer["names"], sys.stdout.isatty()
    assert isinstance(names, dict)
    head, *_ = path_lines({**answer, "places": []}, colours=colours)
    lines = [head]
    for item in _objects(answer["items"]):
        tunnel = item["tunnel"]
        untitled = {**tunnel, "title": ""} if isinstance(tunnel, dict) else None
        place = {**item, "namespace": "", "tunnel": untitled}
        of_place = path_lines({**answer, "places": [place]}, colours=colours)[1:]
        lines += [f"  node      {item['node_name']}", *of_place]
    if not answer["items"]:
        lines.append(f"{answer['verdict']}: {answer['why']}")
    lines += [f"not asked: {one['detail']}" for one in _objects(answer["not_answered"])]
    return [_with_names(line, names) for line in lines]


def _carriers(answer: Json) -> list[str]:
    """Return the tunnels that carry the flow."""
    names = answer["names"]
    assert isinstance(names, dict)
    carried = [one for one in _objects(answer["items"]) if one["verdict"] == "carried"]
    found = [str(one["vpn_tunnel"]) for one in carried if one["vpn_tunnel"]]
    return [str(names.get(id, id)) for id in found]


def _states(answer: Json) -> dict[str, str]:
    return {
        str(item["node"]): f"{item['node_name']}: {item['verdict']}: {item['why']}"
        for item in _objects(answer["items"])
    }


def _objects(value: object) -> list[Json]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
