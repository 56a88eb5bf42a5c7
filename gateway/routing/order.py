"""
In which order routes to one prefix are preferred, as numbers for BIRD and for our peers. Pure.

1. what the next hop is: VPC Attachment, direct line, VPN;
2. where the route is from: static, propagated (the `cidrs` of an attachment), learned by EBGP;
3. the preference that the document gives the tunnel or line, the lower first;
4. the length of the AS path; then BGP's own rules: origin, and MED among routes of one neighbour;
5. what is still equal shares the traffic.

So a static route into a VPN never beats what a direct line's peer announces, and preferences, by
which tunnels are steered, come before AS paths, which the peer chooses. IBGP, which would be the
last in 2, is not spoken. What is DEMOTED, or what the peer asks to leave (RFC 8326), stands behind
all else, by the same rules among itself.

BIRD compares its own `preference` first (16 bits, the higher wins): rules 1 and 2, and 3 for static
routes. Then it compares LOCAL_PREF: rule 3 for learned ones.
"""

from __future__ import annotations

from gateway.routing.plan import Hop

ATTACHED = 65_535
STATIC = {Hop.LINE: 65_000, Hop.VPN: 61_000}  # less the sum of preferences
STATIC_SUM_MAX = 60_000  # of a route into a tunnel; a line's preference is at most 999
LEARNED = {Hop.ATTACHMENT: 65_200, Hop.LINE: 63_000, Hop.VPN: 100}
DEMOTED_STATIC = {Hop.LINE: 90, Hop.VPN: 70}
DEMOTED_LEARNED = {Hop.LINE: 80, Hop.VPN: 60}
DEMOTED_MAX = 99

LOCAL_PREF_BASE = 100_000  # less the preference, at most 60,000

# MED: the lower wins. A line's preference is below 1000, a tunnel's cost above, demoted or not.
VPN_COST = 1_000
DEMOTION = 100_000
PRIORITY_STEP = 1_000_000  # toward a VPC's router the attachment's priority comes first


def static_preference(hop: Hop, total: int, *, is_demoted: bool) -> int:
    """Return BIRD's preference of a static route with this sum of preferences."""
    return DEMOTED_STATIC[hop] if is_demoted else STATIC[hop] - total


def learned_preference(hop: Hop, *, is_demoted: bool) -> int:
    """Return BIRD's preference of a route that was learned by BGP."""
    return DEMOTED_LEARNED[hop] if is_demoted else LEARNED[hop]


def local_pref(preference: int) -> int:
    """Return the LOCAL_PREF of what is learned through a tunnel or line of this preference."""
    return LOCAL_PREF_BASE - preference


def cost(hop: Hop, preference: int, *, is_demoted: bool) -> int:
    """Return how far a way stands behind others, as a number that is compared with theirs."""
    if hop is Hop.ATTACHMENT:
        return 0
    return preference + VPN_COST * (hop is Hop.VPN) + DEMOTION * is_demoted
