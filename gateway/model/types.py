"""The field types of the wanted document: each says in words why it refuses a value."""

from __future__ import annotations

import base64
import binascii
import re
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Annotated

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    StrictFloat,
    StrictInt,
    StrictStr,
    WithJsonSchema,
)

from gateway.ike.config import DN_TEXT
from gateway.ike.iana import ProtocolId
from gateway.ike.proposals import parse_proposal
from gateway.ike.selectors import parse_selector

AnyAddress = IPv4Address | IPv6Address
AnyNetwork = IPv4Network | IPv6Network
AnyInterface = IPv4Interface | IPv6Interface

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,126}[A-Za-z0-9_])?")
DN_CHARACTERS_MAX = 512
PEM_CHARACTERS_MAX = 65536
# Stands for a private key that was judged when it was set, and is sealed now.
UNSEEN_KEY = "-----BEGIN UNSEEN KEY-----"
RESERVED_INTERFACES = frozenset({"lo", "all", "default"})  # the kernel and its sysctl tree use them
RHYTHM = re.compile(r"([1-9][0-9]{1,4})x([1-9][0-9]?)")
BFD_INTERVALS_MS = (50, 10000)  # at 10 ms a busy machine loses sessions that are well
PROBE_INTERVALS_MS = (100, 60000)  # shorter ones are BFD's: probes are sent beside all else
MULTIPLIERS = (2, 50)
PASSWORD_MAX = 80  # bytes of a TCP MD5 key, TCP_MD5SIG_MAXKEYLEN
RESERVED_ASNS = frozenset({0, 23456, 65535, 4294967295})  # RFC 7607, RFC 6793, RFC 7300

# RFC 8247 section 2 and RFC 8221 section 5: names strongSwan knows and we refuse on sight.
LEGACY_CIPHERS = ("3des", "des", "null", "blowfish", "blowfish128", "blowfish256", "cast128")
LEGACY_HASHES = ("md5", "sha", "sha1", "aesxcbc", "prfmd5", "prfsha1", "prfaesxcbc")
LEGACY_GROUPS = ("modp768", "modp1024", "modp1536", "modp1024s160", "modp2048s224", "modp2048s256")
LEGACY = frozenset((*LEGACY_CIPHERS, *LEGACY_HASHES, *LEGACY_GROUPS))


def parse_address(value: object) -> AnyAddress:
    """Return the IP address that `value` names. Raises ValueError."""
    if isinstance(value, IPv4Address | IPv6Address):
        return value
    if not isinstance(value, str):
        raise ValueError("must be an IP address in quotes")
    try:
        return ip_address(value)
    except ValueError:
        raise ValueError("is not an IP address") from None


def parse_outer_address(value: object) -> AnyAddress:
    """Return a unicast address that may stand outside on a tunnel's packets. Raises ValueError."""
    address = parse_address(value)
    kinds = {
        "the unspecified address": address.is_unspecified,
        "a multicast address": address.is_multicast,
        "a loopback address": address.is_loopback,
        "a link-local address": address.is_link_local,
        "an IPv4 address in IPv6": address.version == 6 and address.ipv4_mapped is not None,
        "a reserved address": address.version == 4 and address.is_reserved,
    }
    for kind, is_kind in kinds.items():
        if is_kind:
            raise ValueError(f"is {kind}")
    return address


def parse_network(value: object) -> AnyNetwork:
    """Return the network that `value` names, with no host bits set. Raises ValueError."""
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    if not isinstance(value, str):
        raise ValueError('must be a prefix in quotes, as in "10.20.0.0/16"')
    if "/" not in value:
        raise ValueError('needs a prefix length, as in "10.20.0.0/16"')
    try:
        loose = ip_network(value, strict=False)
    except ValueError:
        raise ValueError("is not an IP prefix") from None
    if ip_address(value.split("/")[0]) != loose.network_address:
        raise ValueError(f"has host bits set; the network is {loose}")
    return loose


