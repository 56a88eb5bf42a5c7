"""Why a BGP session is down: BIRD's words, as a code. Pure."""

from __future__ import annotations

LINK_DOWN = "link_down"  # no fault of the session: what is below it is down, or its address gone

# In this order: the first whose words are in BIRD's text. "Received" is what the peer has said.
_WORDS = (
    ("Bad peer AS", "bgp_asn_mismatch"),
    ("Hold timer expired", "bgp_hold_expired"),
    ("BFD session down", "bgp_bfd_down"),
    ("Connection refused", "bgp_refused"),
    ("Received:", "bgp_closed_by_peer"),
    ("Connection reset by peer", "bgp_closed_by_peer"),
    ("Connection closed", "bgp_closed_by_peer"),
    ("Socket:", "bgp_unreachable"),
    ("Neighbor lost", LINK_DOWN),
    ("Link down", LINK_DOWN),
)


def bgp_reason(error: str) -> str:
    """Return the code of a session's last error; "" without one."""
    if not error:
        return ""
    return next((code for words, code in _WORDS if words in error), "bgp_error")


def asns_text(local_asn: int, asn: int) -> str:
    """Return how a session is configured at this end."""
    return f"AS {local_asn} to AS {asn}"
