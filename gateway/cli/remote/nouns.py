"""
The nouns of the command line: where each resource is in the API, and what its table shows.

This repeats names that the control plane's models have, because importing those takes longer than
most commands do; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Column:
    """
    A column of a table: `key` is the path of its value in the answer, with dots.

    `of` names the noun whose id the value is: the table shows that resource's name.
    """

    title: str
    key: str
    of: str = ""


@dataclass(frozen=True, slots=True)
class Verb:
    """
    What can be done to a resource beside its change: POST to its path and `/name`.

    `switches` are options that become parameters of the query, with their help.
    """

    name: str
    help: str
    said: str  # of the resource, when the control plane has taken it
    asks: str = ""  # the question before it, where it interrupts traffic
    shown: Sequence[str] = ()  # fields of the answer that are printed
    switches: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Noun:
    """A resource as the command line has it. `filters` are options of `list` for references."""

    name: str
    kind: str
    path: str
    prefix: str
    title: str
    columns: Sequence[Column]
    wide: Sequence[Column] = ()
    filters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    verbs: Sequence[Verb] = ()
    secrets: Sequence[str] = ()  # that the API tells whoever asks for one of them, and may
    can_change: bool = True  # whether create, update and delete are for people
    texts: Sequence[str] = ()  # further filters of `list`
    has_names: bool = True  # else only ids, and no tags
    cascades: bool = False  # whether a deletion may take along what belongs to it

    @property
    def one(self) -> str:
        """Its title with the article."""
        return ("an " if self.title[0] in "AEIO" else "a ") + self.title

    def is_id(self, text: str) -> bool:
        """Say whether a text has the shape of an id of this kind: its prefix and ten characters."""
        rest = text.removeprefix(f"{self.prefix}-")
        return bool(self.prefix) and rest != text and len(rest) == 10 and rest.isalnum()


_NAME = (Column("NAME", "name"), Column("ID", "id"))
_LAST = (Column("DESCRIPTION", "description"), Column("TAGS", "tags"))
_BGW = Column("BORDER GATEWAY", "border_gateway", of="bgw")
_CGW = Column("CUSTOMER GATEWAY", "customer_gateway", of="cgw")
_CONNECTION = Column("CONNECTION", "vpn_connection", of="connection")
_CHANGED = Column("UPDATED", "updated_at")
_OF_BGW = MappingProxyType({"border_gateway": "bgw"})

_TABLE = (
    Noun(
        "bgw",
        "border_gateway",
        "/v1/border-gateways",
        "bgw",
        "Border Gateway",
        (*_NAME, Column(">ASN", "asn"), Column("ISOLATION", "spoke_isolation")),
        (
            Column("ROUTER ID", "router_id"),
            Column("NAMESPACE", "namespace"),
            _CHANGED,
            *_LAST,
        ),
    ),
    Noun(
        "attachment",
        "vpc_attachment",
        "/v1/vpc-attachments",
        "att",
        "VPC Attachment",
        (*_NAME, _BGW, Column("INTERFACE", "interface"), Column("CIDRS", "cidrs")),
        (
            Column("ADDRESSES", "addresses"),
            Column("PEER", "peer_address"),
            Column("NODE", "node", of="node"),
            _CHANGED,
            *_LAST,
        ),
        _OF_BGW,
        secrets=("bgp_password",),
    ),
    Noun(
        "cgw",
        "customer_gateway",
        "/v1/customer-gateways",
        "cgw",
        "Customer Gateway",
        (*_NAME, Column("ADDRESSES", "public_addresses"), Column(">ASN", "asn")),
        (Column("IDENTITY", "identity"), _CHANGED, *_LAST),
    ),
    Noun(
        "connection",
        "vpn_connection",
        "/v1/vpn-connections",
        "conn",
        "VPN Connection",
        (
            *_NAME,
            _BGW,
            _CGW,
            Column("ROUTING", "routing"),
            Column("HA", "status.ha_status"),
            Column(">WORKING", "status.working"),
        ),
        (
            Column("OUR ADDRESSES", "public_addresses"),
            Column("REMOTE CIDRS", "remote_cidrs"),
            Column("MODE", "ha_mode"),
            _CHANGED,
            *_LAST,
        ),
        MappingProxyType({"border_gateway": "bgw", "customer_gateway": "cgw"}),
        secrets=("bgp_password", "ppk", "private_key", "psk"),
        cascades=True,
    ),
    Noun(
        "tunnel",
        "vpn_tunnel",
        "/v1/vpn-tunnels",
        "tun",
        "VPN Tunnel",
        (
            *_NAME,
            _CONNECTION,
            Column("LOCAL", "local_address"),
            Column("REMOTE", "remote_address"),
            Column("ADMIN", "status.admin"),
            Column("STATE", "status.operational"),
            Column("REASON", "status.reason.code"),
        ),
        (
            Column("INNER", "inner_cidr"),
            Column("NODE", "status.node", of="node"),
            Column("SINCE", "status.since"),
            Column(">WANTED", "status.generation_wanted"),
            Column(">APPLIED", "status.generation_applied"),
            *_LAST,
        ),
        MappingProxyType({"vpn_connection": "connection"}),
        (
            Verb("up", "Allow a tunnel that `down` has taken down.", "admin up"),
            Verb(
                "down",
                "Take a tunnel down, its traffic moved to its twins first, and keep it so.",
                "admin down",
                asks="take it down, and keep it down",
            ),
            Verb(
                "drain",
                "Move the traffic of a tunnel to its twins; the tunnel stays up.",
                "its traffic is being moved away",
                asks="move its traffic away",
            ),
            Verb(
                "rekey",
                "Replace the keys of a tunnel now; no packet is lost by it.",
                "rekey asked for",
                switches=MappingProxyType({"ike": "the IKE SA, not the Child SA"}),
            ),
            Verb(
                "reset",
                "Close the IKE SA of a tunnel and begin anew.",
                "begun anew",
                asks="close it and begin anew",
            ),
        ),
        ("bgp_password", "ppk", "private_key", "psk"),
    ),
    Noun(
        "line",
        "direct_line",
        "/v1/direct-lines",
        "line",
        "Direct Line",
        (
            *_NAME,
            _BGW,
            _CGW,
            Column("INTERFACE", "interface"),
            Column("PEER", "peer_address"),
            Column("ROUTING", "routing"),
            Column("STATE", "status.operational"),
        ),
        (
            Column(">PREFERENCE", "preference"),
            Column("NODE", "node", of="node"),
            _CHANGED,
            *_LAST,
        ),
        MappingProxyType({"border_gateway": "bgw", "customer_gateway": "cgw"}),
        secrets=("bgp_password",),
    ),
    Noun(
        "route",
        "route",
        "/v1/routes",
        "route",
        "Route",
        (
            *_NAME,
            Column("PREFIX", "prefix"),
            _BGW,
            _CONNECTION,
            Column(">PREFERENCE", "preference"),
        ),
        (_CHANGED, *_LAST),
        MappingProxyType({"border_gateway": "bgw", "vpn_connection": "connection"}),
    ),
    Noun(
        "pool",
        "address_pool",
        "/v1/address-pools",
        "pool",
        "Address Pool",
        (
            *_NAME,
            Column("ADDRESSES", "addresses"),
            Column("EXCLUSIVE", "exclusive"),
            Column("TENANTS", "tenants"),
        ),
        (_CHANGED, *_LAST),
    ),
    Noun(
        "node",
        "node",
        "/v1/nodes",
        "node",
        "Node",
        (
            *_NAME,
            Column("STATE", "status.operational"),
            Column("ADDRESSES", "public_addresses"),
            Column("LAST REPORT", "status.last_report_at"),
            Column("VERSION", "status.version"),
        ),
        (
            Column("SINCE", "status.since"),
            Column("CORDONED", "cordoned"),
            Column("REGISTERED", "status.registered"),
            Column("CERTIFICATE UNTIL", "status.certificate_until"),
            Column(">WANTED", "status.generation_wanted"),
            Column(">APPLIED", "status.generation_applied"),
            Column("NOTES", "status.notes"),
            *_LAST,
        ),
        verbs=(
            Verb(
                "token",
                "Make a registration token, shown once; one before it is void.",
                "its gateway can register with the token",
                shown=("registration_token", "expires_at", "ca_fingerprint"),
            ),
            Verb(
                "revoke",
                "Lock a node out: its credential and tokens are void at once.",
                "locked out; it goes on with the document it has",
                asks="lock it out",
            ),
        ),
    ),
    Noun(
        "alarm",
        "alarm",
        "/v1/alarms",
        "alarm",
        "Alarm",
        (
            Column("ID", "id"),
            Column("RAISED", "raised_at"),
            Column("SEVERITY", "severity"),
            Column("CODE", "code"),
            Column("RESOURCE", "resource.name"),
            Column("STATE", "state"),
            Column("TEXT", "text"),
        ),
        (
            Column("CLEARED", "cleared_at"),
            Column("ACKNOWLEDGED BY", "acknowledged_by"),
            Column("HINT", "hint"),
        ),
        verbs=(Verb("ack", "Say that somebody sees to an alarm.", "acknowledged"),),
        can_change=False,
        texts=("state", "code", "severity", "resource"),
        has_names=False,
    ),
    Noun(
        "alarm-target",
        "alarm_target",
        "/v1/alarm-targets",
        "target",
        "Alarm Target",
        (
            *_NAME,
            Column("TYPE", "type"),
            Column("ENABLED", "enabled"),
            Column("FROM", "min_severity"),
            Column("URL", "url"),
            Column("RECIPIENTS", "recipients"),
        ),
        (Column("CODES", "codes"), Column("SERVER", "server"), _CHANGED, *_LAST),
        verbs=(Verb("test", "Send a test to a target, and say how it went.", "tested"),),
        secrets=("smtp_password", "webhook_secret"),
    ),
    Noun(
        "tenant",
        "tenant",
        "/v1/tenants",
        "",
        "Tenant",
        (Column("NAME", "name"), Column("DESCRIPTION", "description")),
        (Column("CREATED", "created_at"),),
    ),
    Noun(
        "user",
        "user",
        "/v1/users",
        "user",
        "User",
        (*_NAME, Column("TENANT", "tenant"), Column("SCOPE", "scope")),
        (Column("CREATED", "created_at"),),
    ),
    Noun(
        "token",
        "token",
        "/v1/tokens",
        "tok",
        "API token",
        (
            *_NAME,
            Column("TENANT", "tenant"),
            Column("SCOPE", "scope"),
            Column("EXPIRES", "expires_at"),
        ),
        (Column("CREATED", "created_at"), Column("LAST USED", "last_used_at")),
    ),
)
NOUNS: Mapping[str, Noun] = MappingProxyType({noun.name: noun for noun in _TABLE})
BY_KIND: Mapping[str, Noun] = MappingProxyType({noun.kind: noun for noun in _TABLE})


def value_of(item: Json, key: str) -> object:
    """Return the value at a path with dots, None if it is not there."""
    found: object = item
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def cell(value: object) -> str:
    """Return a value as a table shows it."""
    match value:
        case None | [] | {} | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ",".join(cell(one) for one in value)
        case dict():
            return ",".join(f"{key}={cell(one)}" for key, one in value.items())
    return str(value)


def row_of(
    item: Json, columns: Sequence[Column], name_of: Callable[[str, str], str]
) -> tuple[str, ...]:
    """Return a resource's row; `name_of` gives the name of what a noun and an id stand for."""
    cells = []
    for column in columns:
        text = cell(value_of(item, column.key))
        cells.append(name_of(column.of, text) if column.of and text != "-" else text)
    return tuple(cells)
