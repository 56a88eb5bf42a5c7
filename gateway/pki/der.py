"""
The little DER (X.690) that IKE needs outside certificates: names in ID payloads, and the algorithm
identifiers of RFC 7427. All else is parsed by `cryptography`.
"""

from __future__ import annotations

from gateway.errors import WireError

SEQUENCE, SET, OID, NULL, INTEGER = 0x30, 0x31, 0x06, 0x05, 0x02
UTF8, PRINTABLE, IA5 = 0x0C, 0x13, 0x16
_LONGEST = 65535
# UTF8, Numeric, Printable, Teletex, IA5, Universal, BMP
_CODECS = {
    UTF8: "utf-8",
    0x12: "ascii",
    PRINTABLE: "ascii",
    0x14: "latin-1",
    IA5: "ascii",
    0x1C: "utf-32-be",
    0x1E: "utf-16-be",
}


def encode(tag: int, content: bytes) -> bytes:
    """Return one value with its tag and length."""
    count = len(content)
    if count < 128:
        return bytes([tag, count]) + content
    length = count.to_bytes((count.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def read(data: bytes, at: int = 0) -> tuple[int, bytes, int]:
    """Return tag and content of the value at `at`, and where the next begins. Raises WireError."""
    if len(data) < at + 2:
        raise WireError("DER: truncated")
    tag, length, at = data[at], data[at + 1], at + 2
    if length >= 128:
        count = length & 0x7F
        length = int.from_bytes(data[at : at + count], "big")
        if not 1 <= count <= 2 or length < 128 or len(data) < at + count:
            raise WireError("DER: bad length")
        at += count
    if length > _LONGEST or len(data) < at + length:
        raise WireError("DER: truncated")
    return tag, data[at : at + length], at + length


def read_all(data: bytes) -> list[tuple[int, bytes]]:
    """Return the values that stand one after the other. Raises WireError."""
    found, at = [], 0
    while at < len(data):
        tag, content, at = read(data, at)
        found.append((tag, content))
    return found


def expect(data: bytes, tag: int, what: str) -> bytes:
    """Return the content of the only value in `data`, which has this tag. Raises WireError."""
    found, content, end = read(data)
    if found != tag or end != len(data):
        raise WireError(f"{what}: not the DER that it should be")
    return content


def string(tag: int, content: bytes) -> str:
    """Return the text of a string of any of ASN.1's kinds. Raises WireError."""
    try:
        return content.decode(_CODECS[tag])
    except (KeyError, UnicodeDecodeError):
        raise WireError("DER: not a string") from None


def encode_oid(dotted: str) -> bytes:
    """Return an object identifier as DER."""
    first, second, *rest = (int(part) for part in dotted.split("."))
    out = b"".join(_base128(one) for one in (first * 40 + second, *rest))
    return encode(OID, out)


def _base128(number: int) -> bytes:
    out = bytearray([number & 0x7F])
    while number := number >> 7:
        out.insert(0, 0x80 | (number & 0x7F))
    return bytes(out)


def dotted_oid(content: bytes) -> str:
    """Return the content of an object identifier as dotted numbers. Raises WireError."""
    if not content or content[-1] & 0x80:
        raise WireError("DER: bad object identifier")
    numbers, number = [], 0
    for byte in content:
        number = number << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(str(one) for one in (first, numbers[0] - first * 40, *numbers[1:]))
