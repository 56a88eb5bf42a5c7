"""
One gateway VM with two tenants whose address ranges are the same, inside and out.

    vpcred  --- [red]  \\                      / custred  --- hostred
                        gw === wan === net ===
    vpcblue --- [blue] /                      \\ custblue --- hostblue

Each tenant's Border Gateway is a network namespace of its own on the gateway VM. Every VPC is
10.10.0.0/24 and every customer's network 10.20.0.0/24, with the same inner addresses and AS
numbers.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lab.netns import Lab, Namespace
from lab.twinspan import Connection, Document, Tunnel, Twinspan, Value, table

COLOURS = ("red", "blue")
PUBLIC = ("192.0.2.1", "198.51.100.1")  # of the gateway VM
CUSTOMERS = {"red": "203.0.113.2", "blue": "203.0.113.6"}
VPC, VPC_HOST, VPC_GATEWAY = "10.10.0.0/24", "10.10.0.2", "10.10.0.1"
OFFICE, OFFICE_HOST, OFFICE_GATEWAY = "10.20.0.0/24", "10.20.0.2", "10.20.0.1"
OURS, THEIRS = 65000, 65001
BFD = "300x3"


@dataclass(frozen=True, slots=True)
class Tenants(Document):
    """The gateway VM's document: a Border Gateway and its attachments for each tenant."""

    gateways: Sequence[Mapping[str, Value]] = ()
    attachments: Sequence[str] = ()  # tables as text

    def toml(self) -> str:
        parts = [table("[gateway]", {"name": self.name, "public_addresses": self.public})]
        parts += [table("[[border_gateway]]", gateway) for gateway in self.gateways]
        parts += [*self.attachments, *(each.toml() for each in self.connections)]
        return "\n".join(parts)


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant: the host in its VPC, the host of its customer, both ends' gateways."""

    colour: str
    vpc: Namespace
    customer: Namespace
    host: Namespace
    psk: tuple[str, str] = field(
        default_factory=lambda: (secrets.token_hex(32), secrets.token_hex(32))
    )

    @property
    def namespace(self) -> Namespace:
        """Return the Border Gateway's network namespace, which our gateway makes."""
        return Namespace(self.vpc.lab, self.colour)

    def tunnel(self, number: int) -> str:
        """Return the name of tunnel 1 or 2, as the gateway VM has it."""
        return f"{self.colour}-{number}"

    def border_gateway(self) -> dict[str, Value]:
        return {"name": self.colour, "asn": OURS, "namespace": self.namespace.netns}

    def attachment(self, cidrs: Sequence[str] = (VPC,), told: Sequence[str] = ()) -> str:
        """
        Return the attachment: a veth pair, its far end in the VPC's host, whose table takes over
        what is in `told`.
        """
        mine: dict[str, Value] = {
            "name": f"vpc-{self.colour}",
            "border_gateway": self.colour,
            "interface": "vpc",
            "cidrs": cidrs,
            "addresses": [f"{VPC_GATEWAY}/24"],
            "propagate_cidrs": told,
        }
        far: dict[str, Value] = {
            "namespace": self.vpc.netns,
            "interface": "eth0",
            "addresses": [f"{VPC_HOST}/24"],
        }
        return table("[[vpc_attachment]]", mine) + table("[vpc_attachment.veth]", far)

    def connection(self, settings: Mapping[str, Value]) -> Connection:
        """Return the gateway VM's connection to this tenant's customer."""
        return Connection(
            name=self.colour,
            remote_cidrs=[OFFICE],
            tunnels=[
                Tunnel(
                    self.tunnel(number + 1),
                    PUBLIC[number],
                    CUSTOMERS[self.colour],
                    f"169.254.1{number}.0/30",
                    self.psk[number],
                )
                for number in range(2)
            ],
            settings={"border_gateway": self.colour, "routing": "bgp", "bfd": BFD, **settings},
            customer={"asn": THEIRS},
        )

    def customers_document(self) -> Document:
        """Return the document of the customer's gateway."""
        return Document(
            name=f"customer-{self.colour}",
            public=[CUSTOMERS[self.colour]],
            cidrs=[OFFICE],
            connections=[
                Connection(
                    name="cloud",
                    remote_cidrs=[VPC],
                    tunnels=[
                        Tunnel(
                            f"cloud-{number + 1}",
                            CUSTOMERS[self.colour],
                            PUBLIC[number],
                            f"169.254.1{number}.0/30",
                            self.psk[number],
                            {"inner_local": f"169.254.1{number}.2"},
                        )
                        for number in range(2)
                    ],
                    settings={
                        "routing": "bgp",
                        "bfd": BFD,
                        "local_asn": THEIRS,
                        "start": "respond",
                    },
                    customer={"asn": OURS},
                )
            ],
        )


@dataclass(slots=True)
class Network:
    """The gateway VM, its tenants, and the gateways that run."""

    machine: Namespace
    net: Namespace
    tenants: dict[str, Tenant]
    ours: Twinspan
    customers: dict[str, Twinspan]

    def document(self, **settings: Mapping[str, Value]) -> Tenants:
        """Return the gateway VM's document; `settings` are those of a tenant's connection."""
        return document(self.tenants, settings)


def document(tenants: Mapping[str, Tenant], settings: Mapping[str, Mapping[str, Value]]) -> Tenants:
    """Return the document of a gateway VM that serves these tenants."""
    return Tenants(
        name="gw",
        public=PUBLIC,
        cidrs=(),
        connections=[each.connection(settings.get(name, {})) for name, each in tenants.items()],
        gateways=[each.border_gateway() for each in tenants.values()],
        attachments=[each.attachment() for each in tenants.values()],
    )


def build(lab: Lab) -> Network:
    """Make the machines and the gateways, which do not run yet."""
    machine, net = lab.namespace("gw"), lab.namespace("net")
    lab.wire((machine, "wan", (f"{PUBLIC[0]}/24",)), (net, "gw", ("192.0.2.254/24",)))
    machine.address("lo", f"{PUBLIC[1]}/32")
    machine.route("default", "via", "192.0.2.254")
    net.route(f"{PUBLIC[1]}/32", "via", PUBLIC[0])
    tenants = {colour: _tenant(lab, net, colour) for colour in COLOURS}
    return Network(
        machine,
        net,
        tenants,
        Twinspan(machine, document(tenants, {}), shows_namespaces=True),
        {
            colour: Twinspan(each.customer, each.customers_document())
            for colour, each in tenants.items()
        },
    )


def _tenant(lab: Lab, net: Namespace, colour: str) -> Tenant:
    vpc, customer, host = (lab.namespace(f"{kind}{colour}") for kind in ("vpc", "cust", "host"))
    public = CUSTOMERS[colour]
    before = f"203.0.113.{int(public.rpartition('.')[2]) - 1}"
    lab.wire((customer, "wan", (f"{public}/30",)), (net, colour, (f"{before}/30",)))
    customer.route("default", "via", before)
    lab.wire((customer, "lan", (f"{OFFICE_GATEWAY}/24",)), (host, "eth0", (f"{OFFICE_HOST}/24",)))
    host.route("default", "via", OFFICE_GATEWAY)
    return Tenant(colour, vpc, customer, host)
