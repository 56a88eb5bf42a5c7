"""
The one list of codes: why something is as it is (reasons), what has happened (events), what
somebody must look at (alarms). Pure.

A code is stable: programs may depend on it. Title, meaning and hint are for people and may become
better. A reason or event that knows more (both ends' values, a more exact hint) says so itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gateway.model import codes_control, codes_node, codes_reasons
from gateway.model.severity import Code, Severity

__all__ = ["CODES", "PLANNED", "SECTIONS", "Code", "Severity", "hint_of", "severity_of"]

SECTIONS: Mapping[str, tuple[Code, ...]] = MappingProxyType(
    {
        "Why a tunnel is down or carries nothing": codes_reasons.TUNNEL,
        "Why a BGP session is down": codes_reasons.BGP,
        "VPN Tunnels": codes_node.TUNNEL,
        "VPN Connections and the way of their traffic": codes_node.TRAFFIC,
        "BGP, BFD and BIRD": codes_node.ROUTING,
        "The gateway process and its document": codes_node.GATEWAY,
        "The control plane and its nodes": codes_control.NODES,
        "Access": codes_control.ACCESS,
        "Quotas and alarms": codes_control.ALARMS,
        "Changes of resources": codes_control.CHANGES,
    }
)
CODES: Mapping[str, Code] = MappingProxyType(
    {code.code: code for section in SECTIONS.values() for code in section}
)

# Reasons for which a tunnel is down, or left, because somebody wanted it.
PLANNED = frozenset(
    {"closed", "reconfigured", "removed", "shutdown", "admin_down", "taken_down", "drain"}
    | {"failback", "rekeyed", "redundant"}
)


def severity_of(code: str) -> Severity:
    """Return how much a code matters; what is not in the list (of a newer node) is a warning."""
    found = CODES.get(code)
    return found.severity if found is not None else Severity.WARNING


def hint_of(*codes: str) -> str:
    """Return the hint of the first of some codes that has one."""
    return next((found.hint for code in codes if (found := CODES.get(code)) and found.hint), "")
