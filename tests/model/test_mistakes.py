"""Each mistake that a document can hold is found at its place, alone, with words that name it."""

from __future__ import annotations

import pytest

from gateway.model.document import build_document
from gateway.model.locate import Path
from tests.support.documents import (
    BASE,
    CONNECTION,
    FIRST,
    PSK,
    REMOVED,
    SECOND,
    edited,
    errors,
    warnings,
)

GATEWAY: Path = ("gateway",)
POOL: Path = ("gateway", "public_addresses")
CUSTOMER: Path = ("customer_gateway", 0)
OTHER_CUSTOMER = {"name": "branch", "public_addresses": ["203.0.113.77"]}
OTHER_CONNECTION = {
    "name": "branch",
    "border_gateway": "main",
    "customer_gateway": "branch",
    "remote_cidrs": ["10.30.0.0/16"],
    "psk": "another-key-for-the-branch",
    "tunnel": [{}, {}],
}
TWO = [(("customer_gateway", 1), OTHER_CUSTOMER), (("vpn_connection", 1), OTHER_CONNECTION)]
Edits = list[tuple[Path, object]]
PPK_ID: tuple[Path, object] = ((*FIRST, "ppk_id"), "q1")

# edits, the place of the one mistake, words of its text
VALUES: list[tuple[Edits, Path, str]] = [
    ([((*GATEWAY, "name"), "two words")], (*GATEWAY, "name"), "must be 1 to 32 letters"),
    ([((*GATEWAY, "name"), 5)], (*GATEWAY, "name"), "must be a string in quotes (5)"),
    ([((*GATEWAY, "workers"), True)], (*GATEWAY, "workers"), "must be a whole number (true)"),
    ([((*GATEWAY, "workers"), 17)], (*GATEWAY, "workers"), "must be at most 16 (17)"),
    ([((*GATEWAY, "workers"), -1)], (*GATEWAY, "workers"), "must be at least 0 (-1)"),
    ([((*GATEWAY, "worker"), 1)], (*GATEWAY, "worker"), "unknown key; did you mean workers?"),
    ([(("gateways",), {})], ("gateways",), "unknown key; did you mean gateway?"),
    ([((*FIRST, "zzz"), "secret text")], (*FIRST, "zzz"), "unknown key"),
    ([((*POOL, 0), "192.0.2.256")], (*POOL, 0), 'is not an IP address ("192.0.2.256")'),
    ([((*POOL, 0), 3221225985)], (*POOL, 0), "must be an IP address in quotes (3221225985)"),
    ([((*POOL, 0), "127.0.0.1")], (*POOL, 0), "is a loopback address"),
    ([((*POOL, 0), "224.0.0.5")], (*POOL, 0), "is a multicast address"),
    ([((*POOL, 0), "240.0.0.5")], (*POOL, 0), "is a reserved address"),
    ([((*POOL, 0), "0.0.0.0")], (*POOL, 0), "is the unspecified address"),
    ([((*POOL, 0), "::ffff:192.0.2.1")], (*POOL, 0), "is an IPv4 address in IPv6"),
    ([((*CUSTOMER, "identity"), "*gw.test")], (*CUSTOMER, "identity"), "is not an identity"),
    ([((*POOL, 0), "fe80::1")], (*POOL, 0), "is a link-local address"),
    ([(POOL, "192.0.2.1")], POOL, 'must be a list ("192.0.2.1")'),
    ([(("border_gateway", 0, "asn"), 23456)], ("border_gateway", 0, "asn"), "reserved AS number"),
    (
        [(("border_gateway",), {"name": "main"})],
        ("border_gateway",),
        "must be a list of tables: write [[border_gateway]]",
    ),
    (
        [((*CONNECTION, "tunnel"), {})],
        (*CONNECTION, "tunnel"),
        "must be a list of tables: write [[vpn_connection.tunnel]]",
    ),
    ([((*CUSTOMER, "identity"), "keyid:")], (*CUSTOMER, "identity"), "needs 1 to 128 bytes"),
    ([(("border_gateway",), 1)], ("border_gateway",), "must be a list (1)"),
    ([(("border_gateway", 0), 1)], ("border_gateway", 0), "must be a table (1)"),
    ([((*CUSTOMER, "public_addresses"), "203.0.113.9")], (*CUSTOMER, "public_addresses"), "any"),
    ([((*CUSTOMER, "identity"), "no spaces")], (*CUSTOMER, "identity"), "is not an identity"),
    ([((*CUSTOMER, "identity"), "keyid:xyz")], (*CUSTOMER, "identity"), "hexadecimal"),
    ([((*CUSTOMER, "identity"), "")], (*CUSTOMER, "identity"), "is not an identity"),
    ([((*CUSTOMER, "name"), REMOVED)], (*CUSTOMER, "name"), "is required"),
    ([((*CONNECTION, "routing"), "ospf")], (*CONNECTION, "routing"), "must be one of"),
    ([((*CONNECTION, "routing"), "ospf")], (*CONNECTION, "routing"), 'must be one of "static"'),
    (
        [((*CONNECTION, "remote_cidrs"), ["10.20.0.1/16"])],
        (*CONNECTION, "remote_cidrs", 0),
        "has host bits set; the network is 10.20.0.0/16",
    ),
    (
        [((*CONNECTION, "remote_cidrs"), ["10.20.0.0"])],
        (*CONNECTION, "remote_cidrs", 0),
        "needs a prefix length",
    ),
    ([((*FIRST, "encap"), "sometimes")], (*FIRST, "encap"), '"prefer", "auto" or "never"'),
    ([((*FIRST, "start"), "both")], (*FIRST, "start"), '"initiate" or "respond"'),
    ([((*FIRST, "admin"), "on")], (*FIRST, "admin"), 'must be one of "up" or "down"'),
    ([((*FIRST, "liveness_s"), float("nan"))], (*FIRST, "liveness_s"), "finite number"),
    ([((*FIRST, "mtu"), 300)], (*FIRST, "mtu"), "must be at least 576 (300)"),
    ([((*FIRST, "replay_window"), 32)], (*FIRST, "replay_window"), "must be at least 64"),
    ([((*FIRST, "child_lifetime_bytes"), 5)], (*FIRST, "child_lifetime_bytes"), "must be 0"),
    ([((*FIRST, "interface"), "a-name-too-long-")], (*FIRST, "interface"), "interface name"),
    ([((*FIRST, "interface"), "lo")], (*FIRST, "interface"), "is not an interface name"),
    (
        [((*FIRST, "ike_proposals"), ["aes256gcm16-prfsha384"])],
        (*FIRST, "ike_proposals", 0),
        "aes256gcm16-prfsha384",
    ),
    (
        [((*FIRST, "esp_proposals"), ["aes256gcm16", "3des-sha1"])],
        (*FIRST, "esp_proposals", 1),
        "3des is a legacy algorithm",
    ),
    (
        [((*FIRST, "esp_proposals"), ["aes256-rot13"])],
        (*FIRST, "esp_proposals", 0),
        "rot13",
    ),
    (
        [((*FIRST, "local_ts"), ["10.0.0.0/8[foo]"])],
        (*FIRST, "local_ts", 0),
        "foo",
    ),
]

