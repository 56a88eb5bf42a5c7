"""
What a VPC's route table takes over from a Border Gateway, where that table is on this machine: the
far end of a veth attachment. Pure values. (A VPC with a router of its own learns by BGP.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gateway.model.resources import Document, VpcAttachment
from gateway.routing.plan import Network
from gateway.sa import Address


@dataclass(frozen=True, slots=True)
class Propagation:
    """
    Which routes are put into the main table of `namespace`, and how: by one of `vias`, our
    addresses on the link, with `metric`. No `cidrs`: none.
    """

    border_gateway: str
    namespace: str
    interface: str
    vias: tuple[Address, ...]  # one for each IP version at most
    cidrs: tuple[Network, ...]
    metric: int

    def routes(self, effective: Iterable[tuple[str, Network]]) -> Iterator[tuple[Network, Address]]:
        """
        Yield prefix and next hop of each route that is taken over.

        `effective` are the prefixes that customers are reached by, each with its Border Gateway.
        """
        by_version = {via.version: via for via in self.vias}
        for gateway, prefix in effective:
            via = by_version.get(prefix.version)
            if gateway == self.border_gateway and via is not None and self._has(prefix):
                yield prefix, via

    def _has(self, prefix: Network) -> bool:
        return any(
            cidr.version == prefix.version
            and cidr.prefixlen <= prefix.prefixlen
            and prefix.network_address in cidr
            for cidr in self.cidrs
        )


def propagations(document: Document) -> tuple[Propagation, ...]:
    """Return what each veth attachment's far end takes over, also where that is nothing."""
    return tuple(
        Propagation(
            border_gateway=attachment.border_gateway,
            namespace=attachment.veth.namespace or "",
            interface=attachment.veth.interface,
            vias=tuple(next_hops(attachment)),
            cidrs=attachment.propagate_cidrs,
            metric=attachment.propagate_priority,
        )
        for attachment in document.vpc_attachment
        if attachment.veth is not None
    )


def next_hops(attachment: VpcAttachment) -> Iterator[Address]:
    """Yield our first address of each IP version that the far end has in its network."""
    if attachment.veth is None:
        return
    seen = set()
    for own in attachment.addresses:
        near = any(own.ip in far.network for far in attachment.veth.addresses)
        if near and own.version not in seen:
            seen.add(own.version)
            yield own.ip
