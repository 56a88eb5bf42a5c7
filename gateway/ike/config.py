"""
What the core is told about each tunnel: identities, secrets, proposals, lifetimes (the PAD of RFC
4301 section 4.4.3).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol

from gateway.ike.proposals import Proposal
from gateway.sa import Address, TrafficSelector
from gateway.secret import Secret

if TYPE_CHECKING:
    from gateway.pki.credentials import Credentials

DN_TEXT = re.compile(r"\s*([A-Za-z]+|[0-2](\.\d+)+)\s*=")  # how a distinguished name begins


class IdType(Enum):
    """Identity types we use (RFC 7296 section 3.5), by their numbers."""

    IPV4 = 1
    FQDN = 2
    EMAIL = 3
    IPV6 = 5
    DN = 9
    KEY_ID = 11


@dataclass(frozen=True, slots=True)
class Identity:
    """
    An identity as it stands in an ID payload; `value` is the encoded body (4 or 16 bytes for an
    address).
    """

    type: IdType
    value: bytes

    @classmethod
    def parse(cls, text: str) -> Identity:
        """
        Return the identity that `text` names: an IP address, `user@host`, `keyid:HEX`, a
        distinguished name, or a host name.
        """
        if DN_TEXT.match(text):
            from gateway.pki import dn

            return cls(IdType.DN, dn.parse_text(text))

        if text.startswith("keyid:"):
            return cls(IdType.KEY_ID, bytes.fromhex(text[6:]))
        try:
            address = ip_address(text)
        except ValueError:
            kind = IdType.EMAIL if "@" in text else IdType.FQDN
            return cls(kind, text.encode())
        return cls(IdType.IPV4 if address.version == 4 else IdType.IPV6, address.packed)

    @property
    def is_pattern(self) -> bool:
        """Return whether this stands for several, as only a peer's with certificates may."""
        if self.type is IdType.DN:
            from gateway.pki import dn

            return dn.has_wildcard(self.value)
        return self.type in (IdType.FQDN, IdType.EMAIL) and self.value[:2] in (b"*.", b"*@")

    def __str__(self) -> str:
        if self.type in (IdType.IPV4, IdType.IPV6) and len(self.value) in (4, 16):
            return str(ip_address(self.value))
        if self.type is IdType.KEY_ID:
            return "keyid:" + self.value.hex()
        if self.type is IdType.DN:
            from gateway.pki import dn

            return dn.text_of(self.value)
        return self.value.decode("ascii", "backslashreplace")


def describe_identity(id_type: int, value: bytes) -> str:
    """
    Return an identity as `Identity` prints it, or its type and bytes where we do not know the type.
    """
    try:
        text = str(Identity(IdType(id_type), value))
    except ValueError:
        return f"type {id_type}:{value.hex()}"
    # A host name that looks like an address is none, and is told apart from it.
    return f"fqdn:{text}" if id_type == IdType.FQDN.value and _is_address(text) else text


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_identity(ours: Identity, id_type: int, value: bytes) -> bool:
    """Return whether type and value of an ID payload name an identity of ours."""
    if ours.type is IdType.DN and id_type == IdType.DN.value:
        from gateway.pki import dn

        return dn.is_same(value, ours.value)
    if ours.type in (IdType.FQDN, IdType.EMAIL) and id_type == ours.type.value:
        return value.lower() == ours.value.lower()  # RFC 4343
    return (ours.type.value, ours.value) == (id_type, value)


class Encap(Enum):
    """When ESP travels in UDP (dataplane: UDP is the fast encapsulation)."""

    PREFER = "prefer"  # announce a NAT that is not there, so that both ends encapsulate
    AUTO = "auto"  # only where a NAT is detected
    NEVER = "never"  # protocol 50 always; a NAT on the way is an error


class Start(Enum):
    """Who begins."""

    INITIATE = "initiate"  # we do, and again for ever when it fails or ends
    RESPOND = "respond"  # the peer does


@dataclass(frozen=True, slots=True)
class Lifetime:
    """
    When an SA is rekeyed: seconds always, bytes and packets where not 0. `jitter` is the part by
    which it is drawn earlier.
    """

    seconds: float
    bytes: int = 0
    packets: int = 0
    jitter: float = 0.1


