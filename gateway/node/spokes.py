"""The interfaces toward customers, and which of them are kept from the others. Pure values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gateway.model.resources import DirectLine, Document, VpnConnection, namespaces_of
from gateway.model.tunnels import ResolvedTunnel


@dataclass(frozen=True, slots=True)
class Spoke:
    """An interface toward a customer: the TUN device of a tunnel, or that of a direct line."""

    namespace: str  # "" is the VM's own
    interface: str
    customer: str  # who it leads to: a Customer Gateway
    is_isolated: bool


def spokes_of(document: Document, tunnels: Sequence[ResolvedTunnel]) -> tuple[Spoke, ...]:
    """Return the interfaces toward all customers of `document`, which has passed its checks."""
    return tuple(_spokes(document, tunnels))


def _spokes(document: Document, tunnels: Sequence[ResolvedTunnel]) -> Iterator[Spoke]:
    places = namespaces_of(document)
    isolated = {gateway.name: gateway.spoke_isolation for gateway in document.border_gateway}
    ways: list[tuple[str, VpnConnection | DirectLine]] = []
    ways += [(tunnel.interface, tunnel.connection) for tunnel in tunnels]
    ways += [(line.interface, line) for line in document.direct_line]
    for interface, way in ways:
        own = way.spoke_isolation
        yield Spoke(
            namespace=places[way.border_gateway],
            interface=interface,
            customer=way.customer_gateway,
            is_isolated=isolated[way.border_gateway] if own is None else own,
        )


def is_filtered(spokes: Iterable[Spoke]) -> bool:
    """Return whether packets between these must be kept from passing: one alone meets nobody."""
    found = tuple(spokes)
    customers = {spoke.customer for spoke in found}
    return len(customers) > 1 and any(spoke.is_isolated for spoke in found)
