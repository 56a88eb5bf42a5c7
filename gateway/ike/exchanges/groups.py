"""The group of a KE payload, when a proposal allows several."""

from __future__ import annotations

from gateway.ike.iana import TransformType
from gateway.ike.proposals import Proposal


def only_group(proposals: tuple[Proposal, ...], group: int) -> tuple[Proposal, ...]:
    """Return the proposals that name the group, without the other groups."""
    return only(proposals, TransformType.DH, group)


def only(proposals: tuple[Proposal, ...], kind: TransformType, id: int) -> tuple[Proposal, ...]:
    """Return the proposals that have that transform, without the others of its type."""
    return tuple(
        Proposal(
            one.protocol,
            tuple(t for t in one.transforms if t.type != kind or t.id == id),
            one.spi,
            one.number or at,
        )
        for at, one in enumerate(proposals, 1)
        if any(t.id == id for t in one.of_type(kind))
    )
