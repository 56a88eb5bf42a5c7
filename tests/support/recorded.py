"""
Recorded exchanges between two strongSwan peers, with every intermediate secret beside the packets.

`recordings()` reads them; `follow()` goes through one with our own code, from the Diffie-Hellman
secret to every message in the clear, so tests compare what they find on the way.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from gateway.ike.fragments import Reassembly, is_fragment
from gateway.ike.iana import ExchangeType, ProtocolId
from gateway.ike.keymat import ChildKeys, IkeKeys, derive_child, derive_ike, rederive_ike
from gateway.ike.message import Message, SkCipher, open_sealed, parse_clear, parse_header
from gateway.ike.payloads import KeyExchange, Nonce, SecurityAssociation
from gateway.ike.proposals import (
    EspSuite,
    IkeSuite,
    Proposal,
    check_answer_esp,
    check_answer_ike,
)
from gateway.sa import Address
from gateway.secret import Secret

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
_MARKER = bytes(4)


@dataclass(frozen=True, slots=True)
class Packet:
    """What one peer sent: an IKE datagram without non-ESP marker, or an ESP packet."""

    sender: str  # "a" or "b"
    data: bytes
    port: int


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One recorded exchange, from IKE_SA_INIT to the last delete."""

    name: str
    proposal: str
    esp_proposal: str
    auth: str
    psk: bytes
    ids: dict[str, str]
    addresses: dict[str, Address]
    ike: tuple[Packet, ...]
    esp: tuple[Packet, ...]
    secrets: tuple[tuple[str, bytes], ...]
    files: dict[str, str]  # certificates and keys of those that authenticated by them

    def values(self, label: str) -> tuple[bytes, ...]:
        """Return the secrets whose label begins with `label`, in order."""
        return tuple(value for name, value in self.secrets if name.startswith(label))


@functools.cache
def recordings() -> tuple[Recording, ...]:
    """Return all recordings."""
    return tuple(_read(path) for path in sorted((VECTORS / "strongswan").glob("*.json")))


def _read(path: Path) -> Recording:
    data = json.loads(path.read_text())
    ike, esp = [], []
    for one in data["packets"]:
        raw = bytes.fromhex(one["udp"])
        if one["dport"] == 500:
            ike.append(Packet(one["from"], raw, 500))
        elif raw.startswith(_MARKER):
            ike.append(Packet(one["from"], raw[4:], 4500))
        else:
            esp.append(Packet(one["from"], raw, 4500))
    net = "2001:db8::" if path.stem.startswith("ipv6") else "192.0.2."
    return Recording(
        data["name"],
        data["proposal"],
        data["esp_proposal"],
        data["auth"],
        data["psk"].encode(),
        data["ids"],
        {"a": ip_address(f"{net}1"), "b": ip_address(f"{net}2")},
        tuple(ike),
        tuple(esp),
        tuple((one["label"], bytes.fromhex(one["hex"])) for one in data["secrets"]),
        data.get("files", {}),
    )


@dataclass(frozen=True, slots=True)
class Child:
    """A Child SA as our code derived it; the initiator of its exchange is always peer a."""

    suite: EspSuite
    keys: ChildKeys
    spi_a: bytes  # inbound at a
    spi_b: bytes


@dataclass(slots=True)
class Followed:
    """What our code made of a recording."""

    suites: list[IkeSuite] = field(default_factory=list)
    keys: list[IkeKeys] = field(default_factory=list)
    children: list[Child] = field(default_factory=list)
    messages: list[tuple[Packet, Message]] = field(default_factory=list)
    ciphers: dict[tuple[bytes, bool], SkCipher] = field(default_factory=dict)

    def find(self, exchange: ExchangeType, message_id: int, is_response: bool) -> Message:
        """Return the latest message of these properties."""
        wanted = (exchange, message_id, is_response)
        found = [m for _, m in self.messages if (m.exchange, m.message_id, m.is_response) == wanted]
        return found[-1]

    def cipher(self, datagram: bytes) -> SkCipher:
        """Return the cipher that opens a datagram."""
        header = parse_header(datagram)
        return self.ciphers[header.spi_i, header.from_original_initiator]