def parse_interface(value: object) -> AnyInterface:
    """Return the address with prefix length that `value` names. Raises ValueError."""
    if isinstance(value, IPv4Interface | IPv6Interface):
        return value
    if not isinstance(value, str) or "/" not in value:
        raise ValueError('must be an address with prefix length in quotes, as in "10.0.0.1/24"')
    try:
        return ip_interface(value)
    except ValueError:
        raise ValueError("is not an IP address with prefix length") from None


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError(
            "must be 1 to 32 letters, digits, '.', '_' or '-', the first a letter or digit"
        )
    return value


def _interface(value: str) -> str:
    if not INTERFACE.fullmatch(value) or value in RESERVED_INTERFACES:
        raise ValueError("is not an interface name: 1 to 15 letters, digits, '.', '_' or '-'")
    return value


def _identity(value: str) -> str:
    """Return `value` if it is an identity we can send (RFC 7296 section 3.5). Raises ValueError."""
    if value.startswith("keyid:"):
        try:
            key_id = bytes.fromhex(value[6:])
        except ValueError:
            raise ValueError("needs hexadecimal digits after keyid:") from None
        if not 1 <= len(key_id) <= 128:
            raise ValueError("needs 1 to 128 bytes after keyid:")
        return value
    if DN_TEXT.match(value):
        return _distinguished_name(value)
    try:
        ip_address(value)
    except ValueError:
        user, at, host = value.rpartition("@")
        if not HOST_NAME.fullmatch(host) or (at and not re.fullmatch(r"[!-?A-~]{1,64}", user)):
            raise ValueError(
                "is not an identity: an IP address, a host name, user@host, keyid:HEX or a"
                " distinguished name, as in C=CH, O=Example, CN=gw"
            ) from None
    return value


def _distinguished_name(value: str) -> str:
    from gateway.pki import dn  # quick, and still of no use to most documents

    if len(value) > DN_CHARACTERS_MAX:
        raise ValueError(f"has {len(value)} characters, at most {DN_CHARACTERS_MAX}")
    dn.parse_text(value)
    return value


def _peer_identity(value: str) -> str:
    """Return the same; with certificates, `*` may stand for one part. Raises ValueError."""
    if value.startswith(("*.", "*@")):
        _identity(value[2:])
        return value
    return _identity(value)


def _pem(value: str) -> str:
    """Refuse what can be no PEM (RFC 7468); what is in it is judged with all else."""
    if len(value) > PEM_CHARACTERS_MAX:
        raise ValueError(f"has {len(value)} characters, at most {PEM_CHARACTERS_MAX}")
    if "-----BEGIN " not in value:
        raise ValueError("is not PEM: there is no line -----BEGIN ...-----")
    return value


def _asn(value: int) -> int:
    if value in RESERVED_ASNS:
        raise ValueError("is a reserved AS number")
    return value


def parse_bfd(text: str) -> tuple[int, int] | None:
    """
    Return interval in milliseconds and multiplier of a text as "300x3", None for "off".

    Raises ValueError.
    """
    return _rhythm(text, BFD_INTERVALS_MS, "the multiplier")


def parse_probe(text: str) -> tuple[int, int] | None:
    """
    Return interval in milliseconds and how many may be missing of a text as "200x3", None for
    "off".

    Raises ValueError.
    """
    return _rhythm(text, PROBE_INTERVALS_MS, "the count")


def _rhythm(text: str, intervals_ms: tuple[int, int], count_name: str) -> tuple[int, int] | None:
    if text == "off":
        return None
    found = RHYTHM.fullmatch(text)
    if found is None:
        raise ValueError('must be milliseconds and a count, as in "300x3", or "off"')
    interval, count = int(found[1]), int(found[2])
    for value, (least, most), what in (
        (interval, intervals_ms, "the interval"),
        (count, MULTIPLIERS, count_name),
    ):
        if not least <= value <= most:
            raise ValueError(f"{what} must be {least} to {most}")
    return interval, count


def _bfd(text: str) -> str:
    parse_bfd(text)
    return text


def _probe(text: str) -> str:
    parse_probe(text)
    return text


