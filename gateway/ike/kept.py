"""
What an exchange under way and a new Child SA need to be gone on with, as values that JSON takes.

Private values and ESP keys are among them: only for a record that is sealed.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, TypeAlias

from gateway.ike.child import Fresh, Offer, Partial
from gateway.ike.dh import KeyPair
from gateway.ike.message import HEADER_LEN, message_of, parse_header, serialise_clear
from gateway.ike.payloads import parse_chain
from gateway.ike.proposals import Proposal, Transform
from gateway.sa import Encr, EspSa, Integ, Limits, TrafficSelector
from gateway.secret import Secret

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"
Table: TypeAlias = "dict[str, Value]"
Loaded: TypeAlias = Any  # what json makes of our own bytes; a wrong type shows when it is used


def text(value: bytes) -> str:
    """Return bytes as text."""
    return b2a_base64(value, newline=False).decode()


def data(value: str) -> bytes:
    """Return the bytes that `text` was given."""
    return a2b_base64(value, strict_mode=True)


# ---- what our outstanding request offered ----


def save_offer(offer: Offer | None) -> Table | None:
    """Return an offer with its private value."""
    if offer is None:
        return None
    pair, partial = offer.key_pair, offer.partial
    return {
        "spi": text(offer.spi),
        "nonce": text(offer.nonce),
        "proposals": [_save_proposal(one) for one in offer.proposals],
        "key": [] if pair is None else [pair.group, text(pair.private().reveal())],
        "local_ts": [save_selector(one) for one in offer.local_ts],
        "remote_ts": [save_selector(one) for one in offer.remote_ts],
        "tries": offer.tries,
        "slot": offer.slot,
        "plain": offer.is_plain,
        "partial": [] if partial is None else _save_partial(partial),
    }


def load_offer(one: Loaded) -> Offer | None:
    """Return the offer that `save_offer` was given."""
    if one is None:
        return None
    return Offer(
        data(one["spi"]),
        data(one["nonce"]),
        tuple(_load_proposal(each) for each in one["proposals"]),
        KeyPair.generate(one["key"][0], data(one["key"][1])) if one["key"] else None,
        tuple(load_selector(ts) for ts in one["local_ts"]),
        tuple(load_selector(ts) for ts in one["remote_ts"]),
        one["tries"],
        one["slot"],
        bool(one["plain"]),
        _load_partial(one["partial"]) if one["partial"] else None,
    )


@lru_cache(maxsize=256)
def _save_proposal(one: Proposal) -> list[Value]:
    parts: list[Value] = [
        [each.type, each.id, each.key_bits, text(each.attributes)] for each in one.transforms
    ]
    return [int(one.protocol), one.number, text(one.spi), parts]


def _load_proposal(one: Loaded) -> Proposal:
    protocol, number, spi, parts = one
    transforms = tuple(
        Transform(kind, number, bits, data(rest)) for kind, number, bits, rest in parts
    )
    return Proposal(protocol, transforms, data(spi), number)


def _save_partial(partial: Partial) -> list[Value]:
    """Return a message in its clear form: its payloads are what counts."""
    secrets: list[Value] = [text(one.reveal()) for one in partial.secrets]
    return [text(serialise_clear(partial.response)), secrets]


def _load_partial(one: Loaded) -> Partial:
    datagram = data(one[0])
    header = parse_header(datagram)
    response = message_of(header, parse_chain(header.next_payload, datagram[HEADER_LEN:]))
    return Partial(response, tuple(Secret(data(each)) for each in one[1]))


# ---- a Child SA that the data plane may not have yet ----


def save_fresh(fresh: Fresh | None) -> list[Value]:
    """Return both ESP SAs with their keys and limits."""
    if fresh is None:
        return []
    limits = fresh.limits
    return [
        _save_esp(fresh.inbound),
        _save_esp(fresh.outbound),
        [limits.soft_packets, limits.hard_packets, limits.soft_bytes, limits.hard_bytes],
    ]


def load_fresh(one: Loaded) -> Fresh | None:
    """Return the ESP SAs that `save_fresh` was given."""
    return Fresh(_load_esp(one[0]), _load_esp(one[1]), Limits(*one[2])) if one else None


def _save_esp(sa: EspSa) -> list[Value]:
    keys: list[Value] = [text(sa.encr_key.reveal()), text(sa.integ_key.reveal())]
    return [sa.spi, int(sa.encr), sa.key_bits, int(sa.integ), sa.esn, *keys]


def _load_esp(one: Loaded) -> EspSa:
    spi, encr, key_bits, integ, esn, encr_key, integ_key = one
    keys = Secret(data(encr_key)), Secret(data(integ_key))
    return EspSa(spi, Encr(encr), key_bits, keys[0], Integ(integ), keys[1], bool(esn))


@lru_cache(maxsize=4096)
def save_selector(one: TrafficSelector) -> list[Value]:
    """Return a traffic selector: one list for all who ask, so not to be changed."""
    return [str(one.first), str(one.last), one.protocol, one.first_port, one.last_port]


def load_selector(one: Loaded) -> TrafficSelector:
    """Return the traffic selector that `save_selector` was given."""
    return TrafficSelector(ip_address(one[0]), ip_address(one[1]), *one[2:])