RULES: list[tuple[Edits, Path, str]] = [
    ([(POOL, REMOVED)], POOL, "is required"),
    ([((*POOL, 1), "192.0.2.1")], (*POOL, 1), "is listed twice"),
    (
        [(("border_gateway", 1), {"name": "main"})],
        ("border_gateway", 1, "name"),
        "another border_gateway",
    ),
    (
        [((*CONNECTION, "border_gateway"), "mian")],
        (*CONNECTION, "border_gateway"),
        'no border_gateway has this name; there is: main ("mian")',
    ),
    (
        [((*CONNECTION, "customer_gateway"), "nobody")],
        (*CONNECTION, "customer_gateway"),
        "no customer_gateway has this name",
    ),
    (
        [
            (
                ("route",),
                [{"border_gateway": "main", "prefix": "10.9.0.0/16", "vpn_connection": "x"}],
            )
        ],
        ("route", 0, "vpn_connection"),
        "no vpn_connection has this name",
    ),
    (
        [
            (("border_gateway", 1), {"name": "second"}),
            (
                ("route",),
                [
                    {
                        "border_gateway": "second",
                        "prefix": "10.9.0.0/16",
                        "vpn_connection": "office",
                    }
                ],
            ),
        ],
        ("route", 0, "border_gateway"),
        "belongs to border gateway main",
    ),
    (
        [((*CUSTOMER, "public_addresses"), ["203.0.113.1", "203.0.113.2", "203.0.113.3"])],
        (*CUSTOMER, "public_addresses"),
        "needs 1, 2 or 4 addresses",
    ),
    (
        [((*CUSTOMER, "public_addresses"), ["192.0.2.1"])],
        (*CUSTOMER, "public_addresses", 0),
        "is an address of this gateway",
    ),
    ([((*CONNECTION, "tunnel"), [])], (*CONNECTION, "tunnel"), "has 0"),
    (
        [((*CONNECTION, "ha_mode"), "active-active"), ((*CONNECTION, "failback_s"), 30)],
        (*CONNECTION, "failback_s"),
        'has a meaning with ha_mode = "active-standby" only (30)',
    ),
    (
        [((*CONNECTION, "local_cidrs"), ["10.10.0.0/16"])],
        (*CONNECTION, "local_cidrs"),
        "policy",
    ),
    (
        [((*CONNECTION, "routing"), "policy"), ((*CONNECTION, "remote_cidrs"), REMOVED)],
        (*CONNECTION, "remote_cidrs"),
        "is required with policy routing",
    ),
    (
        [((*CONNECTION, "routing"), "policy"), (("vpc_attachment",), [])],
        (*CONNECTION, "local_cidrs"),
        "policy routing needs local_cidrs",
    ),
    (
        [((*CONNECTION, "local_ts"), [f"10.0.{at}.0/24" for at in range(33)])],
        (*CONNECTION, "local_ts"),
        "gives 33 traffic selectors, at most 32",
    ),
    ([((*SECOND, "name"), "office-1")], (*SECOND, "name"), "another tunnel has this name"),
    (
        [((*SECOND, "interface"), "ts-office-1")],
        (*SECOND, "interface"),
        "tunnel office-1 has this device",
    ),
    ([((*SECOND, "interface"), "eth1")], (*SECOND, "interface"), "vpc_attachment vpc has this"),
    (
        [((*FIRST, "local_address"), "192.0.2.7")],
        (*FIRST, "local_address"),
        "is not one of gateway.public_addresses",
    ),
    (
        [((*FIRST, "remote_address"), "203.0.113.99")],
        (*FIRST, "remote_address"),
        "is not an address of customer_gateway office",
    ),
    (
        [
            ((*SECOND, "local_address"), "192.0.2.1"),
            ((*SECOND, "remote_address"), "203.0.113.9"),
        ],
        (*SECOND, "local_address"),
        "tunnel office-1 has the same pair of addresses (192.0.2.1 - 203.0.113.9)",
    ),
    (
        [((*POOL, 0), "2001:db8::1"), ((*FIRST, "local_address"), "2001:db8::1")],
        (*FIRST, "local_address"),
        "is not of the same IP version",
    ),
    (
        [
            ((*CUSTOMER, "public_addresses"), "any"),
            ((*CUSTOMER, "identity"), REMOVED),
            ((*CONNECTION, "tunnel"), [{}]),
        ],
        (*FIRST, "remote_id"),
        "is required where",
    ),
    (
        [((*CUSTOMER, "public_addresses"), "any"), ((*CONNECTION, "start"), "initiate")],
        (*CONNECTION, "start"),
        "we can not begin",
    ),
    (
        [((*CUSTOMER, "public_addresses"), "any"), ((*FIRST, "remote_address"), "203.0.113.9")],
        (*FIRST, "remote_address"),
        'are "any"',
    ),
    ([((*CONNECTION, "psk"), "")], (*CONNECTION, "psk"), "is empty"),
    ([((*CONNECTION, "psk"), "short")], (*CONNECTION, "psk"), "has 5 characters, need 20"),
    ([((*CONNECTION, "psk"), "0x00112233")], (*CONNECTION, "psk"), "has 4 bytes, need 16"),
    ([((*CONNECTION, "psk"), "0s-")], (*CONNECTION, "psk"), "is not hexadecimal or base64"),
    ([((*CONNECTION, "psk"), 7)], (*CONNECTION, "psk"), "must be a string in quotes (secret"),
    ([((*CONNECTION, "psk"), f" {PSK}")], (*CONNECTION, "psk"), "has white space at an end"),
    ([((*CONNECTION, "psk"), f"{PSK}\n")], (*CONNECTION, "psk"), "has white space at an end"),
    ([((*FIRST, "psk"), "short")], (*FIRST, "psk"), "has 5 characters"),
    ([((*CONNECTION, "ppk"), "p" * 40)], (*CONNECTION, "ppk"), "needs ppk_id beside it"),
    ([((*FIRST, "ppk_id"), "q1")], (*FIRST, "ppk_id"), "needs ppk beside it"),
    ([((*FIRST, "ppk"), "short"), PPK_ID], (*FIRST, "ppk"), "has 5 bytes, need 32"),
    ([((*FIRST, "ppk"), "0x" + "ab" * 31), PPK_ID], (*FIRST, "ppk"), "has 31 bytes, need 32"),
    ([((*FIRST, "ppk"), "0s-"), PPK_ID], (*FIRST, "ppk"), "is not hexadecimal or base64"),
    ([((*FIRST, "ppk"), "p" * 40 + " "), PPK_ID], (*FIRST, "ppk"), "has white space at an end"),
    (
        [((*FIRST, key), "the-same-key-for-both-of-them-and-long") for key in ("psk", "ppk")]
        + [PPK_ID],
        (*FIRST, "ppk"),
        "is the same as psk",
    ),
    ([((*FIRST, "inner_cidr"), "169.254.10.0/29")], (*FIRST, "inner_cidr"), "prefix length 30"),
    ([((*FIRST, "inner_cidr"), "fd00::/64")], (*FIRST, "inner_cidr"), "needs prefix length 126"),
    ([((*FIRST, "inner_cidr"), "100.64.0.0/30")], (*FIRST, "inner_cidr"), "must lie in 169.254"),
    ([((*FIRST, "inner_cidr"), "169.254.3.0/30")], (*FIRST, "inner_cidr"), "is a block that"),
    ([((*FIRST, "inner_cidr"), "169.254.169.252/30")], (*FIRST, "inner_cidr"), "is a block that"),
    (
        [((*SECOND, "inner_cidr"), "169.254.10.0/30")],
        (*SECOND, "inner_cidr"),
        "tunnel office-1 has the same",
    ),
    (
        [((*FIRST, "inner_local"), "169.254.10.3")],
        (*FIRST, "inner_local"),
        "is neither 169.254.10.1 nor 169.254.10.2",
    ),
    (
        [((*FIRST, "inner_cidr"), REMOVED), ((*FIRST, "inner_local"), "169.254.10.1")],
        (*FIRST, "inner_local"),
        "needs inner_cidr",
    ),
    (
        [((*CONNECTION, "child_lifetime_s"), 14400)],
        (*CONNECTION, "child_lifetime_s"),
        "must be less than ike_lifetime_s 14400",
    ),
    (
        [((*FIRST, "inner_cidr"), "fd00:1::/126"), ((*FIRST, "mtu"), 1200)],
        (*FIRST, "mtu"),
        "must be at least 1280 with IPv6 inside",
    ),
    (
        [((*CONNECTION, "remote_cidrs"), ["2001:db8::/48"]), ((*FIRST, "mtu"), 1200)],
        (*FIRST, "mtu"),
        "must be at least 1280 with IPv6 inside",
    ),
    (
        [
            (POOL, ["2001:db8::1", "2001:db8::2"]),
            ((*CUSTOMER, "public_addresses"), ["2001:db8:f::1"]),
            ((*FIRST, "fragment_size"), 576),
        ],
        (*FIRST, "fragment_size"),
        "must be at least 1280 over IPv6",
    ),
    ([((*FIRST, "workers"), 3)], (*FIRST, "workers"), "not be more than gateway.workers 2"),
    (
        [((*FIRST, "per_resource_sas"), True)],
        (*FIRST, "per_resource_sas"),
        "needs workers of at least 2 (true)",
    ),
    (
        [((*SECOND, "preference"), 100)],
        (*SECOND, "preference"),
        "tunnel office-1 has a route to 10.20.0.0/16 with the same metric (100)",
    ),
    (
        [
            *TWO,
            (("vpn_connection", 1, "remote_cidrs"), ["10.20.0.0/16"]),
            (("vpn_connection", 1, "tunnel"), [{}]),
        ],
        ("vpn_connection", 1, "tunnel", 0, "preference"),
        "tunnel office-1 has a route to 10.20.0.0/16",
    ),
]

