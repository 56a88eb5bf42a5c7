"""Traffic selectors: narrowing, comparison and texts (RFC 7296 section 2.9, ike.md B.9)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import TsUnacceptable
from gateway.ike.selectors import (
    ANY4,
    ANY6,
    SELECTORS_MAX,
    contains,
    is_subset,
    narrow,
    parse_selector,
    passes_echo,
    selector_text,
)
from gateway.sa import TrafficSelector

Selectors = tuple[TrafficSelector, ...]


def ts(*texts: str) -> Selectors:
    return tuple(parse_selector(text) for text in texts)


@pytest.mark.parametrize(
    ("offered", "allowed", "answer"),
    [
        (["10.1.0.0/16"], ["10.1.0.0/16"], ["10.1.0.0/16"]),
        (["10.0.0.0/8"], ["10.1.0.0/16"], ["10.1.0.0/16"]),
        (["10.1.2.0/24"], ["10.1.0.0/16"], ["10.1.2.0/24"]),
        (["0.0.0.0/0"], ["10.1.0.0/16", "10.9.0.0/16"], ["10.1.0.0/16", "10.9.0.0/16"]),
        (["0.0.0.0/0", "::/0"], ["::/0"], ["::/0"]),
        (["10.0.0.0-10.0.0.9"], ["10.0.0.5-10.0.0.20"], ["10.0.0.5-10.0.0.9"]),
        # The packet's own selector first: the largest that contains it, not the host pair.
        (["10.1.2.3/32[tcp/443]", "10.1.0.0/16"], ["10.0.0.0/8"], ["10.1.0.0/16"]),
        (
            ["10.9.2.3/32", "10.1.0.0/16", "10.9.0.0/16"],
            ["10.0.0.0/8"],
            ["10.9.0.0/16", "10.1.0.0/16"],
        ),
        (["10.1.2.3/32"], ["10.0.0.0/8"], ["10.1.2.3/32"]),
        (["10.1.0.0/16", "10.1.0.0/16"], ["10.0.0.0/8"], ["10.1.0.0/16"]),
        # Protocols and ports.
        (["10.0.0.0/8"], ["10.1.0.0/16[tcp/80-90]"], ["10.1.0.0/16[tcp/80-90]"]),
        (["10.0.0.0/8[tcp/85-99]"], ["10.1.0.0/16[tcp/80-90]"], ["10.1.0.0/16[tcp/85-90]"]),
        (["10.0.0.0/8[tcp/0-80]"], ["10.0.0.0/8[tcp/80-90]"], ["10.0.0.0/8[tcp/80]"]),
        (["10.0.0.0/8[tcp]"], ["10.1.0.0/16"], ["10.1.0.0/16[tcp]"]),
        (["10.0.0.0/8[icmp/8]"], ["10.0.0.0/8[icmp]"], ["10.0.0.0/8[icmp/8]"]),
        (["10.0.0.0/8[tcp/opaque]"], ["10.0.0.0/8"], ["10.0.0.0/8[tcp/opaque]"]),
        (["10.0.0.0/8[tcp/opaque]"], ["10.0.0.0/8[tcp/opaque]"], ["10.0.0.0/8[tcp/opaque]"]),
    ],
)
def test_narrowing(offered: list[str], allowed: list[str], answer: list[str]) -> None:
    found = narrow(ts(*offered), ts(*allowed))
    assert [selector_text(one) for one in found] == answer


@pytest.mark.parametrize(
    ("offered", "allowed"),
    [
        (["10.1.0.0/16"], ["10.2.0.0/16"]),
        (["0.0.0.0/0"], ["::/0"]),
        (["10.0.0.0/8[tcp]"], ["10.0.0.0/8[udp]"]),
        (["10.0.0.0/8[tcp/1-79]"], ["10.0.0.0/8[tcp/80]"]),
        (["10.0.0.0/8[tcp/opaque]"], ["10.0.0.0/8[tcp/80]"]),
        (["10.0.0.0/8[tcp/0-1000]"], ["10.0.0.0/8[tcp/opaque]"]),
        ([], ["0.0.0.0/0"]),
        (["0.0.0.0/0"], []),
    ],
)
def test_nothing_in_common_is_refused(offered: list[str], allowed: list[str]) -> None:
    with pytest.raises(TsUnacceptable, match=r"offered .*; allowed"):
        narrow(ts(*offered), ts(*allowed))


def test_a_refusal_shows_both_sides() -> None:
    with pytest.raises(TsUnacceptable) as caught:
        narrow(ts("10.1.0.0/16[tcp/80]"), ts("10.2.0.0/16", "::/0"))
    assert str(caught.value) == "offered 10.1.0.0/16[tcp/80]; allowed 10.2.0.0/16 ::/0"


def test_a_refusal_says_that_there_was_nothing() -> None:
    with pytest.raises(TsUnacceptable, match=r"^offered nothing; allowed 0\.0\.0\.0/0$"):
        narrow((), (ANY4,))


def test_a_peer_that_offers_255_gets_as_many_as_an_sa_can_hold() -> None:
    offered = ts(*(f"10.0.{at}.0/24" for at in range(255)))
    assert narrow(offered, (ANY4,)) == offered[:SELECTORS_MAX]
    with pytest.raises(TsUnacceptable) as caught:
        narrow(offered, (ANY6,))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        (["10.1.0.0/16"], ["10.0.0.0/8"], True),
        (["10.0.0.0/8"], ["10.0.0.0/8"], True),
        (["10.0.0.0/8"], ["10.1.0.0/16"], False),  # a supernet
        (["10.1.0.0/16", "10.2.0.0/16"], ["10.1.0.0/16"], False),
        (["10.0.0.0/15"], ["10.0.0.0/16", "10.1.0.0/16"], True),  # merged by the peer
        (["10.0.0.0/14"], ["10.0.0.0/16", "10.2.0.0/15"], False),  # with a hole
        (["10.0.0.0-10.0.0.2"], ["10.0.0.0/32", "10.0.0.2/32"], False),  # of one address
        (["10.0.0.0/31"], ["10.0.0.0/32", "10.0.0.1/32"], True),
        (["10.0.0.0-10.0.0.4"], ["10.0.0.0/30"], False),  # the last address is outside
        (["10.0.0.3-10.0.0.7"], ["10.0.0.4/30"], False),  # the first is
        (["10.0.0.0/8[tcp]"], ["10.0.0.0/8"], True),
        (["10.0.0.0/8"], ["10.0.0.0/8[tcp]"], False),
        (["10.0.0.0/15"], ["10.0.0.0/16[tcp]", "10.1.0.0/16"], False),
        (["::/0"], ["0.0.0.0/0"], False),
        ([], ["0.0.0.0/0"], True),
        (["0.0.0.0/0"], [], False),
    ],
)
def test_subset(inner: list[str], outer: list[str], expected: bool) -> None:
    assert is_subset(ts(*inner), ts(*outer)) is expected


@pytest.mark.parametrize(
    ("selectors", "address", "expected"),
    [
        (["10.0.0.0/8"], "10.1.2.3", True),  # any protocol
        (["10.0.0.0/8[icmp]"], "10.1.2.3", True),
        (["10.0.0.0/8[icmp/8]"], "10.1.2.3", True),  # it may be: the answer has another type
        (["2001:db8::/32[ipv6-icmp]"], "2001:db8::1", True),
        (["192.0.2.0/24", "10.0.0.0/8"], "10.1.2.3", True),
        (["10.0.0.0-10.0.0.9"], "10.0.0.0", True),
        (["10.0.0.0-10.0.0.9"], "10.0.0.9", True),
        (["10.0.0.1-10.0.0.9"], "10.0.0.0", False),
        (["10.0.0.0-10.0.0.9"], "10.0.0.10", False),
        (["10.0.0.0/8[tcp]"], "10.1.2.3", False),
        (["0.0.0.0/0"], "::1", False),  # the same number in the other family
        (["::/0"], "10.1.2.3", False),
        (["10.0.0.0/8[tcp]", "192.0.2.0/24"], "10.1.2.3", False),  # not within the same one
        ([], "10.1.2.3", False),
    ],
)
def test_whether_an_echo_may_pass(selectors: list[str], address: str, expected: bool) -> None:
    assert passes_echo(ts(*selectors), ip_address(address)) is expected


# Small boxes, so that they overlap often.
addresses = st.integers(0, 15)
ports = st.one_of(
    st.just((0, 65535)),
    st.just((65535, 0)),
    st.tuples(st.integers(1, 6), st.integers(1, 6)).map(lambda two: (min(two), max(two))),
)


@st.composite
def boxes(draw: st.DrawFn) -> TrafficSelector:
    first, last = sorted((draw(addresses), draw(addresses)))
    protocol = draw(st.sampled_from([0, 6, 17]))
    if draw(st.booleans()):
        return TrafficSelector(IPv4Address(first), IPv4Address(last), protocol, *draw(ports))
    return TrafficSelector(IPv6Address(first), IPv6Address(last), protocol, *draw(ports))


sides = st.lists(boxes(), min_size=1, max_size=4).map(tuple)
OPAQUE_PORT = -1
points = st.tuples(
    st.sampled_from([4, 6]),
    addresses,
    st.sampled_from([6, 17, 50]),
    st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 65535, OPAQUE_PORT]),
)
Point = tuple[int, int, int, int]


def selects(side: Selectors, point: Point) -> bool:
    """Return whether a packet is selected: the definition, without any arithmetic on boxes."""
    version, address, protocol, port = point
    return any(
        one.first.version == version
        and int(one.first) <= address <= int(one.last)
        and one.protocol in (0, protocol)
        and (
            (one.first_port, one.last_port) in ((0, 65535), (65535, 0))
            if port == OPAQUE_PORT
            else one.first_port <= port <= one.last_port
        )
        for one in side
    )


@given(sides, sides, st.lists(points, max_size=20))
@settings(max_examples=300)
def test_narrowing_selects_exactly_what_both_sides_select(
    offered: Selectors, allowed: Selectors, packets: list[Point]
) -> None:
    try:
        found = narrow(offered, allowed)
    except TsUnacceptable:
        found = ()
    for packet in packets:
        both = selects(offered, packet) and selects(allowed, packet)
        assert selects(found, packet) == both, packet


@given(sides, sides)
@settings(max_examples=200)
def test_narrowing_gives_a_subset_of_both_sides_and_no_selector_twice(
    offered: Selectors, allowed: Selectors
) -> None:
    try:
        found = narrow(offered, allowed)
    except TsUnacceptable:
        return
    assert is_subset(found, offered)
    assert is_subset(found, allowed)
    assert not any(contains(one, two) for one in found for two in found if one != two)
    assert narrow(found, allowed) == found


@given(sides, sides, st.lists(points, min_size=5, max_size=30))
@settings(max_examples=200)
def test_a_subset_selects_no_packet_that_the_outer_side_does_not(
    inner: Selectors, outer: Selectors, packets: list[Point]
) -> None:
    if is_subset(inner, outer):
        assert not [one for one in packets if selects(inner, one) and not selects(outer, one)]


# ---- texts ----


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.0/8",
        "10.0.0.1/32",
        "0.0.0.0/0",
        "::/0",
        "2001:db8::/32[tcp/80]",
        "10.0.0.1-10.0.0.9",
        "2001:db8::1-2001:db8::7[udp]",
        "10.0.0.0/8[udp/5000-5010]",
        "10.0.0.0/8[icmp/8]",
        "10.0.0.0/8[icmp/3(4)]",
        "10.0.0.0/8[icmp/3(1)-3(4)]",
        "10.0.0.0/8[icmp/3(1)-3(255)]",  # all codes of the type but one
        "10.0.0.0/8[icmp/3(0)-5(255)]",  # more than one type
        "10.0.0.0/8[icmp/3(0)]",  # one code of it
        "10.0.0.0/8[icmp/3]",
        "10.0.0.0/8[icmp/255]",
        "10.0.0.0/8[icmp/255(255)]",
        "10.0.0.0/8[tcp/768-1023]",  # as numbers these are an ICMP type
        "::/0[ipv6-icmp/128]",
        "10.0.0.0/8[tcp/opaque]",
        "10.0.0.0/8[99]",
        "10.0.0.0/8[any/opaque]",
    ],
)
def test_a_text_reads_back(text: str) -> None:
    assert selector_text(parse_selector(text)) == text


def test_texts_that_say_the_same() -> None:
    assert parse_selector("10.0.0.1") == parse_selector("10.0.0.1/32")
    assert parse_selector("10.0.0.1-10.0.0.1") == parse_selector("10.0.0.1/32")
    assert parse_selector("0.0.0.0/0[any/any]") == ANY4
    assert parse_selector("::/0[0/any]") == ANY6
    assert parse_selector(" 10.0.0.0/8[6/80] ") == parse_selector("10.0.0.0/8[tcp/80-80]")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is no traffic selector"),
        ("10.0.0.0/8[tcp", "is no traffic selector"),
        ("a.example", "is no traffic selector"),
        ("10.0.0.1/8", "has host bits set"),
        ("10.0.0.0/33", "10.0.0.0/33"),
        ("10.0.0.9-10.0.0.1", "is no range"),
        ("10.0.0.9-::1", "is no range"),
        ("::1-10.0.0.9", "is no range"),
        ("10.0.0.1-10.0.0.2-10.0.0.3", "too many values"),
        ("10.0.0.0/8[tpc]", "unknown protocol 'tpc'"),
        ("10.0.0.0/8[256]", "unknown protocol '256'"),
        ("10.0.0.0/8[tcp/http]", "'http' is no port"),
        ("10.0.0.0/8[tcp/65536]", "'65536' is no port"),
        ("10.0.0.0/8[tcp/9-1]", "ports 9 to 1"),
        ("10.0.0.0/8[tcp/1-2-3]", "'1-2-3' is no port"),
        ("10.0.0.0/8[any/80]", "port '80' without a protocol"),
        ("10.0.0.0/8[icmp/256]", "is no ICMP type"),
        ("10.0.0.0/8[icmp/8(x)]", "is no ICMP type"),
        ("10.0.0.0/8[icmp/8(4)-8(1)]", "is no range"),
    ],
)
def test_a_wrong_text_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint.replace("(", r"\(")) as caught:
        parse_selector(text)
    assert repr(text) in str(caught.value)


@given(boxes())
def test_any_selector_has_a_text(box: TrafficSelector) -> None:
    text = selector_text(box)
    if box.protocol or (box.first_port, box.last_port) in ((0, 65535), (65535, 0)):
        assert parse_selector(text) == box


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("icmp", 1),
        ("tcp", 6),
        ("udp", 17),
        ("gre", 47),
        ("ipv6-icmp", 58),
        ("icmpv6", 58),
        ("ospf", 89),
        ("sctp", 132),
        ("TCP", 6),
        ("99", 99),
        ("255", 255),
    ],
)
def test_protocols_have_the_numbers_of_iana(name: str, number: int) -> None:
    assert parse_selector(f"10.0.0.0/8[{name}]").protocol == number


@pytest.mark.parametrize("number", [1, 58])
def test_type_and_code_are_ports_of_both_icmps(number: int) -> None:
    one = parse_selector(f"::/0[{number}/3(4)]")
    assert (one.first_port, one.last_port) == (0x0304, 0x0304)
    whole = parse_selector(f"::/0[{number}/3]")
    assert (whole.first_port, whole.last_port) == (0x0300, 0x03FF)
    span = parse_selector(f"::/0[{number}/3(4)-5(6)]")
    assert (span.first_port, span.last_port) == (0x0304, 0x0506)


def test_any_is_every_address_of_a_family() -> None:
    assert selector_text(ANY4) == "0.0.0.0/0"
    assert selector_text(ANY6) == "::/0"


def test_parts_are_compared_in_bounded_number() -> None:
    """Of 255 offered hosts the first 128 count, of which an SA holds 32."""
    hosts = [f"10.0.0.{number}/32" for number in range(128)]
    around = ts(*hosts, "10.0.0.0/24")
    assert SELECTORS_MAX == 32
    assert [selector_text(one) for one in narrow(around, ts("10.0.0.0/8"))] == hosts[:32]
    assert [selector_text(one) for one in narrow(around[1:], ts("10.0.0.0/8"))] == ["10.0.0.0/24"]


def test_a_refusal_shows_twenty_selectors_and_no_more() -> None:
    many = ts(*(f"10.0.{number}.0/24" for number in range(21)))
    with pytest.raises(TsUnacceptable) as refused:
        narrow(many, ts("192.0.2.0/24"))
    assert "10.0.19.0/24 ..." in str(refused.value)
    assert "10.0.20.0/24" not in str(refused.value)
    with pytest.raises(TsUnacceptable) as refused:
        narrow(many[:20], ts("192.0.2.0/24"))
    assert "..." not in str(refused.value)
