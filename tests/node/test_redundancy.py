"""The product's rule for `ha_status`, on every shape of a connection."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from gateway.node.redundancy import HaStatus, Leg, ha_status

YES, NO = HaStatus.REDUNDANCY, HaStatus.NO_REDUNDANCY


def legs(text: str) -> list[Leg]:
    """Return tunnels from a text as in "A1 B2- A?": our address, the customer's, `-` is down."""
    return [
        Leg(
            ip_address(f"192.0.2.{ord(word[0])}"),
            None if word[1] == "?" else ip_address(f"203.0.113.{word[1]}"),
            works=not word.endswith("-"),
        )
        for word in text.split()
    ]


@pytest.mark.parametrize(
    ("tunnels", "expected"),
    [
        ("A1 B2", YES),
        ("A1 B2 A2 B1", YES),
        ("A1 B2 A2- B1-", YES),
        ("A1- B2 A2 B1-", YES),
        ("A1 B2 A3 B4", YES),
        ("A1 B2-", NO),  # one of ours has no tunnel that works
        ("A1- B2- A2 B1-", NO),
        ("A1 B1", NO),  # the customer has one address
        ("A1 A2", NO),  # we have one
        ("A1", NO),
        ("A? B?", NO),  # who has no address may be one device
        ("A1 B?", NO),
        ("", NO),
    ],
)
def test_redundancy_needs_two_working_addresses_at_both_ends(
    tunnels: str, expected: HaStatus
) -> None:
    assert ha_status(legs(tunnels)) is expected
