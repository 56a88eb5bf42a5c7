"""The group of a KE payload, when a proposal allows several."""

from __future__ import annotations

from gateway.ike.iana import TransformType
from gateway.ike.proposals import Proposal


def only_group(proposals: tuple[Proposal, ...], group: int) -> tuple[Proposal, ...]:
    """Return the proposals that name the group, without the other groups."""
    return tuple(
        Proposal(
            one.protocol,
            tuple(t for t in one.transforms if t.type != TransformType.DH or t.id == group),
            one.spi,
            one.number or at,
        )
        for at, one in enumerate(proposals, 1)
        if any(t.id == group for t in one.of_type(TransformType.DH))
    )