def parse_router_id(value: object) -> IPv4Address:
    """Return the BGP identifier that `value` names (RFC 6286). Raises ValueError."""
    if not isinstance(value, str | IPv4Address):
        raise ValueError("must be written as an IPv4 address in quotes")
    try:
        found = IPv4Address(value)
    except ValueError:
        raise ValueError("must be written as an IPv4 address") from None
    if int(found) == 0:
        raise ValueError("must not be 0.0.0.0")
    return found


def _password(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not 1 <= len(text) <= PASSWORD_MAX:
        raise ValueError(f"must have 1 to {PASSWORD_MAX} characters")
    if not (text.isascii() and text.isprintable()) or '"' in text or text != text.strip():
        raise ValueError('needs characters of ASCII that print, without " and space at its ends')
    return value


def refuse_legacy(text: str) -> None:
    """Raise ValueError if `text` names an algorithm that RFC 8247 or RFC 8221 advise against."""
    for token in text.lower().split("-"):
        if token in LEGACY:
            raise ValueError(
                f"{token} is a legacy algorithm, which this gateway lacks even with allow_legacy"
            )


def _ike_proposal(text: str) -> str:
    refuse_legacy(text)
    parse_proposal(text, ProtocolId.IKE)
    return text


def _esp_proposal(text: str) -> str:
    refuse_legacy(text)
    parse_proposal(text, ProtocolId.ESP)
    return text


def _selector(text: str) -> str:
    parse_selector(text)
    return text


def key_of(text: str) -> bytes:
    """
    Return the bytes of a pre-shared key: `0x` and hexadecimal, `0s` and base64, or the text itself.

    The two prefixes mean what they mean to strongSwan, so one text works at both ends.
    Raises ValueError.
    """
    try:
        if text.startswith("0x"):
            return bytes.fromhex(text[2:])
        if text.startswith("0s"):
            return base64.b64decode(text[2:], validate=True)
    except (ValueError, binascii.Error):
        raise ValueError("begins with 0x or 0s but is not hexadecimal or base64 after it") from None
    return text.encode()


_IP = WithJsonSchema({"type": "string", "description": "an IPv4 or IPv6 address"})
_PREFIX = WithJsonSchema({"type": "string", "description": "an IPv4 or IPv6 prefix"})

InnerAddress = Annotated[AnyAddress, PlainValidator(parse_address), PlainSerializer(str), _IP]
OuterAddress = Annotated[AnyAddress, PlainValidator(parse_outer_address), PlainSerializer(str), _IP]
Prefix = Annotated[AnyNetwork, PlainValidator(parse_network), PlainSerializer(str), _PREFIX]
InterfaceAddress = Annotated[
    AnyInterface,
    PlainValidator(parse_interface),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "description": "an IP address with prefix length"}),
]
Name = Annotated[
    StrictStr, AfterValidator(_name), Field(json_schema_extra={"pattern": f"^{NAME.pattern}$"})
]
InterfaceName = Annotated[
    StrictStr,
    AfterValidator(_interface),
    Field(json_schema_extra={"pattern": f"^{INTERFACE.pattern}$"}),
]
IdentityText = Annotated[StrictStr, AfterValidator(_identity)]
PeerIdentityText = Annotated[StrictStr, AfterValidator(_peer_identity)]
PemText = Annotated[StrictStr, AfterValidator(_pem)]
Asn = Annotated[StrictInt, Field(ge=1, le=4294967294), AfterValidator(_asn)]
IkeProposalText = Annotated[StrictStr, AfterValidator(_ike_proposal)]
EspProposalText = Annotated[StrictStr, AfterValidator(_esp_proposal)]
SelectorText = Annotated[StrictStr, AfterValidator(_selector)]
Seconds = Annotated[StrictFloat, Field(allow_inf_nan=False)]
BfdText = Annotated[StrictStr, AfterValidator(_bfd)]
ProbeText = Annotated[StrictStr, AfterValidator(_probe)]
RouterId = Annotated[IPv4Address, PlainValidator(parse_router_id), PlainSerializer(str), _IP]
BgpPassword = Annotated[SecretStr, AfterValidator(_password)]
