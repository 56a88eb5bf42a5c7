"""The route of a customer's device: what it is to be told, in its own words."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter
from starlette.responses import Response

from gateway.control.api.add import add
from gateway.control.api.answers import answer_json
from gateway.control.api.conditions import flag, judge_query
from gateway.control.api.depends import NamedTenant, Query, Who
from gateway.control.api.describe import ALWAYS, About, noun_of, refused
from gateway.control.api.events import parameter
from gateway.control.api.resources import Api
from gateway.control.api.schemas import Table
from gateway.control.auth.principal import Principal
from gateway.control.customer import CustomerConfigs
from gateway.control.problems import invalid
from gateway.control.resources.kinds import KINDS
from gateway.control.resources.record import Record
from gateway.customer.catalog import DEVICES
from gateway.customer.device import Options
from gateway.customer.options import options_of
from gateway.errors import ConfigError

CONNECTION = KINDS["vpn_connection"]
QUERY = frozenset(
    {
        *("device", "secrets", "tunnel", "wan_interface", "lan_interface", "first_number"),
        *("announce", "tenant"),
    }
)


def customer_router(api: Api, configs: CustomerConfigs) -> APIRouter:
    """Return the routes of customers' devices."""
    router = APIRouter(tags=[CONNECTION.title])

    async def devices(who: Who, query: Query) -> Response:
        judge_query(query, ())
        return answer_json({"items": [_device(name) for name in DEVICES]})

    async def config(id: str, who: Who, named: NamedTenant, query: Query) -> Response:
        judge_query(query, QUERY)
        connection = api.seen(CONNECTION, id, who, named)
        return answer_json(await config_answer(configs, connection, query, who))

    add(router, "GET", "/v1/customer-devices", devices, _described_devices())
    one = noun_of(CONNECTION).one
    add(router, "GET", f"{one}/customer-config", config, _described_config())
    return router


async def config_answer(
    configs: CustomerConfigs, connection: Record, query: Mapping[str, str], who: Principal
) -> Table:
    """Return the files of a connection as a query asks for them. Raises ApiProblem."""
    device = query.get("device", "")
    if device not in DEVICES:
        raise invalid("device", device, f"must be one of {', '.join(DEVICES)}")
    options, only = _options(query), _words(query.get("tunnel"))
    made = await configs.make(connection, device, options, only, who)
    files = [
        {"name": file.name, "text": file.text, "is_secret": file.is_secret} for file in made.files
    ]
    return {"device": device, "notes": list(made.notes), "files": files}


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _options(query: Mapping[str, str]) -> Options:
    number = query.get("first_number", "1")
    if not (number.isascii() and number.isdigit() and len(number) < 6):
        raise invalid("first_number", number, "must be a number")
    try:
        return options_of(
            secrets=flag(query.get("secrets"), "secrets"),
            wan=_words(query.get("wan_interface")),
            lan=query.get("lan_interface") or None,
            first_number=int(number),
            announce=_words(query.get("announce")),
        )
    except ConfigError as error:
        (problem,) = error.problems
        field, _, text = problem.partition(": ")
        raise invalid(field, query.get(field), text) from None


def _device(name: str) -> Table:
    device = DEVICES[name]
    return {
        "device": name,
        "title": device.title,
        "version": device.version,
        "routing": sorted(device.modes),
        "ipv6": device.ipv6,
    }


# ---- the description ----

_TEXT: Table = {"type": "string"}
_TEXTS: Table = {"type": "array", "items": _TEXT}


def _object(properties: dict[str, Table]) -> Table:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _answer(text: str, schema: Table) -> dict[int, Table]:
    content = {"application/json": {"schema": schema}}
    return {200: {"description": text, "content": content}}


def _described_devices() -> About:
    device = _object(
        {
            **{each: _TEXT for each in ("device", "title", "version")},
            "routing": _TEXTS,
            "ipv6": {"type": "boolean"},
        }
    )
    schema = _object({"items": {"type": "array", "items": device}})
    responses = {**_answer("The kinds of device", schema), **refused(*ALWAYS)}
    return About("listCustomerDevices", "List the kinds of device", "", 200, responses, {})


def _described_config() -> About:
    file = _object({"name": _TEXT, "text": _TEXT, "is_secret": {"type": "boolean"}})
    files: Table = {"type": "array", "items": file}
    schema = _object({"device": _TEXT, "notes": _TEXTS, "files": files})
    parameters = [
        {**parameter("device", "the kind of device", {"enum": list(DEVICES)}), "required": True},
        parameter("secrets", "with keys: needs the scope operate", {"type": "boolean"}),
        parameter("tunnel", "only these tunnels, by name or id, with commas between"),
        parameter("wan_interface", "outside interfaces of the device, with commas between"),
        parameter("lan_interface", "its inside interface"),
        parameter("first_number", "of tunnel interfaces", {"type": "integer", "minimum": 0}),
        parameter("announce", "prefixes behind it, where the connection names none"),
        parameter("tenant", "the operator names a tenant; `main` if not"),
    ]
    text = (
        "Every tunnel of the connection with all its values, in the words of the customer's device."
        " `notes` are for a person to read. Keys that are told are in the audit log."
    )
    return About(
        "getVpnConnectionCustomerConfig",
        "Return the configuration of the customer's device",
        text,
        200,
        {**_answer("The files", schema), **refused(*ALWAYS, 409)},
        {"parameters": parameters},
    )
