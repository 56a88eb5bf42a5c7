"""
The order of routes: what BIRD compares must give what the product promises, whatever is offered.

The product's rules are written here again, as short as they are; BIRD's comparison is as its manual
has it, and tried with a real one in `test_live_order`.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.order import (
    ATTACHED,
    DEMOTION,
    PRIORITY_STEP,
    STATIC_SUM_MAX,
    cost,
    learned_preference,
    local_pref,
    static_preference,
)
from gateway.routing.plan import Hop

HOPS = [Hop.ATTACHMENT, Hop.LINE, Hop.VPN]
ORIGINS = ["static", "propagated", "ebgp"]
LINE_MAX, TUNNEL_MAX = 999, 60_000


@dataclass(frozen=True)
class Offer:
    """One route to a prefix, in the document's terms."""

    hop: Hop
    origin: str
    preference: int
    path_len: int
    is_demoted: bool

    @property
    def product(self) -> tuple[int, ...]:
        """Return what the product compares, in order; the lower wins."""
        return (
            self.is_demoted,
            HOPS.index(self.hop),
            ORIGINS.index(self.origin),
            # Among those to be left, static routes into one kind of next hop are not told apart.
            0 if self.is_demoted and self.origin == "static" else self.preference,
            self.path_len,
        )

    @property
    def bird(self) -> tuple[int, ...]:
        """Return what BIRD compares, in order; the lower wins."""
        if self.origin == "propagated":
            return (-ATTACHED, 0, 0)
        if self.origin == "static":
            value = static_preference(self.hop, self.preference, is_demoted=self.is_demoted)
            return (-value, 0, 0)
        value = learned_preference(self.hop, is_demoted=self.is_demoted)
        return (-value, -local_pref(self.preference), self.path_len)


def offers(hop: Hop, origin: str, most: int) -> st.SearchStrategy[Offer]:
    is_learned = origin == "ebgp"
    return st.builds(
        Offer,
        st.just(hop),
        st.just(origin),
        st.integers(1, most),
        st.integers(1, 9) if is_learned else st.just(0),
        st.booleans(),
    )


def of_vpc(origin: str, path_len: int) -> Offer:
    return Offer(Hop.ATTACHMENT, origin, 0, path_len, is_demoted=False)


any_offer = (
    offers(Hop.LINE, "static", LINE_MAX)
    | offers(Hop.LINE, "ebgp", LINE_MAX)
    | offers(Hop.VPN, "static", STATIC_SUM_MAX)
    | offers(Hop.VPN, "ebgp", TUNNEL_MAX)
    | st.just(of_vpc("propagated", 0))
    | st.integers(1, 9).map(lambda path_len: of_vpc("ebgp", path_len))
)


@given(st.lists(any_offer, min_size=2, max_size=8))
def test_bird_prefers_what_the_product_prefers_and_shares_what_is_equal(found: list[Offer]) -> None:
    best_for_product = min(offer.product for offer in found)
    best_for_bird = min(offer.bird for offer in found)
    winners = [offer for offer in found if offer.product == best_for_product]
    assert winners == [offer for offer in found if offer.bird == best_for_bird]


@given(any_offer)
def test_the_numbers_fit_into_what_bird_has_for_them(offer: Offer) -> None:
    assert 0 < -offer.bird[0] < 2**16
    assert 0 <= -offer.bird[1] < 2**32


@given(st.integers(1, LINE_MAX), st.integers(1, TUNNEL_MAX), st.booleans(), st.booleans())
def test_a_peer_that_looks_at_med_prefers_the_line_and_leaves_what_is_demoted(
    line: int, tunnel: int, line_demoted: bool, tunnel_demoted: bool
) -> None:
    of_line = cost(Hop.LINE, line, is_demoted=line_demoted)
    of_tunnel = cost(Hop.VPN, tunnel, is_demoted=tunnel_demoted)
    if line_demoted == tunnel_demoted:
        assert of_line < of_tunnel
    else:
        assert (of_line < of_tunnel) is tunnel_demoted
    assert max(of_line, of_tunnel) < PRIORITY_STEP
    assert DEMOTION > TUNNEL_MAX


def test_a_static_vpn_route_never_beats_a_lines_learned_one() -> None:
    strongest = static_preference(Hop.VPN, 0, is_demoted=False)
    assert strongest < learned_preference(Hop.LINE, is_demoted=False)
    weakest = static_preference(Hop.VPN, STATIC_SUM_MAX, is_demoted=False)
    assert weakest > learned_preference(Hop.VPN, is_demoted=False)