WARNINGS: list[tuple[Edits, Path, str]] = [
    ([(POOL, ["192.0.2.1"])], POOL, "one address only"),
    ([((*CONNECTION, "tunnel"), [{}])], (*CONNECTION, "tunnel"), "one tunnel only"),
    ([((*CONNECTION, "remote_cidrs"), [])], (*CONNECTION, "remote_cidrs"), "no route leads"),
    (
        [((*CONNECTION, "remote_cidrs", 0), "10.10.3.0/24")],
        (*CONNECTION, "remote_cidrs", 0),
        'overlaps 10.10.0.0/16 of vpc_attachment vpc ("10.10.3.0/24")',
    ),
    (
        [*TWO, (("vpn_connection", 1, "remote_cidrs"), ["10.0.0.0/9"])],
        (*CONNECTION, "remote_cidrs", 0),
        "overlaps 10.0.0.0/9 of vpn_connection branch",
    ),
    (
        [((*CONNECTION, "remote_cidrs", 0), "203.0.113.0/24")],
        (*CONNECTION, "remote_cidrs", 0),
        "holds the remote address 203.0.113.9",
    ),
    (
        [((*CONNECTION, "remote_ts"), ["10.99.0.0/16"])],
        (*CONNECTION, "remote_cidrs", 0),
        "is outside the remote_ts of tunnel office-1",
    ),
    (
        [((*CONNECTION, "remote_ts"), ["::/0"])],
        (*CONNECTION, "remote_cidrs", 0),
        "is outside the remote_ts of tunnel office-1",
    ),
    (
        [((*SECOND, "local_address"), "192.0.2.1")],
        (*SECOND, "local_address"),
        "all tunnels of this connection use one address",
    ),
    (
        [(("border_gateway", 1), {"name": "b"})],
        ("border_gateway", 1, "namespace"),
        "are not isolated",
    ),
    (
        [((*CONNECTION, "psk"), "lisbon-replace-me-with-twinspan-genpsk")],
        (*CONNECTION, "psk"),
        "which everybody knows",
    ),
]