@dataclass(frozen=True, slots=True)
class Timers:
    """The core's clocks, in seconds. The defaults are for real networks; tests may shorten them."""

    retransmit_after: tuple[float, ...] = (
        0.5,
        1.0,
        2.0,
        4.0,
        8.0,
        16.0,
    )  # then the peer is unreachable, 31.5 s
    liveness: float = (
        10.0  # silence after which the peer is asked (RFC 7296 section 2.4); 0 = never
    )
    liveness_retransmit_after: tuple[float, ...] = (
        0.4,
        0.5,
        0.7,
        0.9,
        1.1,
        1.3,
        1.6,
    )  # 6.5 s: a tunnel with a standby must be given up sooner, but a lossy path must not
    one_way: float = 3.0  # sending without an authenticated packet back, after which it is asked
    half_open: float = 30.0  # a responder's IKE SA that is not authenticated by then goes
    linger: float = 5.0  # an inbound SA that was replaced still opens packets this long
    close_linger: float = 1.0  # the same, once the peer of a closed one has stopped sending
    keepalive: float = 20.0  # silence toward a NAT
    reconnect_first: float = 1.0  # back-off: first pause, then times 1.8 with jitter of 25 %
    reconnect_most: float = 60.0


@dataclass(frozen=True, slots=True)
class ChildSelectors:
    """Which packets a Child SA carries: our side's selectors, and the peer's."""

    local: tuple[TrafficSelector, ...]
    remote: tuple[TrafficSelector, ...]


@dataclass(frozen=True, slots=True)
class Ppk:
    """A post-quantum pre-shared key, mixed into the keys after AUTH (RFC 8784)."""

    id: bytes  # PPK_ID: names the key to the peer, in the clear for whoever breaks the IKE SA
    key: Secret
    is_required: bool = True  # without it, no IKE SA


@dataclass(frozen=True, slots=True)
class TunnelConfig:
    """One VPN Tunnel as IKE sees it: one IKE SA and its Child SA, or several."""

    name: str
    local: Address
    remote: Address | None  # None: any address, found by identity
    local_id: Identity
    remote_id: Identity | None  # None: any that knows the key, or that a certificate bears
    psk: Secret | None  # None: `credentials`
    ike_proposals: tuple[Proposal, ...]
    esp_proposals: tuple[
        Proposal, ...
    ]  # a group in one asks for PFS; rekeys use it, IKE_AUTH does not (RFC 7296 section 1.2)
    local_ts: tuple[TrafficSelector, ...]
    remote_ts: tuple[TrafficSelector, ...]
    start: Start = Start.INITIATE
    encap: Encap = Encap.PREFER
    ike_lifetime: Lifetime = field(default_factory=lambda: Lifetime(14400.0))
    child_lifetime: Lifetime = field(default_factory=lambda: Lifetime(3600.0))
    timers: Timers = field(default_factory=Timers)
    remote_ike_port: int = 500
    fragment_size: int = (
        1280  # bytes of an IKE datagram with its IP and UDP headers (RFC 7383 section 2.5)
    )
    ppk: Ppk | None = None
    allow_redirect: bool = False  # follow the peer to another gateway (RFC 5685)
    childless: bool = False  # no Child SA in IKE_AUTH: the first has a key exchange too (RFC 6023)
    further: tuple[ChildSelectors, ...] = ()  # of the Child SAs beside the first one
    resources: int = 0  # Child SAs with the selectors of the first, for a worker each (RFC 9611)
    credentials: Credentials | None = None  # certificates or raw keys, in place of `psk`

    @property
    def selectors(self) -> tuple[ChildSelectors, ...]:
        """
        Return the selectors of each Child SA; the position is its slot (see `slots.py`).

        Those for a worker each are not among them: their slots come behind.
        """
        return (ChildSelectors(self.local_ts, self.remote_ts), *self.further)

    @property
    def slots(self) -> range:
        """Return all slots."""
        return range(1 + len(self.further) + self.resources)

    def selectors_of(self, slot: int) -> ChildSelectors:
        """Return the selectors of a slot, be it one that the configuration has no more."""
        return self.selectors[slot if slot <= len(self.further) else 0]

    def resource_of(self, slot: int) -> int:
        """Return which worker a Child SA is for, counted from 1; 0 for all of them."""
        return max(0, slot - len(self.further))


class Random(Protocol):
    """Where the core's randomness comes from: `secrets` in the product, a counter in tests."""

    def private_key(self, group: int) -> bytes | None:
        """
        Return the private value for a key exchange, for tests that must be repeatable; None = a
        fresh one.
        """
        ...

    def bytes(self, count: int) -> bytes: ...

    def uniform(self) -> float:
        """Return a number from 0.0 up to 1.0, for jitter."""
        ...
