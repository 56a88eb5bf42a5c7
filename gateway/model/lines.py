"""Direct lines with every default filled in, and which Border Gateways choose among routes."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.model.locate import Path
from gateway.model.resources import DirectLine, Document


@dataclass(frozen=True, slots=True)
class ResolvedLine:
    """One direct line. `asn` is that of the other end, None where nobody says it."""

    path: Path
    line: DirectLine
    asn: int | None


def resolve_lines(document: Document) -> tuple[ResolvedLine, ...]:
    """Return every direct line of `document` with its defaults, in the document's order."""
    asns = {customer.name: customer.asn for customer in document.customer_gateway}
    return tuple(
        ResolvedLine(("direct_line", at), line, line.asn or asns.get(line.customer_gateway))
        for at, line in enumerate(document.direct_line)
    )


def chosen_by_bird(document: Document) -> frozenset[str]:
    """Return the Border Gateways in which routes are to be chosen among."""
    speaking = [c.border_gateway for c in document.vpn_connection if c.routing == "bgp"]
    speaking += [a.border_gateway for a in document.vpc_attachment if a.peer_address is not None]
    return frozenset((*speaking, *(line.border_gateway for line in document.direct_line)))
