"""
New resources: what was asked for, and what the control plane chooses for it. Pure.

A VPN Connection gets its public addresses here and, unless it was asked otherwise, its tunnels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.control.changes import allocate, parse
from gateway.control.changes.allocate import Draw
from gateway.control.changes.view import After, View
from gateway.control.problems import ApiProblem, FieldError, invalid
from gateway.control.resources.kinds import KINDS, SECRETS, Kind
from gateway.control.resources.parents import CLAIM, claims_of
from gateway.control.resources.record import Record, Table

TUNNELS_MAX = 8  # of a connection
_ADDRESSES = {"node": "public_addresses"}  # where they are not called `addresses`
_IN_USE = "the address is in use"


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes resources of one tenant at one moment, `now` in seconds since 1970."""

    view: View
    tenant: str
    draw: Draw
    now: float

    def make(self, kind: Kind, request: object) -> list[Record]:
        """Return the new resource first, then those that come with it. Raises ApiProblem."""
        table = parse.read(kind, kind.new, request, self.view, self.tenant)
        if kind.name == "vpn_connection":
            return self._connection(table)
        if kind.name == "vpn_tunnel":
            connection = self.view.get("vpn_connection", table["vpn_connection"])
            assert connection is not None
            return [self._tunnel(self.view, connection, table)]
        record = self._record(kind, table, {})
        judge_unique(self.view, record)
        if kind.name == "address_pool":
            judge_pool(self.view, table)
        return [record]

    def _record(
        self, kind: Kind, spec: Table, allocated: Mapping[str, Any], id: str | None = None
    ) -> Record:
        id = id or self.draw.id(kind.name)
        value = {
            "tenant": "" if kind.is_operators else self.tenant,
            "name": spec.get("name") or id,
            "spec": spec,
            "allocated": dict(allocated),
            "created_at": self.now,
            "updated_at": self.now,
            "generation": 1,
            "secret_versions": {key: 1 for key in SECRETS & {*spec, *allocated}},
        }
        return Record(kind.name, id, value, 0)

    # ---- connections ----

    def _connection(self, table: Table) -> list[Record]:
        asked, count = table.pop("tunnel", None), table.pop("tunnels", None)
        if asked and count is not None:
            raise invalid("vpn_connection.tunnels", count, "stands beside tunnel; give one of them")
        customer = self.view.get("customer_gateway", table["customer_gateway"])
        assert customer is not None
        tunnels = [dict(one) for one in asked or ()]
        allocated = self._public_addresses(table, customer, tunnels)
        if not tunnels:
            number = _count(count, customer, allocated["public_addresses"])
            tunnels = [{} for _ in range(number)]
        record = self._record(KINDS["vpn_connection"], table, allocated)
        judge_unique(self.view, record)
        made = [record]
        for tunnel in tunnels:
            view = After(self.view, [(None, one) for one in made])
            made.append(self._tunnel(view, record, tunnel | {"vpn_connection": record.id}))
        return made

    def _public_addresses(
        self, table: Table, customer: Record, tunnels: list[Table]
    ) -> dict[str, Any]:
        """Return what a connection gets: the addresses its tunnels name, else two that are free."""
        named = dict.fromkeys(one["local_address"] for one in tunnels if "local_address" in one)
        theirs = allocate.customer_addresses(customer)
        version = (6 if ":" in theirs[0] else 4) if theirs else None
        gateway = self.view.get("border_gateway", table["border_gateway"])
        assert gateway is not None
        offered = allocate.offered(self.view, self.tenant, gateway)
        for at, address in enumerate(named):
            if address not in offered:
                text = "is no public address that this tenant may use"
                raise invalid(f"vpn_connection.tunnel[{at}].local_address", address, text)
        chosen = [offered[address] for address in named] or allocate.public_addresses(
            offered.values(), self.view, version
        )
        return {
            "public_addresses": [one.address for one in chosen],
            "exclusive": [one.address for one in chosen if one.exclusive],
        }

    # ---- tunnels ----

    def _tunnel(self, view: View, connection: Record, table: Table) -> Record:
        siblings = list(view.children("vpn_tunnel", connection.id))
        position = _position(siblings)
        id = self.draw.id("vpn_tunnel")
        allocated: dict[str, Any] = {"position": position}
        allocated["customer_gateway"] = connection.spec["customer_gateway"]
        allocated |= self._pair(view, connection, siblings, table)
        address = str(table.get("local_address") or allocated["local_address"])
        allocated["node"] = allocate.node_of(view, address)
        allocated |= self._inside(view, connection, table, allocated["node"])
        if "interface" not in table:
            allocated["interface"] = allocate.tunnel_device(id)
        auth = table.get("auth") or connection.spec.get("auth") or "psk"
        if auth == "psk" and "psk" not in table and "psk" not in connection.spec:
            allocated["psk"] = self.draw.psk()
        spec = {"name": f"{connection.name}-{position + 1}"} | table
        if any(one.name == spec["name"] for one in siblings):
            raise _in_use("vpn_tunnel.name", spec["name"], "another tunnel of it has this name")
        record = self._record(KINDS["vpn_tunnel"], spec, allocated, id)
        judge_unique(view, record)
        return record

    def _pair(
        self, view: View, connection: Record, siblings: list[Record], table: Table
    ) -> dict[str, Any]:
        """Return the outer addresses that the tunnel does not name: the next pair in turn."""
        customer = view.get("customer_gateway", str(connection.spec["customer_gateway"]))
        assert customer is not None
        ours = list(connection.allocated.get("public_addresses", ()))
        theirs = allocate.customer_addresses(customer)
        local, remote = table.get("local_address"), table.get("remote_address")
        if local is not None and local not in ours:
            text = f"is not an address of the connection; it has {', '.join(ours)}"
            raise invalid("vpn_tunnel.local_address", local, text)
        if not theirs:
            at = int(_position(siblings))
            return {} if local else {"local_address": ours[at % len(ours)]}
        taken = {(str(one.of("local_address")), str(one.of("remote_address"))) for one in siblings}
        pair = allocate.next_pair(
            view, [local] if local else ours, [remote] if remote else theirs, taken
        )
        if pair is None:
            text = "every pair of a public address of ours and one of the customer's has a tunnel"
            raise _in_use(
                "vpn_tunnel.remote_address", remote or theirs, text, "address_pair_in_use"
            )
        found = {"local_address": pair[0], "remote_address": pair[1]}
        return {key: value for key, value in found.items() if key not in table}

    def _inside(
        self, view: View, connection: Record, table: Table, node: str | None
    ) -> dict[str, Any]:
        """
        Return where the inner network is unique, and one if none is named.

        It is unique in its Border Gateway, and in the routing table that it is in on its node.
        """
        gateway = view.get("border_gateway", str(connection.spec["border_gateway"]))
        assert gateway is not None
        within = [gateway.id, f"{node}:{allocate.routing_table(view, gateway)}"]
        if "inner_cidr" in table:
            return {"within": within}
        version = int(connection.spec.get("inner_version", 4))
        taken = {str(one.of("inner_cidr")) for one in view.children("vpn_tunnel", connection.id)}
        return {
            "within": within,
            "inner_cidr": allocate.inner_network(view, within, version, taken),
        }


