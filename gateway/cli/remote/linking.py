"""
`twinspan link` of two Border Gateways of one control plane: both connections in one apply.

The addresses are known before anything is made: those of each Border Gateway's pool, or those that
are named. So no Customer Gateway begins with a placeholder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, cast

from gateway.cli.check import generate_psk
from gateway.cli.client import Refused
from gateway.cli.output import Format
from gateway.cli.remote.apply import carry_out
from gateway.cli.remote.http import Api
from gateway.cli.remote.nouns import BY_KIND, Json
from gateway.cli.remote.session import speaking
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from gateway.model.link import End, Link, Wish
    from gateway.model.resources import Document

MOST_ADDRESSES = 4  # that a Customer Gateway may have
# What a link must know of what there is.
_KEPT = {
    "border_gateway": ("name", "asn"),
    "vpc_attachment": ("name", "border_gateway", "interface", "vlan", "parent", "veth", "cidrs"),
    "customer_gateway": ("name", "public_addresses", "identity", "asn"),
    "vpn_connection": ("name", "border_gateway", "customer_gateway", "remote_cidrs"),
}
_OF_TUNNEL = ("local_address", "remote_address", "inner_cidr")


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two Border Gateways as it is asked for, by id or name."""

    gateway: str
    asn: int | None
    addresses: Sequence[str]  # of ours; none: those of its address pool
    option: str  # that names them


def link_in_control(
    sides: tuple[Side, Side],
    wish: Wish,
    *,
    form: Format,
    yes: bool,
    dry_run: bool,
    context: str | None,
    tenant: str | None,
) -> None:
    """Join two Border Gateways; shows the difference and asks. Ends the program."""
    with speaking(context, tenant) as api:
        document = linked(api, sides, wish)
        carry_out(api, document, form, yes=yes, dry_run=dry_run, is_part=True)


def linked(api: Api, sides: tuple[Side, Side], wish: Wish) -> Json:
    """Return the document that joins the two, for an apply. Raises ConfigError."""
    from gateway.model.link import link

    tree = _Tree.of(api)
    found = [tree.border_gateway(side.gateway) for side in sides]
    if found[0]["id"] == found[1]["id"]:
        raise ConfigError([f"{sides[1].gateway}: is the other Border Gateway too: give two"])
    pools = [_addresses(api, side, one) for side, one in zip(sides, found, strict=True)]
    if twice := sorted(set(pools[0]) & set(pools[1])):
        text = f"is an address of {sides[0].gateway} too; give each Border Gateway its own"
        raise ConfigError([f"{sides[1].gateway}: {', '.join(twice)}: {text}"])
    names = tuple(str(one["name"]) for one in found)
    first, second = (
        tree.end(side, one, pool) for side, one, pool in zip(sides, found, pools, strict=True)
    )
    own = (f"{names[0]}-{names[1]}", f"{names[1]}-{names[0]}")
    if wish.name is not None:
        own = (f"{wish.name}-a", f"{wish.name}-b")
    return _document(link(first, second, replace(wish, name=own[0])), own, names)


def _document(made: Link, own: Sequence[str], gateways: Sequence[str]) -> Json:
    """Return what was made for both ends, with a name for each and the key that they share."""
    key = generate_psk()
    customers: list[Json] = []
    connections: list[Json] = []
    for tables, name, gateway in zip(made.tables, own, gateways, strict=True):
        (customer,), (connection,) = tables["customer_gateway"], tables["vpn_connection"]
        customers.append({**customer, "name": name})
        tunnels = cast(list[Json], connection.pop("tunnel"))
        connection.pop("psk_file")
        numbered = [{**one, "name": f"{name}-{at}"} for at, one in enumerate(tunnels, 1)]
        ends = {"name": name, "border_gateway": gateway, "customer_gateway": name}
        connections.append({**connection, **ends, "psk": key, "tunnel": numbered})
    return {"customer_gateway": customers, "vpn_connection": connections}


@dataclass(frozen=True, slots=True)
class _Tree:
    """What a tenant has, as far as a link must know it."""

    gateways: list[Json]
    document: Document

    @staticmethod
    def of(api: Api) -> _Tree:
        from gateway.model.resources import Document

        items = {kind: list(api.pages(BY_KIND[kind].path)) for kind in (*_KEPT, "vpn_tunnel")}
        names = {one["id"]: one["name"] for kind in _KEPT for one in items[kind]}
        tunnels: dict[object, list[Json]] = {}
        for one in items["vpn_tunnel"]:
            kept = {field: one[field] for field in _OF_TUNNEL if one.get(field) is not None}
            tunnels.setdefault(one["vpn_connection"], []).append(kept)
        table = {
            kind: [
                {field: _named(one[field], names) for field in fields if one.get(field) is not None}
                for one in items[kind]
            ]
            for kind, fields in _KEPT.items()
        }
        for one, connection in zip(items["vpn_connection"], table["vpn_connection"], strict=True):
            connection["tunnel"] = tunnels.get(one["id"], [])
        return _Tree(items["border_gateway"], Document.model_validate({"gateway": {}, **table}))

    def border_gateway(self, named: str) -> Json:
        """Return the Border Gateway of an id or name. Raises ConfigError."""
        found = [one for one in self.gateways if named in (one["id"], one["name"])]
        if len(found) != 1:
            there = ", ".join(sorted(str(one["name"]) for one in self.gateways)) or "none"
            text = "is no file, and no border_gateway has this id or name; there is"
            raise ConfigError([f"{named}: {text}: {there}"])
        return found[0]

    def end(self, side: Side, gateway: Json, addresses: Sequence[str]) -> End:
        """Return one end of a link."""
        from gateway.model.link import End

        pool = tuple(ip_address(one) for one in addresses)
        own = self.document.gateway.model_copy(update={"public_addresses": pool})
        document = self.document.model_copy(update={"gateway": own})
        return End(side.gateway, document, str(gateway["name"]), side.asn)


def _named(value: object, names: Mapping[object, object]) -> object:
    """Return a reference as a name; what is none as it is."""
    return names.get(value, value) if isinstance(value, str) else value


def _addresses(api: Api, side: Side, gateway: Json) -> list[str]:
    """Return our public addresses at one end. Raises ConfigError."""
    if side.addresses:
        return [str(one) for one in side.addresses]
    pool = gateway.get("address_pool")
    if pool is None:
        text = "it has no address pool of its own: name our addresses there"
        raise ConfigError([f"{side.option}: is needed for {side.gateway}: {text}"])
    try:
        answer = api.get(f"{BY_KIND['address_pool'].path}/{pool}")
    except Refused:
        text = "its address pool is the operator's to read: name our addresses there"
        raise ConfigError([f"{side.option}: is needed for {side.gateway}: {text}"]) from None
    return [str(one) for one in cast(list[object], answer["addresses"])][:MOST_ADDRESSES]
