"""The wizard: one form makes a whole hybrid connection, or nothing of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.control.console import commands, forms
from gateway.control.console.commands import SameThing
from gateway.control.console.edits import Edits
from gateway.control.console.forms import FormField, Input, filled
from gateway.control.console.render import Visit, page, part
from gateway.control.console.source import Source, Table
from gateway.control.problems import ApiProblem, forbidden, not_found
from gateway.control.resources.kinds import KINDS

NEW = "new"  # in the choice of a gateway: make one
PROFILES: Mapping[str, tuple[str, dict[str, list[str]]]] = {
    "": ("our own list: AES-GCM, ChaCha20, then AES-CBC, each with PFS", {}),
    "gcm": (
        "AES-256-GCM with x25519 only",
        {
            "ike_proposals": ["aes256gcm16-prfsha384-x25519"],
            "esp_proposals": ["aes256gcm16-x25519"],
        },
    ),
    "cbc": (
        "AES-256-CBC with SHA-256 and group 14, for older devices",
        {
            "ike_proposals": ["aes256-sha256-modp2048"],
            "esp_proposals": ["aes256-sha256-modp2048"],
        },
    ),
}
_SECTIONS = {  # the fields of the form: section, name here, kind and field there, asked for or not
    "ours": (
        ("gateway", "vpn_connection", "border_gateway"),
        ("gateway_name", "border_gateway", "name"),
        ("gateway_asn", "border_gateway", "asn"),
        ("vpc_interface", "vpc_attachment", "interface"),
        ("vpc_cidrs", "vpc_attachment", "cidrs"),
    ),
    "theirs": (
        ("customer", "vpn_connection", "customer_gateway"),
        ("customer_name", "customer_gateway", "name"),
        ("customer_addresses", "customer_gateway", "public_addresses"),
        ("customer_asn", "customer_gateway", "asn"),
    ),
    "between": (
        ("name", "vpn_connection", "name"),
        ("routing", "vpn_connection", "routing"),
        ("remote_cidrs", "vpn_connection", "remote_cidrs"),
        ("tunnels", "vpn_connection", "tunnels"),
        ("profile", "", ""),
    ),
}
_LABELS = {
    "gateway": "Border Gateway",
    "gateway_name": "Name of the new Border Gateway",
    "gateway_asn": "Our AS number",
    "vpc_interface": "Interface toward the VPC",
    "vpc_cidrs": "Prefixes of the VPC",
    "customer": "Customer Gateway",
    "customer_name": "Name of the new Customer Gateway",
    "customer_addresses": "Its public addresses",
    "customer_asn": "The customer's AS number",
    "name": "Name of the connection",
    "routing": "Routing",
    "remote_cidrs": "The customer's prefixes",
    "tunnels": "Tunnels",
    "profile": "Crypto profile, the same for all tunnels",
}
_HELP = {  # where the model's own words are not for somebody who does this the first time
    "gateway_name": "it carries the routes between what is behind it and all its sites",
    "gateway_asn": "for BGP; the default will do, unless the customer has the same",
    "vpc_interface": "device of the gateway VM, as in eth1; leave it empty if it has only one",
    "vpc_cidrs": "what the customer is to reach, as in 10.10.0.0/16; announced to him by BGP",
    "customer_addresses": 'one of his device, or two of his two devices; "any" where it changes',
    "customer_asn": "with BGP: the number that his router speaks as",
    "routing": "bgp: routes are learned, and traffic leaves a dead tunnel by itself; static: the"
    " prefixes below; policy: for devices that know only pairs of networks",
    "remote_cidrs": "what is behind him, as in 10.20.0.0/16; with bgp only these are accepted",
    "tunnels": "two are one to each of two addresses of ours: one may fail at any time",
}
_ROUTINGS = (("bgp", "bgp (recommended)"), ("static", "static"), ("policy", "policy"))
_TUNNELS_DEFAULT = "2, one a public address"
_TUNNELS = (("4", "4"), ("8", "8"))
_ONE_OR_NEW = "one that is there, or a new one"
_OF_NEW = frozenset(
    {"gateway_name", "gateway_asn", "customer_name", "customer_addresses", "customer_asn"}
)
_START = {
    "gateway": NEW,
    "gateway_name": "main",
    "gateway_asn": "65000",
    "customer": NEW,
    "routing": "bgp",
}


class Connect:
    """Shows the wizard and carries it out."""

    def __init__(self, source: Source, edits: Edits) -> None:
        self._source = source
        self._edits = edits

    async def form(self, request: Request, visit: Visit) -> Response:
        """Return the form; what the address names is filled in."""
        if not visit.may_write:
            raise forbidden("this user may not make connections")
        start = dict(_START)
        gateways = self._source.all("border_gateway", visit.who, visit.tenant)
        if gateways:
            start["gateway"] = str(gateways[0]["id"])
        return self._page(visit, start | dict(request.query_params), {})

    async def connect(self, visit: Visit, typed: Mapping[str, str]) -> Response:
        """Make everything, or nothing: what was made is taken back when something can not be."""
        if not visit.may_write:
            raise forbidden("this user may not make connections")
        steps, errors = self._steps(visit, typed)
        if errors:
            return self._page(visit, typed, errors, 422, problem="Some fields can not be read.")
        only_check = typed.get("do") == "check"
        made: list[tuple[str, str]] = []
        try:
            for kind, fields in steps:
                done = await self._make(visit, kind, fields, made, only_check=only_check)
                if done is not None and not only_check:
                    made.append((kind, str(done["id"])))
        except ApiProblem as found:
            await self._take_back(visit, made)
            errors = self._named(found)
            return self._page(visit, typed, errors, found.status, problem=found.detail)
        if only_check:
            return self._page(visit, typed, {}, checked=_told(steps))
        return RedirectResponse(f"/console/vpn-connections/{made[-1][1]}", 303)

    async def same(self, visit: Visit, typed: Mapping[str, str]) -> Response:
        """Return what the form comes to as calls and command lines, as it is typed."""
        return part("macros.html", "same_body", {"things": self._things(visit, typed)})

    def _things(self, visit: Visit, typed: Mapping[str, str]) -> list[SameThing]:
        """Return the calls that make it; one refers to another by its name."""
        steps, _ = self._steps(visit, typed)
        names = {kind: fields.get("name", "NAME") for kind, fields in steps}
        return [
            commands.of_creation(
                KINDS[kind],
                {
                    key: names[KINDS[kind].references[key]] if value == NEW else value
                    for key, value in fields.items()
                },
            )
            for kind, fields in steps
        ]

    async def _make(
        self,
        visit: Visit,
        kind: str,
        fields: Table,
        made: Sequence[tuple[str, str]],
        *,
        only_check: bool,
    ) -> Table | None:
        """Make one resource; what it refers to may have been made just now."""
        fields = dict(fields)
        new = dict(made)
        for field, target in KINDS[kind].references.items():
            if fields.get(field) == NEW:
                if target not in new:
                    return None  # a check does not make what this one stands on
                fields[field] = new[target]
        return await self._source.create(kind, fields, visit.who, visit.tenant, dry_run=only_check)

    async def _take_back(self, visit: Visit, made: Sequence[tuple[str, str]]) -> None:
        for kind, id in reversed(made):
            await self._source.delete(kind, id, visit.who)

    def _steps(
        self, visit: Visit, typed: Mapping[str, str]
    ) -> tuple[list[tuple[str, Table]], dict[str, str]]:
        """Return what is to be made, in this order, and mistakes by field."""
        errors: dict[str, str] = {}
        tables: dict[str, Table] = {}
        for section in _SECTIONS.values():
            for name, kind, field in section:
                if not kind:
                    continue
                one = replace(self._field(visit, kind, field), name=name)
                table, wrong = forms.request_of([one], typed)
                errors |= wrong
                if name in table:
                    tables.setdefault(kind, {})[field] = table[name]
        connection = tables.setdefault("vpn_connection", {})
        connection |= PROFILES.get(typed.get("profile", ""), ("", {}))[1]
        steps = []
        if typed.get("gateway", NEW) == NEW:
            connection["border_gateway"] = NEW
            steps.append(("border_gateway", tables.get("border_gateway", {})))
        attachment = tables.get("vpc_attachment", {})
        if attachment:
            name = typed.get("gateway_name") or typed.get("gateway") or "vpc"
            attachment |= {
                "name": f"{name}-vpc"[:32],
                "border_gateway": connection.get("border_gateway", NEW),
            }
            steps.append(("vpc_attachment", attachment))
        if typed.get("customer", NEW) == NEW:
            connection["customer_gateway"] = NEW
            steps.append(("customer_gateway", tables.get("customer_gateway", {})))
        return [*steps, ("vpn_connection", connection)], errors

    def _field(self, visit: Visit, kind: str, field: str) -> FormField:
        fields = self._edits.fields(visit, KINDS[kind], is_new=True)
        return next(one for one in fields if one.name == field)

    def _named(self, problem: ApiProblem) -> dict[str, str]:
        """Return what is wrong by field of this form."""
        there = {
            f"{kind}.{field}": name for part in _SECTIONS.values() for name, kind, field in part
        }
        errors: dict[str, str] = {}
        for one in problem.errors:
            field = one.field.partition("[")[0]
            if field in there:
                errors.setdefault(there[field], one.detail)
        return errors

    async def check(self, visit: Visit, name: str, typed: Mapping[str, str]) -> Response:
        """Return what is wrong with one field of the wizard, as it is typed."""
        place = next((p for part in _SECTIONS.values() for p in part if p[0] == name), None)
        if place is None:
            raise not_found("field", name)
        if not place[1]:
            return part("macros.html", "field_error", {"name": name, "error": ""})
        _, kind, field = place
        answer = await self._edits.check(visit, KINDS[kind], field, {field: typed.get(name, "")})
        body = bytes(answer.body).replace(f'id="e-{field}"'.encode(), f'id="e-{name}"'.encode())
        return Response(body, answer.status_code, media_type="text/html")

    def _page(
        self,
        visit: Visit,
        values: Mapping[str, str],
        errors: Mapping[str, str],
        status: int = 200,
        **more: object,
    ) -> Response:
        sections = {
            section: filled([self._shown(visit, *place) for place in places], values, errors)
            for section, places in _SECTIONS.items()
        }
        told = {"problem": "", "checked": "", "things": self._things(visit, values), **more}
        return page("connect.html", visit, "connect", status, **sections, **told)

    def _shown(self, visit: Visit, name: str, kind: str, field: str) -> FormField:
        if not kind:
            choices = tuple((key, text) for key, (text, _) in PROFILES.items() if key)
            return FormField(
                name, _LABELS[name], "", Input.CHOICE, False, choices, default=PROFILES[""][0]
            )
        one = self._field(visit, kind, field)
        if name in ("gateway", "customer"):
            choices = ((NEW, "make a new one"), *one.choices)
            one = replace(one, choices=choices, required=False, help=_ONE_OR_NEW)
        if name == "tunnels":
            one = replace(one, input=Input.CHOICE, choices=_TUNNELS, default=_TUNNELS_DEFAULT)
        if name == "routing":
            one = replace(one, choices=_ROUTINGS, required=True)
        is_optional = name.startswith("vpc_")
        return replace(
            one,
            name=name,
            label=_LABELS[name],
            help=_HELP.get(name, one.help),
            required=one.required and not is_optional,
            only_with=f"{name.partition('_')[0]}={NEW}" if name in _OF_NEW else "",
        )


def _told(steps: Sequence[tuple[str, Table]]) -> str:
    names = [f"{KINDS[kind].title} {fields.get('name', '')}".strip() for kind, fields in steps]
    return "It makes " + ", ".join(names) + "."