def _count(asked: int | None, customer: Record, ours: Sequence[str]) -> int:
    """
    Return how many tunnels a connection gets: the HA set, unless it was asked otherwise.

    No more than there are pairs of addresses: with a single one at each end it has no redundancy.
    """
    if asked is not None:
        return asked
    theirs = allocate.customer_addresses(customer)
    wanted = max(2, len(theirs))
    alike = sum((":" in one) == (":" in other) for one in ours for other in theirs)
    return min(wanted, alike) if theirs else wanted


def _position(siblings: list[Record]) -> int:
    """Return the first position that no tunnel of the connection has. Raises ApiProblem 409."""
    taken = {int(one.allocated.get("position", 0)) for one in siblings}
    free = next((at for at in range(TUNNELS_MAX) if at not in taken), None)
    if free is None:
        raise ApiProblem(
            409, "tunnel_count", f"the connection has {TUNNELS_MAX} tunnels, which is all it may"
        )
    return free


def judge_unique(view: View, record: Record) -> None:
    """Raise ApiProblem 409 if another resource has what this one claims."""
    for claim in claims_of(record):
        holder = view.get(CLAIM, claim)
        if holder is not None and holder.value.get("by") != record.id:
            raise taken(record, claim)


def taken(record: Record, claim: str) -> ApiProblem:
    """Return the problem of a claim that another resource holds."""
    what = claim.partition(":")[0]
    field, value, text = {
        "name": ("name", record.name, f"another {record.kind} has this name"),
        "pair": (
            "remote_address",
            f"{record.of('local_address')} - {record.of('remote_address')}",
            "another tunnel has this pair of addresses",
        ),
        "inner": ("inner_cidr", record.of("inner_cidr"), "another tunnel has this network"),
    }.get(what, (_ADDRESSES.get(record.kind, "addresses"), claim.partition(":")[2], _IN_USE))
    code = {"pair": "address_pair_in_use"}.get(what, f"{field}_in_use")
    return _in_use(f"{record.kind}.{field}", value, text, code)


def _in_use(field: str, value: object, text: str, code: str = "name_in_use") -> ApiProblem:
    return parse.refused([FieldError(code, field, text, value)])


def judge_pool(view: View, spec: Mapping[str, Any]) -> None:
    """Raise ApiProblem 422 for an address of a pool that no node has."""
    for at, address in enumerate(spec["addresses"]):
        if allocate.node_of(view, address) is None:
            raise invalid(
                f"address_pool.addresses[{at}]", address, "no node has it", code="not_on_a_node"
            )
