"""Which SAs a request means: by ike, ike-id, child and child-id, all of which must fit."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.ike.status import ChildStatus, TunnelIkeStatus
from gateway.node.plan import TunnelPlan
from gateway.vici.listing import Listing
from gateway.vici.server import Refused
from gateway.vici.views import slots_named
from gateway.vici.wire import Section

LIVE = ("installed", "rekeying")


def text_of(request: Section, key: str) -> str:
    """Return a value of a request, "" where it is missing. Raises Refused if it is no text."""
    value = request.get(key, "")
    if not isinstance(value, str):
        raise Refused(f"{key} must be one value")
    return value


def number_of(request: Section, key: str, default: int) -> int:
    """Return a whole number of a request. Raises Refused."""
    text = text_of(request, key)
    try:
        return int(text) if text else default
    except ValueError:
        raise Refused(f"{key} is {text!r}, must be a whole number") from None


@dataclass(frozen=True, slots=True)
class Filter:
    """What stands in a request; "" and 0 mean any."""

    ike: str = ""
    ike_id: int = 0
    child: str = ""
    child_id: int = 0

    @classmethod
    def of(cls, request: Section) -> Filter:
        """Return the filter of a request. Raises Refused."""
        return cls(
            text_of(request, "ike"),
            number_of(request, "ike-id", 0),
            text_of(request, "child"),
            number_of(request, "child-id", 0),
        )

    @property
    def is_child(self) -> bool:
        """Return whether it means Child SAs."""
        return bool(self.child or self.child_id)

    @property
    def is_any(self) -> bool:
        return self == Filter()

    def takes_ike(self, plan: TunnelPlan, ike: TunnelIkeStatus, listing: Listing) -> bool:
        """Return whether the IKE SA fits."""
        if self.ike_id and (not ike.spi_i or listing.ike_number(ike) != self.ike_id):
            return False
        return self.ike in ("", plan.name)

    def children(
        self, plan: TunnelPlan, ike: TunnelIkeStatus, listing: Listing
    ) -> tuple[ChildStatus, ...]:
        """Return the Child SAs that fit, of an IKE SA that does."""
        slots = slots_named(plan, self.child) if self.child else None
        return tuple(
            child
            for child in ike.children
            if (slots is None or child.slot in slots)
            and self.child_id in (0, listing.child_number(child))
        )

    def found(self, listing: Listing) -> list[tuple[TunnelPlan, TunnelIkeStatus]]:
        """Return the tunnels with an IKE SA or an attempt at one that fits."""
        return [
            (plan, ike)
            for plan, ike in listing.statuses()
            if ike.state in ("established", "connecting") and self.takes_ike(plan, ike, listing)
        ]

    def found_children(self, listing: Listing) -> list[tuple[TunnelPlan, ChildStatus]]:
        """Return the Child SAs that fit and carry traffic for a while."""
        return [
            (plan, child)
            for plan, ike in self.found(listing)
            for child in self.children(plan, ike, listing)
            if child.state in LIVE
        ]
