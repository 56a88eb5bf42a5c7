"""
The kinds of resources: where each is in the API, what it refers to, what may never change. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pydantic import BaseModel

from gateway.control.alarms.target import AlarmTargetSpec
from gateway.control.resources import specs

SECRETS = frozenset(
    {"psk", "ppk", "private_key", "bgp_password", "webhook_secret", "smtp_password"}
)
ID_CHARACTERS = "abcdefghijklmnopqrstuvwxyz234567"
ID_LEN = 10  # 50 bits


@dataclass(frozen=True, slots=True)
class Kind:
    """
    One kind of resource. `references` are fields with the id of another, of the kind they name.

    `fixed` fields are set when the resource is made and never again. `is_operators`: it belongs to
    no tenant, and only the operator writes it. `of_machine` fields name devices and namespaces of
    the gateway VMs, which all tenants share, or say whom these may talk to: a tenant does not set
    them. `inherits`: a field that is not set has no default, because another resource says it.
    """

    name: str
    path: str
    prefix: str
    title: str
    spec: type[BaseModel]
    new: type[BaseModel]  # what a request to make one may have
    references: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    fixed: frozenset[str] = frozenset()
    of_machine: frozenset[str] = frozenset()
    is_operators: bool = False
    inherits: bool = False

    @property
    def secrets(self) -> frozenset[str]:
        """The fields that are sealed in the store and never in an answer."""
        return SECRETS & set(self.spec.model_fields)


def _kind(
    name: str, path: str, prefix: str, title: str, spec: type[BaseModel], **more: object
) -> Kind:
    references = more.pop("references", {})
    assert isinstance(references, dict)
    more.setdefault("new", spec)
    return Kind(name, path, prefix, title, spec, references=MappingProxyType(references), **more)  # type: ignore[arg-type] # of this table


_TABLE = (
    _kind(
        "border_gateway",
        "border-gateways",
        "bgw",
        "Border Gateway",
        specs.BorderGatewaySpec,
        references={"address_pool": "address_pool"},
        of_machine=frozenset({"namespace"}),
    ),
    _kind(
        "vpc_attachment",
        "vpc-attachments",
        "att",
        "VPC Attachment",
        specs.VpcAttachmentSpec,
        references={"border_gateway": "border_gateway", "node": "node"},
        fixed=frozenset({"border_gateway"}),
        of_machine=frozenset({"interface", "parent", "vlan", "veth", "node"}),
    ),
    _kind(
        "customer_gateway",
        "customer-gateways",
        "cgw",
        "Customer Gateway",
        specs.CustomerGatewaySpec,
    ),
    _kind(
        "vpn_connection",
        "vpn-connections",
        "conn",
        "VPN Connection",
        specs.VpnConnectionSpec,
        new=specs.NewVpnConnection,
        references={"border_gateway": "border_gateway", "customer_gateway": "customer_gateway"},
        fixed=frozenset({"border_gateway", "customer_gateway"}),
        of_machine=frozenset({"revocation_private"}),
    ),
    _kind(
        "vpn_tunnel",
        "vpn-tunnels",
        "tun",
        "VPN Tunnel",
        specs.VpnTunnelSpec,
        references={"vpn_connection": "vpn_connection"},
        fixed=frozenset({"vpn_connection", "local_address", "remote_address", "interface"}),
        of_machine=frozenset({"revocation_private"}),
        inherits=True,
    ),
    _kind(
        "direct_line",
        "direct-lines",
        "line",
        "Direct Line",
        specs.DirectLineSpec,
        references={
            "border_gateway": "border_gateway",
            "customer_gateway": "customer_gateway",
            "node": "node",
        },
        fixed=frozenset({"border_gateway", "customer_gateway"}),
        of_machine=frozenset({"interface", "node"}),
    ),
    _kind(
        "route",
        "routes",
        "route",
        "Route",
        specs.RouteSpec,
        references={"border_gateway": "border_gateway", "vpn_connection": "vpn_connection"},
        fixed=frozenset({"border_gateway", "vpn_connection"}),
    ),
    _kind(
        "address_pool",
        "address-pools",
        "pool",
        "Address Pool",
        specs.AddressPoolSpec,
        is_operators=True,
    ),
    _kind("node", "nodes", "node", "Node", specs.NodeSpec, is_operators=True),
    _kind("alarm_target", "alarm-targets", "target", "Alarm Target", AlarmTargetSpec),
)

KINDS: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in _TABLE})


def make_id(kind: Kind, noise: bytes) -> str:
    """Return a new id of a kind from at least ID_LEN random bytes."""
    return random_id(kind.prefix, noise)


def random_id(prefix: str, noise: bytes) -> str:
    """Return a prefix with ten characters of at least ID_LEN random bytes."""
    return prefix + "-" + "".join(ID_CHARACTERS[byte & 31] for byte in noise[:ID_LEN])