@functools.cache
def follow(recording: Recording) -> Followed:
    """Open every message of a recording; only the Diffie-Hellman secrets are taken from it."""
    done = Followed()
    groups = list(recording.values("shared Diffie Hellman secret"))
    child_groups = list(recording.values("DH secret"))
    for packet in recording.ike[:2]:
        done.messages.append((packet, parse_clear(packet.data)))
    _first_keys(done, Secret(groups.pop(0)))
    parts = {"a": Reassembly(), "b": Reassembly()}
    for packet in recording.ike[2:]:
        header = parse_header(packet.data)
        cipher = done.cipher(packet.data)
        if is_fragment(header):
            message = parts[packet.sender].add(packet.data, header, cipher)
        else:
            message = open_sealed(packet.data, header, cipher)
        if message is not None:
            done.messages.append((packet, message))
            _apply(done, message, groups, child_groups)
    return done


def _first_keys(done: Followed, shared: Secret) -> None:
    request, response = (message for _, message in done.messages)
    suite = check_answer_ike(_proposals(response), _proposals(request))
    nonces = (request.one(Nonce).value, response.one(Nonce).value)
    keys = derive_ike(suite, shared, *nonces, request.spi_i, response.spi_r)
    _use(done, suite, keys, request.spi_i)


def _use(done: Followed, suite: IkeSuite, keys: IkeKeys, spi_i: bytes) -> None:
    done.suites.append(suite)
    done.keys.append(keys)
    done.ciphers[spi_i, True] = SkCipher(suite, keys.sk_ei, keys.sk_ai)
    done.ciphers[spi_i, False] = SkCipher(suite, keys.sk_er, keys.sk_ar)


def _apply(
    done: Followed, message: Message, groups: list[bytes], child_groups: list[bytes]
) -> None:
    """Derive what a response to IKE_AUTH or CREATE_CHILD_SA has made."""
    if not message.is_response or message.exchange == ExchangeType.INFORMATIONAL:
        return
    exchange = ExchangeType(message.exchange)
    request = done.find(exchange, message.message_id, False)
    if exchange is ExchangeType.IKE_AUTH:
        init = ExchangeType.IKE_SA_INIT
        ni, nr = (done.find(init, 0, side).one(Nonce).value for side in (False, True))
        _add_child(done, request, message, ni, nr, None)
        return
    ni, nr = request.one(Nonce).value, message.one(Nonce).value
    if _proposals(message)[0].protocol == ProtocolId.IKE:
        _rekey_ike(done, request, message, Secret(groups.pop(0)))
    else:
        has_group = request.maybe(KeyExchange) is not None
        shared = Secret(child_groups.pop(0)) if has_group else None
        _add_child(done, request, message, ni, nr, shared)


def _add_child(
    done: Followed,
    request: Message,
    response: Message,
    ni: bytes,
    nr: bytes,
    shared: Secret | None,
) -> None:
    offered, answer = _proposals(request), _proposals(response)
    suite = check_answer_esp(answer, offered, want_group=shared is not None)
    secrets = () if shared is None else (shared,)
    keys = derive_child(suite, done.suites[-1].prf, done.keys[-1].sk_d, ni, nr, secrets)
    done.children.append(Child(suite, keys, offered[0].spi, answer[0].spi))


def _rekey_ike(done: Followed, request: Message, response: Message, shared: Secret) -> None:
    offered, answer = _proposals(request), _proposals(response)
    suite = check_answer_ike(answer, offered)
    spi_i, spi_r = offered[0].spi, answer[0].spi
    old = (done.suites[-1].prf, done.keys[-1].sk_d)
    nonces = (request.one(Nonce).value, response.one(Nonce).value)
    _use(done, suite, rederive_ike(suite, *old, (shared,), *nonces, spi_i, spi_r), spi_i)


def _proposals(message: Message) -> tuple[Proposal, ...]:
    return message.one(SecurityAssociation).proposals
