"""What is refused, and what is warned of, about probes."""

from __future__ import annotations

import pytest

from gateway.model.document import build_document
from gateway.model.locate import Path
from tests.support.documents import (
    CONNECTION,
    FIRST,
    REMOVED,
    SECOND,
    document,
    edited,
    errors,
    warnings,
)

Edit = tuple[Path, object]
PROBE: Edit = ((*CONNECTION, "probe"), "200x3")


def address(text: str, place: Path = CONNECTION) -> Edit:
    return ((*place, "probe_address"), text)


@pytest.mark.parametrize("text", ["off", "100x2", "60000x50", "200x3"])
def test_probe_texts_are_taken(text: str) -> None:
    assert document(((*CONNECTION, "probe"), text)).vpn_connection[0].probe == text


@pytest.mark.parametrize(
    "edits",
    [
        [address("10.20.3.4")],
        [address("169.254.10.2", FIRST)],
        [
            address("10.99.0.1"),
            (
                ("route",),
                [
                    {
                        "border_gateway": "main",
                        "prefix": "10.99.0.0/16",
                        "vpn_connection": "office",
                    }
                ],
            ),
        ],
    ],
)
def test_addresses_that_are_routed_into_the_tunnel_are_taken(edits: list[Edit]) -> None:
    assert not warnings(build_document(edited(PROBE, *edits))[1])


@pytest.mark.parametrize(
    ("edits", "path", "text"),
    [
        (
            [((*FIRST, "probe"), "200")],
            (*FIRST, "probe"),
            'must be milliseconds and a count, as in "300x3", or "off" ("200")',
        ),
        (
            [((*CONNECTION, "probe"), "50x3")],
            (*CONNECTION, "probe"),
            'the interval must be 100 to 60000 ("50x3")',
        ),
        (
            [((*CONNECTION, "probe"), "200x1")],
            (*CONNECTION, "probe"),
            'the count must be 2 to 50 ("200x1")',
        ),
        (
            [PROBE, address("10.20.0.300")],
            (*CONNECTION, "probe_address"),
            'is not an IP address ("10.20.0.300")',
        ),
        (
            [PROBE, address("10.21.0.1")],
            (*CONNECTION, "probe_address"),
            "is neither 169.254.10.2, the peer's address in office-1, nor within a prefix that is"
            ' routed into office ("10.21.0.1")',
        ),
        (
            [PROBE, address("169.254.10.1", FIRST)],
            (*FIRST, "probe_address"),
            "is neither 169.254.10.2, the peer's address in office-1, nor within a prefix that is"
            ' routed into office ("169.254.10.1")',
        ),
        (
            [PROBE, address("fd00::1", SECOND)],
            (*SECOND, "probe_address"),
            'is not of the same IP version as inner_cidr 169.254.10.4/30 of office-2 ("fd00::1")',
        ),
        (
            [((*CONNECTION, "routing"), "bgp"), PROBE],
            (*CONNECTION, "probe"),
            'has no meaning with routing = "bgp": there it is bfd that watches the tunnel'
            ' ("200x3")',
        ),
        (
            [((*CONNECTION, "routing"), "bgp"), address("10.20.0.1", SECOND)],
            (*SECOND, "probe_address"),
            'has no meaning with routing = "bgp": there it is bfd that watches the tunnel'
            ' ("10.20.0.1")',
        ),
    ],
)
def test_mistakes(edits: list[Edit], path: Path, text: str) -> None:
    assert (path, text) in errors(build_document(edited(*edits))[1])


@pytest.mark.parametrize(
    ("edits", "path", "text"),
    [
        (
            [PROBE, ((*SECOND, "inner_cidr"), REMOVED)],
            (*CONNECTION, "probe"),
            'tunnel office-2 has no inner_cidr to probe from: it is not probed ("200x3")',
        ),
        (
            [address("10.20.0.1", FIRST)],
            (*FIRST, "probe_address"),
            'probe is off: nothing is sent to it ("10.20.0.1")',
        ),
        (
            [((*FIRST, "probe"), "1000x3"), ((*FIRST, "local_ts"), ["10.10.0.0/16"])],
            (*FIRST, "probe"),
            "169.254.10.1 is outside the traffic selectors of tunnel office-1: no probe passes, so"
            ' it counts as not probed ("1000x3")',
        ),
        (
            [((*FIRST, "probe"), "1000x3"), ((*FIRST, "remote_ts"), ["0.0.0.0/0[tcp]"])],
            (*FIRST, "probe"),
            "169.254.10.2 is outside the traffic selectors of tunnel office-1: no probe passes, so"
            ' it counts as not probed ("1000x3")',
        ),
        (
            [((*CONNECTION, "routing"), "policy"), ((*SECOND, "probe"), "1000x3")],
            (*SECOND, "probe"),
            "169.254.10.5 is outside the traffic selectors of tunnel office-2: no probe passes, so"
            ' it counts as not probed ("1000x3")',
        ),
    ],
)
def test_warnings(edits: list[Edit], path: Path, text: str) -> None:
    problems = build_document(edited(*edits))[1]
    assert not errors(problems)
    assert (path, text) in warnings(problems)
