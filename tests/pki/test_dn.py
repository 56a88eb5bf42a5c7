"""Distinguished names: text, DER, and which fit which."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis.strategies import binary, lists, sampled_from, text, tuples

from gateway.errors import WireError
from gateway.pki import der, dn
from gateway.pki.problem import BadText

VALUES = text(min_size=1, max_size=20).filter(lambda one: one == one.strip() and one.isprintable())


def built(*pairs: tuple[x509.ObjectIdentifier, str]) -> bytes:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs]).public_bytes()


def test_a_name_is_read_as_cryptography_writes_it() -> None:
    name = built(
        (NameOID.COUNTRY_NAME, "CH"),
        (NameOID.ORGANIZATION_NAME, "Example, Ltd"),
        (NameOID.COMMON_NAME, "gw"),
    )
    assert dn.text_of(name) == r"C=CH, O=Example\, Ltd, CN=gw"
    assert dn.parse_text(r"C=CH,O = Example\, Ltd , CN=gw") == name


@given(lists(tuples(sampled_from(["O", "OU", "CN", "L"]), VALUES), min_size=1, max_size=6))
def test_text_and_der_are_each_others_inverse(pairs: list[tuple[str, str]]) -> None:
    def escape(value: str) -> str:
        return "".join("\\" + c if c in "\\,+=" else c for c in value)

    name = dn.parse_text(", ".join(f"{key}={escape(value)}" for key, value in pairs))
    parts = [next(iter(part)) for part in dn.parts_of(name)]
    assert [value for _, value in parts] == [value for _, value in pairs]
    assert dn.is_same(name, name)


def test_kind_of_string_case_and_space_do_not_count() -> None:
    name = dn.parse_text("O=Example Org, CN=gw")
    printable = der.encode(der.PRINTABLE, b"EXAMPLE  org")
    first = der.encode(der.SEQUENCE, der.encode_oid(dn.OIDS["O"]) + printable)
    second = dn.parse_text("CN=GW")[2:]
    other = der.encode(der.SEQUENCE, der.encode(der.SET, first) + second)
    assert dn.is_same(name, other)
    assert not dn.is_same(name, dn.parse_text("CN=gw, O=Example Org"))


def test_a_star_is_any_value_in_a_pattern_and_itself_in_a_name() -> None:
    pattern = dn.parse_text("O=Example, CN=*")
    assert dn.has_wildcard(pattern)
    assert dn.fits(dn.parse_text("O=Example, CN=anything"), pattern)
    assert not dn.fits(dn.parse_text("O=Other, CN=anything"), pattern)
    assert not dn.fits(dn.parse_text("O=Example, OU=x, CN=anything"), pattern)
    assert not dn.fits(pattern, dn.parse_text("O=Example, CN=gw"))
    assert not dn.is_same(dn.parse_text("O=Example, CN=gw"), pattern)


@pytest.mark.parametrize("bad", ["", "CN", "CN=", "=x", "Foo=x", "CN=a,,CN=b", "CN=a,"])
def test_what_is_no_name_is_refused(bad: str) -> None:
    with pytest.raises(BadText):
        dn.parse_text(bad)


@given(binary(max_size=120))
def test_garbage_fits_nothing_and_prints(data: bytes) -> None:
    pattern = dn.parse_text("CN=*")
    try:
        dn.parts_of(data)
    except WireError:
        assert not dn.fits(data, pattern)
        assert dn.text_of(data) == "dn:" + data.hex()
