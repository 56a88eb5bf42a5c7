"""
What the node makes toward VPCs and by direct lines: interfaces of a Border Gateway that are no
tunnels. Pure values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.model.resources import Document, VpcAttachment, namespaces_of
from gateway.model.types import AnyInterface

# What a card may do with packets on the way in, by the kernel's names (`ethtool -k`).
GRO, UDP_GRO_FORWARDING, GRO_LIST = "rx-gro", "rx-udp-gro-forwarding", "rx-gro-list"


@dataclass(frozen=True, slots=True)
class FarEnd:
    """The other end of a pair of virtual Ethernet devices; `namespace` "" is the VM's own."""

    namespace: str
    interface: str
    addresses: tuple[AnyInterface, ...] = ()


@dataclass(frozen=True, slots=True)
class PortPlan:
    """
    An interface as it is to be: by itself one that exists, with `vlan` or `far` one that is made.

    `owner` is the kind and name of the resource it belongs to; no two ports have the same.
    """

    owner: str
    namespace: str  # "" is the VM's own
    interface: str
    addresses: tuple[AnyInterface, ...] = ()
    vlan: tuple[str, int] | None = None  # parent, in the VM's own namespace, and VLAN id
    far: FarEnd | None = None

    @property
    def is_made(self) -> bool:
        """Return whether the interface is made, not found."""
        return self.vlan is not None or self.far is not None


def ports_of(document: Document) -> tuple[PortPlan, ...]:
    """Return the ports of all Border Gateways of `document`, which has passed its checks."""
    return tuple(_ports(document))


def cards_of(plan: PortPlan) -> Iterator[tuple[str, str]]:
    """Yield namespace and name of each device at which packets of a port may be merged."""
    yield plan.namespace, plan.interface
    if plan.vlan is not None:  # what is tagged is merged before its tag is looked at
        yield "", plan.vlan[0]


def _ports(document: Document) -> Iterator[PortPlan]:
    places = namespaces_of(document)
    for attachment in document.vpc_attachment:
        yield PortPlan(
            owner=f"vpc_attachment {attachment.name}",
            namespace=places[attachment.border_gateway],
            interface=attachment.interface,
            addresses=attachment.addresses,
            vlan=_vlan(attachment),
            far=_far(attachment),
        )
    for line in document.direct_line:
        yield PortPlan(
            owner=f"direct_line {line.name}",
            namespace=places[line.border_gateway],
            interface=line.interface,
            addresses=(line.address,),
        )


def _vlan(attachment: VpcAttachment) -> tuple[str, int] | None:
    if attachment.vlan is None or attachment.parent is None:
        return None
    return attachment.parent, attachment.vlan


def _far(attachment: VpcAttachment) -> FarEnd | None:
    veth = attachment.veth
    if veth is None:
        return None
    return FarEnd(veth.namespace or "", veth.interface, veth.addresses)
