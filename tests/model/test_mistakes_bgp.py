"""What is refused, and what is warned of, with routing = "bgp"."""

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

BGP: tuple[Path, object] = ((*CONNECTION, "routing"), "bgp")
Edit = tuple[Path, object]


def settings(**values: object) -> list[Edit]:
    return [((*CONNECTION, key), value) for key, value in values.items()]


def test_a_bgp_connection_is_free_of_mistakes() -> None:
    made = document(BGP)
    assert made.vpn_connection[0].bfd == "300x3"


@pytest.mark.parametrize("text", ["off", "50x3", "10000x50", "300x2"])
def test_bfd_texts_are_taken(text: str) -> None:
    assert document(BGP, *settings(bfd=text)).vpn_connection[0].bfd == text


CASES: list[tuple[list[Edit], Path, str]] = [
    (
        [(("customer_gateway", 0, "asn"), REMOVED)],
        ("customer_gateway", 0, "asn"),
        'is required: office has routing = "bgp"',
    ),
    (
        [(("customer_gateway", 0, "asn"), 65000)],
        ("customer_gateway", 0, "asn"),
        "is also our AS number in connection office: give two different ones (65000)",
    ),
    (
        settings(local_asn=65010),
        (*CONNECTION, "local_asn"),
        "is also our AS number in connection office: give two different ones (65010)",
    ),
    (settings(local_asn=0), (*CONNECTION, "local_asn"), "must be at least 1 (0)"),
    (settings(local_asn=23456), (*CONNECTION, "local_asn"), "is a reserved AS number (23456)"),
    (
        [(("border_gateway", 0, "asn"), 2**32)],
        ("border_gateway", 0, "asn"),
        "must be at most 4294967294 (4294967296)",
    ),
    (
        [((*SECOND, "inner_cidr"), REMOVED)],
        (*SECOND, "inner_cidr"),
        'is required with routing = "bgp": the session runs between its two addresses',
    ),
    (
        [
            (("gateway", "public_addresses"), ["2001:db8::1", "2001:db8::2"]),
            (("customer_gateway", 0, "public_addresses"), ["2001:db8::9", "2001:db8::a"]),
        ],
        ("border_gateway", 0, "router_id"),
        "is required: we have no public IPv4 address to take it from",
    ),
    (
        [(("border_gateway", 0, "router_id"), "0.0.0.0")],
        ("border_gateway", 0, "router_id"),
        'must not be 0.0.0.0 ("0.0.0.0")',
    ),
    (
        [(("border_gateway", 0, "router_id"), "fd00::1")],
        ("border_gateway", 0, "router_id"),
        'must be written as an IPv4 address ("fd00::1")',
    ),
    (
        settings(bgp_hold_s=9, bgp_keepalive_s=9),
        (*CONNECTION, "bgp_keepalive_s"),
        "must be less than bgp_hold_s 9 (9)",
    ),
    (settings(bgp_hold_s=2), (*CONNECTION, "bgp_hold_s"), "must be at least 3 (2)"),
    (
        [((*FIRST, "bfd"), "300")],
        (*FIRST, "bfd"),
        'must be milliseconds and a count, as in "300x3", or "off" ("300")',
    ),
    (settings(bfd="10x3"), (*CONNECTION, "bfd"), 'the interval must be 50 to 10000 ("10x3")'),
    (settings(bfd="300x1"), (*CONNECTION, "bfd"), 'the multiplier must be 2 to 50 ("300x1")'),
    (
        settings(bgp_prefix_limit=0),
        (*CONNECTION, "bgp_prefix_limit"),
        "must be at least 1 (0)",
    ),
    (
        settings(bgp_password='a"b'),
        (*CONNECTION, "bgp_password"),
        'needs characters of ASCII that print, without " and space at its ends (secret, not shown)',
    ),
    (
        settings(bgp_auth="ao-hmac-sha256"),
        (*CONNECTION, "bgp_auth"),
        'has a meaning with bgp_password only ("ao-hmac-sha256")',
    ),
    (
        settings(bgp_key_id=1, bgp_password="secret"),
        (*CONNECTION, "bgp_key_id"),
        "has a meaning with TCP-AO only: see bgp_auth (1)",
    ),
    (
        settings(bgp_password=""),
        (*CONNECTION, "bgp_password"),
        "must have 1 to 80 characters (secret, not shown)",
    ),
    (
        settings(remote_cidrs=["10.20.0.0/16", "fd00:20::/64"]),
        (*CONNECTION, "remote_cidrs", 1),
        'no tunnel of the connection has an inner_cidr of this IP version ("fd00:20::/64")',
    ),
    (
        [
            (
                ("route",),
                [{"border_gateway": "main", "prefix": "fd00::/64", "vpn_connection": "office"}],
            )
        ],
        ("route", 0, "prefix"),
        'no tunnel of the connection has an inner_cidr of this IP version ("fd00::/64")',
    ),
    (
        [
            ((*FIRST, "preference"), 60000),
            (
                ("route",),
                [
                    {
                        "border_gateway": "main",
                        "prefix": "10.30.0.0/16",
                        "vpn_connection": "office",
                        "preference": 5001,
                    }
                ],
            ),
        ],
        ("route", 0, "preference"),
        "must be at most 0: with the tunnels' preference at most 60000 (5001)",
    ),
    (
        settings(local_cidrs=["10.10.0.0/16"]),
        (*CONNECTION, "local_cidrs"),
        'has a meaning with routing = "policy" only; local_ts narrows selectors',
    ),
]


@pytest.mark.parametrize(("edits", "place", "text"), CASES)
def test_a_mistake_is_told_alone_at_its_place(edits: list[Edit], place: Path, text: str) -> None:
    _, problems = build_document(edited(BGP, *edits))
    assert errors(problems) == [(place, text)]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((*CONNECTION, "bfd"), "off"),
        ((*CONNECTION, "local_asn"), 65001),
        ((*SECOND, "bgp_prepend"), 2),
        ((*FIRST, "bgp_password"), "secret"),
    ],
)
def test_a_setting_of_bgp_without_bgp_is_refused(path: Path, value: object) -> None:
    _, problems = build_document(edited((path, value)))
    assert errors(problems) == [(path, 'has a meaning with routing = "bgp" only')]


def test_no_prefixes_and_no_cidrs_are_warned_of() -> None:
    edits: list[Edit] = [((*CONNECTION, "remote_cidrs"), []), (("vpc_attachment", 0, "cidrs"), [])]
    _, problems = build_document(edited(BGP, *edits))
    assert errors(problems) == []
    assert [path[-1] for path, _ in warnings(problems)] == ["border_gateway", "remote_cidrs"]


def test_equal_preferences_are_no_mistake_with_bgp() -> None:
    edits: list[Edit] = [((*path, "preference"), 100) for path in (FIRST, SECOND)]
    _, problems = build_document(edited(BGP, *edits))
    assert errors(problems) == []
    _, problems = build_document(edited(*edits))
    assert len(errors(problems)) == 1


def test_passwords_are_not_shown_by_the_document() -> None:
    made = document(BGP, *settings(bgp_password="very secret"))
    assert "very secret" not in repr(made) + made.model_dump_json()
