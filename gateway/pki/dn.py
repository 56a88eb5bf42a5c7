"""
Distinguished names (RFC 5280 section 4.1.2.4) as text and as DER, and whether one fits another.

The text is in the order in which the name is encoded, as strongSwan and `openssl -subj` have it:
"C=CH, O=Example, CN=gw.example.org". A comma, a plus, an equals sign or a backslash in a value has
a backslash before it. Names are compared by the meaning of their values (section 7.1): neither the
kind of string nor upper and lower case count.
"""

from __future__ import annotations

import re

from gateway.errors import WireError
from gateway.pki import der
from gateway.pki.problem import BadText

OIDS = {
    "C": "2.5.4.6",
    "ST": "2.5.4.8",
    "L": "2.5.4.7",
    "STREET": "2.5.4.9",
    "O": "2.5.4.10",
    "OU": "2.5.4.11",
    "CN": "2.5.4.3",
    "SN": "2.5.4.4",
    "GN": "2.5.4.42",
    "T": "2.5.4.12",
    "serialNumber": "2.5.4.5",
    "UID": "0.9.2342.19200300.100.1.1",
    "DC": "0.9.2342.19200300.100.1.25",
    "E": "1.2.840.113549.1.9.1",
}
_NAMES = {oid: name for name, oid in OIDS.items()}
_ALIASES = {"EMAIL": "E", "EMAILADDRESS": "E", "S": "ST"} | {name.upper(): name for name in OIDS}
_IA5 = {OIDS["DC"], OIDS["E"]}
_PRINTABLE = {OIDS["C"], OIDS["serialNumber"]}
PARTS_MAX = 32
Part = frozenset[tuple[str, str]]  # one relative distinguished name: OID and value, mostly one


def parse_text(text: str) -> bytes:
    """Return the DER of a name given as text. Raises BadText."""
    parts = []
    for part in _split(text):
        key, equals, value = part.strip().partition("=")
        name = _ALIASES.get(key.strip().upper())
        oid = OIDS[name] if name else key.strip()
        value = re.sub(r"\\(.)", r"\1", value.strip())
        if not equals or not value or not re.fullmatch(r"[0-2](\.\d+)+", oid):
            raise BadText('is not a distinguished name, as in "C=CH, O=Example, CN=gw"')
        parts.append(_encode_part(oid, value))
    if len(parts) > PARTS_MAX:
        raise BadText(f"has more than {PARTS_MAX} parts")
    return der.encode(der.SEQUENCE, b"".join(parts))


def _split(text: str) -> list[str]:
    """Return what stands between the commas that have no backslash before them."""
    parts = [""]
    for piece in re.findall(r"\\.|.", text, re.DOTALL):
        if piece == ",":
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def _encode_part(oid: str, value: str) -> bytes:
    tag = der.IA5 if oid in _IA5 else der.PRINTABLE if oid in _PRINTABLE else der.UTF8
    encoded = value.encode("utf-8" if tag == der.UTF8 else "ascii", "replace")
    pair = der.encode_oid(oid) + der.encode(tag, encoded)
    return der.encode(der.SET, der.encode(der.SEQUENCE, pair))


def parts_of(name: bytes) -> tuple[Part, ...]:
    """Return the parts of a name given as DER, in their order. Raises WireError."""
    sets = der.read_all(der.expect(name, der.SEQUENCE, "name"))
    if len(sets) > PARTS_MAX:
        raise WireError(f"name: more than {PARTS_MAX} parts")
    return tuple(_part(tag, content) for tag, content in sets)


def _part(tag: int, content: bytes) -> Part:
    if tag != der.SET:
        raise WireError("name: not a set")
    pairs = []
    for kind, pair in der.read_all(content):
        values = der.read_all(pair)
        if kind != der.SEQUENCE or len(values) != 2 or values[0][0] != der.OID:
            raise WireError("name: not a type and a value")
        pairs.append((der.dotted_oid(values[0][1]), der.string(*values[1])))
    return frozenset(pairs)


def text_of(name: bytes) -> str:
    """Return a name given as DER as text; its bytes in hexadecimal where it is none."""
    try:
        parts = parts_of(name)
    except WireError:
        return "dn:" + name.hex()
    return ", ".join("+".join(_shown(*pair) for pair in sorted(part)) for part in parts)


def _shown(oid: str, value: str) -> str:
    clean = "".join(
        "\\" + c if c in "\\,+=" else c if c.isprintable() else f"\\x{ord(c):02x}" for c in value
    )
    return f"{_NAMES.get(oid, oid)}={clean}"


def fits(name: bytes, pattern: bytes) -> bool:
    """
    Return whether a name is `pattern`, in which the value "*" stands for every value. Both have the
    same parts in the same order. A name that is no name fits nothing.
    """
    try:
        ours, theirs = parts_of(pattern), parts_of(name)
    except WireError:
        return False
    return _fit(theirs, ours, may_be_any=True)


def is_same(name: bytes, other: bytes) -> bool:
    """Return whether two names given as DER mean the same."""
    try:
        return _fit(parts_of(name), parts_of(other), may_be_any=False)
    except WireError:
        return False


def is_within(name: bytes, tree: bytes) -> bool:
    """Return whether a name given as DER begins with all of another one. Raises WireError."""
    inner, outer = parts_of(name), parts_of(tree)
    return _fit(inner[: len(outer)], outer, may_be_any=False)


def _fit(name: tuple[Part, ...], pattern: tuple[Part, ...], *, may_be_any: bool) -> bool:
    if len(name) != len(pattern):
        return False
    pairs = zip(name, pattern, strict=True)
    return all(_part_fits(one, other, may_be_any) for one, other in pairs)


def _part_fits(part: Part, pattern: Part, may_be_any: bool) -> bool:
    values = {oid: _plain(value) for oid, value in part}
    wanted = {oid: _plain(value) for oid, value in pattern}
    if len(values) != len(part) or values.keys() != wanted.keys():
        return False
    return all(wanted[oid] == values[oid] or (may_be_any and wanted[oid] == "*") for oid in values)


def _plain(value: str) -> str:
    return " ".join(value.casefold().split())


def has_wildcard(name: bytes) -> bool:
    """Return whether a name of ours has the value "*" somewhere."""
    return any(value == "*" for part in parts_of(name) for _, value in part)