def test_base_has_no_mistake_and_no_warning() -> None:
    assert build_document(BASE)[1] == ()


@pytest.mark.parametrize(("edits", "place", "words"), VALUES + RULES)
def test_mistake_is_found_alone_at_its_place(edits: Edits, place: Path, words: str) -> None:
    _, problems = build_document(edited(*edits))
    assert [path for path, _ in errors(problems)] == [place]
    assert words in errors(problems)[0][1]


@pytest.mark.parametrize(("edits", "place", "words"), WARNINGS)
def test_warning_is_given_at_its_place_and_is_no_mistake(
    edits: Edits, place: Path, words: str
) -> None:
    _, problems = build_document(edited(*edits))
    assert errors(problems) == []
    assert (place, True) in {(path, words in text) for path, text in warnings(problems)}


def test_a_missing_key_is_asked_of_the_connection_or_of_the_tunnel_that_lacks_it() -> None:
    none = ((*CONNECTION, "psk"), REMOVED)
    _, problems = build_document(edited(none))
    assert errors(problems) == [((*CONNECTION, "psk"), "is required: psk or psk_file")]
    _, problems = build_document(edited(none, ((*FIRST, "psk"), PSK)))
    assert errors(problems) == [((*SECOND, "psk"), "is required: psk or psk_file")]


