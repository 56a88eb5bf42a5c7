"""What the control plane asks its nodes: routes, and what was said with a tunnel's peer."""

from __future__ import annotations

from datetime import datetime

from gateway.cli.remote.http import Api
from gateway.cli.remote.names import found
from gateway.cli.remote.nouns import NOUNS, Json
from gateway.routing.tables import Table

_GATEWAY, _TUNNEL = NOUNS["bgw"], NOUNS["tunnel"]


def routes_of_fleet(api: Api, table: Table | None, border_gateway: str | None) -> Json:
    """Return the routes of one Border Gateway, or of all, with the names that people know."""
    if border_gateway is not None:
        gateways = [found(api, _GATEWAY, border_gateway)]
    else:
        gateways = list(api.pages(_GATEWAY.path))
    query = {"table": table.value} if table is not None else {}
    routes, notes, left_off = [], [], 0
    for gateway in gateways:
        answer = api.get(f"{_GATEWAY.path}/{gateway['id']}/routes", query)
        routes += [_named(one, str(gateway["name"])) for one in _objects(answer["routes"])]
        notes += _texts(answer["notes"])
        left_off += int(str(answer["left_off"]))
    return {"routes": routes, "notes": notes, "left_off": left_off}


def negotiation(api: Api, tunnel: str) -> Json:
    """Return what was said lately with the peer of a tunnel."""
    answer = api.get(f"{_TUNNEL.path}/{found(api, _TUNNEL, tunnel)['id']}/negotiation")
    lines = _objects(answer["lines"])
    return {**answer, "lines": [{**line, "at": _seconds(line["at"])} for line in lines]}


def _seconds(moment: object) -> float:
    """Return a time of the API in seconds since 1970, as a gateway tells it."""
    return datetime.fromisoformat(str(moment)).timestamp()


def _named(route: Json, border_gateway: str) -> Json:
    return {
        **route,
        "border_gateway": border_gateway,
        "owner": route["owner_name"] or route["owner"],
    }


def _objects(value: object) -> list[Json]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []
