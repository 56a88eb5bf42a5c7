"""The configuration of a customer's device, from the resources of the control plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.control.api.access import Accesses
from gateway.control.auth.principal import Principal, Scope
from gateway.control.changes.compose import Parts, parts_around, tables
from gateway.control.problems import ApiProblem, not_found
from gateway.control.registry import Registry
from gateway.control.resources.kinds import SECRETS
from gateway.control.resources.record import Record, Table
from gateway.customer.catalog import customer_config
from gateway.customer.device import Options, Rendered
from gateway.errors import ConfigError
from gateway.model.document import build_document
from gateway.model.resources import Document
from gateway.model.types import UNSEEN_KEY

# Stand for keys that are not asked for: good ones, so that the document is whole.
_HIDDEN = {"psk": "0x" + "5a" * 32, "ppk": "0x" + "a5" * 32, "private_key": UNSEEN_KEY}
ATTEMPTS = 10
_REFERENCES = ("border_gateway", "customer_gateway", "vpn_connection")

Secrets = dict[tuple[str, str], str]  # by id and field


@dataclass(frozen=True, slots=True)
class CustomerConfigs:
    """Makes them, and notes who has read the keys that stand in them."""

    registry: Registry
    accesses: Accesses

    async def make(
        self,
        connection: Record,
        device: str,
        options: Options,
        only: Sequence[str],
        who: Principal,
    ) -> Rendered:
        """Return the files of a connection for one kind of device. Raises ApiProblem."""
        view = self.registry.mirror
        parts, secrets = await self._at_one_moment(connection, options, who)
        table = tables(view, parts, lambda record, where, _: _opened(secrets, record, where))
        names = _named(table)
        document = _document(table, parts.gateways[0].name)
        chosen = [names.get(each, each) for each in only]
        try:
            return customer_config(document, connection.name, device, options, chosen)
        except ConfigError as error:
            detail = "; ".join(error.problems)
            raise ApiProblem(422, "invalid", detail, field="device", value=device) from None

    async def _at_one_moment(
        self, connection: Record, options: Options, who: Principal
    ) -> tuple[Parts, Secrets]:
        """Return resources and keys that belong together: a change between is seen."""
        parts = self._parts(connection.id)
        for _ in range(ATTEMPTS):
            secrets = await self._secrets(parts, who) if options.secrets else {}
            now = self._parts(connection.id)
            if now == parts:
                return parts, secrets
            parts = now
        text = "the connection is being changed at this moment"
        raise ApiProblem(503, "unavailable", text, retry_after_s=1)

    def _parts(self, id: str) -> Parts:
        view = self.registry.mirror
        connection = view.get("vpn_connection", id)
        if connection is None:
            raise not_found("vpn_connection", id)
        gateway = view.get("border_gateway", str(connection.spec["border_gateway"]))
        assert gateway is not None  # it can not be deleted while a connection is there
        return parts_around(view, gateway, [connection])

    async def _secrets(self, parts: Parts, who: Principal) -> Secrets:
        """Return the keys of a connection and its tunnels; who reads them is written down first."""
        who.need(Scope.OPERATE)
        found: Secrets = {}
        for record in (*parts.connections, *parts.tunnels):
            for field in sorted(SECRETS & (set(record.spec) | set(record.allocated))):
                secret = await self.registry.reveal(record.kind, record.id, field, who)
                await self.accesses.note(record, field, who)
                found[record.id, field] = secret.reveal().decode()
        return found


def _opened(secrets: Secrets, record: Record, where: str) -> str:
    field = where.rpartition("/")[2]
    return secrets.get((record.id, field)) or _HIDDEN.get(field, "hidden")


def _named(table: Table) -> dict[str, str]:
    """Put the names that people know in the place of ids; return them by id."""
    every = [
        one
        for kind in ("border_gateway", "customer_gateway", "vpn_connection", "vpc_attachment")
        for one in table[kind]
    ]
    every += [tunnel for one in table["vpn_connection"] for tunnel in one["tunnel"]]
    names = {one["name"]: one.get("title", one["name"]) for one in every}
    for one in [*every, *table["direct_line"], *table["route"]]:
        one["name"] = names.get(one.get("name", ""), one.get("name", ""))
        for key in _REFERENCES:
            if key in one:
                one[key] = names[one[key]]
    for one in table["route"]:
        del one["name"]
    return names


def _document(table: Table, name: str) -> Document:
    """Return the tables as a document. Raises ApiProblem where they are none."""
    addresses = {
        str(tunnel["local_address"])
        for connection in table["vpn_connection"]
        for tunnel in connection["tunnel"]
        if "local_address" in tunnel
    }
    table["gateway"] = {"name": name, "public_addresses": sorted(addresses)}
    document, problems = build_document(table)
    wrong = [str(problem) for problem in problems if not problem.is_warning]
    if wrong:
        raise ApiProblem(409, "conflict", f"the connection is not whole: {'; '.join(wrong)}")
    return document