def test_all_mistakes_of_different_kinds_are_reported_at_once() -> None:
    mistakes: list[tuple[Path, object]] = [
        ((*GATEWAY, "name"), "two words"),
        ((*POOL, 0), "127.0.0.1"),
        (("border_gateway", 0, "zzz"), 1),
        ((*CUSTOMER, "identity"), "no spaces"),
        ((*CONNECTION, "customer_gateway"), "nobody"),
        ((*CONNECTION, "psk"), "short"),
        ((*FIRST, "mtu"), 300),
        ((*FIRST, "inner_cidr"), "169.254.3.0/30"),
        ((*SECOND, "name"), "office-1"),
        ((*SECOND, "esp_proposals"), ["aes256-rot13"]),
    ]
    _, problems = build_document(edited(*mistakes))
    at_list = (*SECOND, "esp_proposals", 0)
    places = {path for path, _ in mistakes[:-1]} | {at_list}
    assert {path for path, _ in errors(problems)} == places


def test_places_stay_those_of_the_text_when_elements_are_unusable() -> None:
    _, problems = build_document(
        edited(
            (("customer_gateway", 0), 5),
            (("customer_gateway", 1), {"name": "branch", "public_addresses": ["192.0.2.1"]}),
            ((*CONNECTION, "remote_cidrs"), ["x/1", "10.1.0.0/16", "y/1", "10.1.0.0/16"]),
        )
    )
    assert {path for path, _ in errors(problems)} == {
        ("customer_gateway", 0),
        ("customer_gateway", 1, "public_addresses", 0),
        (*CONNECTION, "remote_cidrs", 0),
        (*CONNECTION, "remote_cidrs", 2),
        (*CONNECTION, "remote_cidrs", 3),
    }


