"""
The resources of one gateway and the wanted document that holds them.

The field names are the keys of the TOML document; the descriptions become the JSON schema. What can
be judged within one value is judged here, what needs several resources in `check.py`.
"""

from __future__ import annotations

from itertools import product
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    StrictBool,
    StrictInt,
    Tag,
)

from gateway.model.locate import Path
from gateway.model.settings import CONFIG, WORKERS_MAX, BgpSettings, TunnelSettings
from gateway.model.types import (
    AnyNetwork,
    Asn,
    InnerAddress,
    InterfaceAddress,
    InterfaceName,
    Name,
    OuterAddress,
    PeerIdentityText,
    Prefix,
    RouterId,
    Seconds,
)

VLAN_MAX = 4094  # IEEE 802.1Q
PREFERENCE_MAX = 60000  # routes that fail closed stand above it
LINE_PREFERENCE_MAX = 999
PRIORITY_MAX = 255  # of a VPC's route table
TITLE = "name for people, where name is an id of the control plane"


def _addresses(value: object) -> object:
    if isinstance(value, str) and value != "any":
        raise ValueError('must be a list of addresses, or "any"')
    return value


def _is_any(value: object) -> str:
    return "any" if isinstance(value, str) else "list"


# One member of the union is judged, not both: a wrong address must not be told to be "any".
CustomerAddresses = Annotated[
    Annotated[tuple[OuterAddress, ...], Tag("list")] | Annotated[Literal["any"], Tag("any")],
    Discriminator(_is_any),
    BeforeValidator(_addresses),
]


class Gateway(BaseModel):
    """The gateway VM itself: its name, its workers and its Address Pool."""

    model_config = CONFIG

    name: Name = Field(default="gateway", description="name of this gateway in status and logs")
    public_addresses: tuple[OuterAddress, ...] = Field(
        default=(), description="the Address Pool: our public addresses, two for two paths"
    )
    workers: Annotated[StrictInt, Field(ge=0, le=WORKERS_MAX)] = Field(
        default=0, description="data plane threads; 0 is one per CPU"
    )


class BorderGateway(BaseModel):
    """The VPN gateway on our side, between VPC Attachments and VPN Connections."""

    model_config = CONFIG

    name: Name
    title: Name | None = Field(default=None, description=TITLE)
    asn: Asn = Field(default=65000, description="our AS number")
    router_id: RouterId | None = Field(
        default=None, description="BGP identifier; without it, our first public IPv4 address"
    )
    spoke_isolation: StrictBool = Field(
        default=True, description="customers do not reach each other through this gateway"
    )
    namespace: Name | None = Field(
        default=None,
        description="network namespace that holds it, made if missing; without it, the VM's own",
    )


class Veth(BaseModel):
    """The far end of an attachment that is a pair of virtual Ethernet devices (veth(4))."""

    model_config = CONFIG

    namespace: Name | None = Field(
        default=None, description="network namespace of the far end; without it, the VM's own"
    )
    interface: InterfaceName = Field(description="name of the far end there")
    addresses: tuple[InterfaceAddress, ...] = Field(
        default=(), description="addresses of the far end, with prefix length"
    )


class VpcAttachment(BgpSettings):
    """What lies behind a Border Gateway: an interface and the prefixes reached through it."""

    name: Name
    title: Name | None = Field(default=None, description=TITLE)
    border_gateway: Name = Field(description="name of a border_gateway")
    interface: InterfaceName = Field(description="the interface toward the VPC")
    cidrs: tuple[Prefix, ...] = Field(default=(), description="prefixes behind the interface")
    addresses: tuple[InterfaceAddress, ...] = Field(
        default=(), description="our addresses on the interface, with prefix length"
    )
    vlan: Annotated[StrictInt, Field(ge=1, le=VLAN_MAX)] | None = Field(
        default=None, description="the interface is made: this VLAN on parent"
    )
    parent: InterfaceName | None = Field(
        default=None, description="with vlan, an interface in the VM's own network namespace"
    )
    veth: Veth | None = Field(
        default=None, description="the interface is made: one end of a pair, veth is the other"
    )
    peer_address: InnerAddress | None = Field(
        default=None,
        description="the VPC's router: BGP with it, which learns the customers' routes; cidrs are"
        " then what is learned from it",
    )
    peer_asn: Asn | None = Field(default=None, description="the AS number of the VPC's router")
    propagate_cidrs: tuple[Prefix, ...] = Field(
        default=(),
        description="the customers' routes that the VPC's router is told: these and all within;"
        " none: all",
    )
    propagate_priority: Annotated[StrictInt, Field(ge=1, le=PRIORITY_MAX)] = Field(
        default=150,
        description="priority of those routes at the VPC's router, the first part of their MED:"
        " the lower wins",
    )


