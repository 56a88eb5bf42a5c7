"""
What a gateway process leaves to the next one, and that it never says two things in one place.

`Store` keeps an endpoint's records as the data plane process does, and checks each time that they
say what the endpoint is. `Once` sees everything that is sent, over all restarts.
"""

from __future__ import annotations

import json
from typing import Any

from gateway.ike import snapshot
from gateway.ike.child import ChildSa
from gateway.ike.endpoint import IkeEndpoint
from gateway.ike.iana import ExchangeType
from gateway.ike.ike_sa import IkeSa
from gateway.ike.message import parse_header

_SK, _SKF = 46, 53
_IV_AT = {_SK: 32, _SKF: 36}


class Store:
    """The records of one side."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}

    def keep(self, endpoint: IkeEndpoint) -> None:
        """Take what has changed; afterwards the records are what a look at all would say."""
        for key, record in endpoint.changes():
            if record:
                assert _goes_on(self.records.get(key, record), record)
                self.records[key] = record
            else:
                self.records.pop(key, None)
        whole = {
            sa.own_spi: json.loads(_afresh(sa))
            for sa in endpoint._context.sas.values()
            if sa.state in snapshot.KEPT and sa.tunnel is not None
        }
        kept = {key: json.loads(record) for key, record in self.records.items()}
        for one in (*whole.values(), *kept.values()):
            for child in one["children"]:
                del child["fresh"]  # forgotten as soon as the data plane has them
        assert kept == whole

    def found(self) -> list[bytes]:
        """Return the records as the next process finds them."""
        return list(self.records.values())

    def newest(self) -> Any:
        """Return what is kept of the newest IKE SA."""
        return sorted(map(json.loads, self.records.values()), key=lambda one: one["times"][1])[-1]


def _afresh(sa: IkeSa) -> bytes:
    """Return the record that would be made of an IKE SA if nothing of one before were used."""
    parts: list[IkeSa | ChildSa] = [sa, *sa.children.values()]
    before = [part.lasting for part in parts]
    for part in parts:
        part.lasting = ""
    record = snapshot.save(sa)
    for part, lasting in zip(parts, before, strict=True):
        part.lasting = lasting
    return record


def _goes_on(old: bytes, new: bytes) -> bool:
    """Return whether no count of a record goes back, by a restart or otherwise."""
    before, after = json.loads(old), json.loads(new)
    counts = [
        (one["ivs"], one["window"]["next"], one["window"]["expected"]) for one in (before, after)
    ]
    return all(then <= now for then, now in zip(*counts, strict=True))


class Once:
    """Every sealed datagram that was sent, by what must not come twice."""

    def __init__(self) -> None:
        self._said: dict[tuple[object, ...], bytes] = {}

    def see(self, sender: str, datagram: bytes, iv_len: int) -> None:
        """
        Check that no IV and no message ID is used for another message than before.

        The same bytes again are a retransmission (RFC 7296 section 2.1).
        """
        header = parse_header(datagram)
        if header.exchange == ExchangeType.IKE_SA_INIT or header.next_payload not in _IV_AT:
            return
        ike_sa = (sender, header.spi_i, header.spi_r)
        iv_at = _IV_AT[header.next_payload]
        fragment = datagram[32:36] if header.next_payload == _SKF else b""
        for place in (
            (*ike_sa, "iv", datagram[iv_at : iv_at + iv_len]),
            (*ike_sa, "id", header.is_response, header.message_id, fragment),
        ):
            said = self._said.setdefault(place, datagram)
            assert said == datagram, f"{sender} says two things with one {place[3]}"