def test_two_peers_behind_one_nat_differ_by_identity() -> None:
    peers: list[tuple[Path, object]] = [
        *TWO,
        (("customer_gateway", 1, "public_addresses"), ["203.0.113.9"]),
    ]
    same = (("customer_gateway", 1, "identity"), "b.gw.test")
    other = (("customer_gateway", 1, "identity"), "c.gw.test")
    assert "same pair" in errors(build_document(edited(*peers, same))[1])[0][1]
    assert errors(build_document(edited(*peers, other))[1]) == []


@pytest.mark.parametrize("psk", ["0x" + "ab" * 16, "0s" + "QUJD" * 6, "twenty characters ok"])
def test_keys_of_enough_length_are_taken(psk: str) -> None:
    assert build_document(edited(((*CONNECTION, "psk"), psk)))[1] == ()


def test_a_weak_key_is_taken_when_it_is_allowed() -> None:
    edits = [((*CONNECTION, "psk"), "short"), ((*CONNECTION, "allow_weak_psk"), True)]
    assert build_document(edited(*edits))[1] == ()


def test_no_message_shows_a_key() -> None:
    secret = "hunter2-hunter2"
    _, problems = build_document(
        edited(
            ((*CONNECTION, "psk"), secret), ((*FIRST, "psk"), [secret]), ((*FIRST, "pks"), secret)
        )
    )
    assert len(problems) == 3
    assert secret not in "".join(str(problem) for problem in problems)