class CustomerGateway(BaseModel):
    """The customer's device, as we know it."""

    model_config = CONFIG

    name: Name
    title: Name | None = Field(default=None, description=TITLE)
    public_addresses: CustomerAddresses = Field(
        description='1, 2 or 4 addresses of the device, or "any" where they change'
    )
    asn: Asn | None = Field(default=None, description="the customer's AS number")
    identity: PeerIdentityText | None = Field(
        default=None,
        description="identity of the device in IKE; without it, the tunnel's remote address",
    )


class VpnTunnel(TunnelSettings):
    """One pair of outer addresses: one IKE SA, one TUN device."""

    name: Name | None = Field(
        default=None, description="without it, the connection's name, '-', position"
    )
    title: Name | None = Field(default=None, description=TITLE)
    local_address: OuterAddress | None = Field(
        default=None, description="one of the gateway's addresses; without it, the next one in turn"
    )
    remote_address: OuterAddress | None = Field(
        default=None,
        description="one of the customer gateway's addresses; without it, the next in turn",
    )
    inner_cidr: Prefix | None = Field(
        default=None, description="the /30 or /126 inside the tunnel: ours is the first address"
    )
    inner_local: InnerAddress | None = Field(
        default=None, description="our address in inner_cidr, where it is not the first"
    )
    preference: Annotated[StrictInt, Field(ge=1, le=PREFERENCE_MAX)] | None = Field(
        default=None,
        description="metric of the tunnel's routes, lower wins; without it, 99 + position",
    )
    interface: InterfaceName | None = Field(
        default=None, description="name of the TUN device; without it, ts- and the tunnel's name"
    )


class PolicyRule(BaseModel):
    """With policy routing: which of our prefixes speak with which of the customer's."""

    model_config = CONFIG

    local_cidrs: tuple[Prefix, ...] = Field(min_length=1, description="our prefixes, at least one")
    remote_cidrs: tuple[Prefix, ...] = Field(
        min_length=1,
        description="the customer's prefixes, at least one, routed through the tunnels",
    )

    def pairs(self) -> tuple[tuple[AnyNetwork, AnyNetwork], ...]:
        """Return each pair of our and the customer's prefixes of one IP version."""
        pairs = product(self.local_cidrs, self.remote_cidrs)
        return tuple(pair for pair in pairs if pair[0].version == pair[1].version)


class VpnConnection(TunnelSettings):
    """All tunnels between one Border Gateway and one Customer Gateway."""

    name: Name
    title: Name | None = Field(default=None, description=TITLE)
    border_gateway: Name = Field(description="name of a border_gateway")
    customer_gateway: Name = Field(description="name of a customer_gateway")
    routing: Literal["static", "bgp", "policy"] = Field(
        default="static",
        description="static: any traffic may pass, routes choose it; bgp: the routes are learned;"
        " policy: the selectors are local_cidrs and remote_cidrs, or those of the rules",
    )
    remote_cidrs: tuple[Prefix, ...] = Field(
        default=(),
        description="prefixes of the customer, routed through the tunnels; with bgp what may be"
        " learned, none: anything but a default route",
    )
    local_asn: Asn | None = Field(
        default=None, description="our AS number here, where it is not the border gateway's"
    )
    spoke_isolation: StrictBool | None = Field(
        default=None,
        description="whether this customer is kept from the others; without it, as the border"
        " gateway says",
    )
    local_cidrs: tuple[Prefix, ...] = Field(
        default=(), description="with policy: our prefixes; none: those of the VPC attachments"
    )
    rule: tuple[PolicyRule, ...] = Field(
        default=(),
        description="with policy: at most 5 rules in place of local_cidrs and remote_cidrs; each"
        " pair of prefixes is a Child SA of its own",
    )
    ha_mode: Literal["active-standby", "active-active"] = Field(
        default="active-standby",
        description="active-standby: the tunnel of the lowest preference carries the traffic and"
        " takes it back when it is well again; active-active: traffic stays where it is until that"
        " tunnel fails (in both, tunnels of equal preference share it)",
    )
    failback_s: Annotated[Seconds, Field(ge=0, le=86400)] | None = Field(
        default=None,
        description="with active-standby: how many seconds a tunnel must be well again before it"
        " takes its traffic back; without it, at once",
    )
    flap_damping: StrictBool = Field(
        default=True,
        description="a tunnel that fails four times in short order is the last choice until it has"
        " rested some minutes",
    )
    tunnel: tuple[VpnTunnel, ...] = Field(
        default=(), description="the tunnels, 1 to 8; best 2, 4 or 8"
    )

    def remote_places(self) -> tuple[tuple[Path, AnyNetwork], ...]:
        """Return the customer's prefixes, each with where it stands in the connection."""
        places = [(("remote_cidrs", at), cidr) for at, cidr in enumerate(self.remote_cidrs)]
        return (
            *places,
            *(
                (("rule", at, "remote_cidrs", place), cidr)
                for at, rule in enumerate(self.rule)
                for place, cidr in enumerate(rule.remote_cidrs)
            ),
        )

    def remote_prefixes(self) -> tuple[AnyNetwork, ...]:
        """Return the customer's prefixes, each once."""
        return tuple(dict.fromkeys(cidr for _, cidr in self.remote_places()))


class DirectLine(BgpSettings):
    """A routed link to a customer, preferred to every VPN Connection for equal prefixes."""

    name: Name
    title: Name | None = Field(default=None, description=TITLE)
    border_gateway: Name = Field(description="name of a border_gateway")
    customer_gateway: Name = Field(description="name of a customer_gateway")
    interface: InterfaceName = Field(description="the interface toward the customer")
    address: InterfaceAddress = Field(description="our address on it, with prefix length")
    peer_address: InnerAddress = Field(description="the customer's address on it")
    routing: Literal["bgp", "static"] = Field(
        default="bgp", description="bgp: the routes are learned; static: they are remote_cidrs"
    )
    remote_cidrs: tuple[Prefix, ...] = Field(
        default=(),
        description="prefixes of the customer; with bgp what may be learned, none: anything but a"
        " default route",
    )
    asn: Asn | None = Field(
        default=None, description="the AS number at the other end; without it, the customer's"
    )
    local_asn: Asn | None = Field(
        default=None, description="our AS number here, where it is not the border gateway's"
    )
    preference: Annotated[StrictInt, Field(ge=1, le=LINE_PREFERENCE_MAX)] = Field(
        default=100, description="among direct lines the lower wins, equal ones share the traffic"
    )
    spoke_isolation: StrictBool | None = Field(
        default=None,
        description="whether this customer is kept from the others; without it, as the border"
        " gateway says",
    )


class Route(BaseModel):
    """A static route of a Border Gateway, beside a connection's remote_cidrs."""

    model_config = CONFIG

    border_gateway: Name = Field(description="name of a border_gateway")
    prefix: Prefix = Field(description="the destination")
    vpn_connection: Name = Field(description="the connection whose tunnels are the next hops")
    preference: Annotated[StrictInt, Field(ge=0, le=PREFERENCE_MAX)] = Field(
        default=0, description="added to the preference of each tunnel; lower wins"
    )


class Document(BaseModel):
    """The wanted document: the whole configuration of one gateway."""

    model_config = CONFIG

    gateway: Gateway = Gateway()
    border_gateway: tuple[BorderGateway, ...] = ()
    vpc_attachment: tuple[VpcAttachment, ...] = ()
    customer_gateway: tuple[CustomerGateway, ...] = ()
    vpn_connection: tuple[VpnConnection, ...] = ()
    direct_line: tuple[DirectLine, ...] = ()
    route: tuple[Route, ...] = ()


def namespaces_of(document: Document) -> dict[str, str]:
    """Return the network namespace of each Border Gateway by its name; "" is the VM's own."""
    return {gateway.name: gateway.namespace or "" for gateway in document.border_gateway}


def effective_settings(connection: VpnConnection, tunnel: VpnTunnel) -> TunnelSettings:
    """Return the settings of a tunnel: its own, else the connection's, else the defaults."""
    own = tunnel.model_fields_set
    return TunnelSettings.model_construct(
        **{
            name: getattr(tunnel if name in own else connection, name)
            for name in TunnelSettings.model_fields
        }
    )
