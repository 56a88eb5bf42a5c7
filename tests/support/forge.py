"""
A peer that breaks the rules: it knows an endpoint's keys and seals whatever the test wants to say.

The keys come from the endpoint's own record, which is what that is for: everything an IKE SA is.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from gateway.ike.iana import Prf
from gateway.ike.message import Header, Message, SkCipher, open_sealed, parse_header, seal
from gateway.ike.payloads import Payload
from gateway.ike.proposals import IkeSuite
from gateway.sa import Encr, Integ, Path
from gateway.secret import Secret
from tests.support.pair import Side


@dataclass
class Forger:
    """Speaks as `side` to its peer, on its newest IKE SA."""

    side: Side
    saved: Any  # the record of one IKE SA

    @classmethod
    def of(cls, side: Side) -> Forger:
        """Return a forger for what `side` is now."""
        return cls(side, side.store.newest())

    @classmethod
    def of_spis(cls, side: Side, spi_i: bytes) -> Forger | None:
        """Return a forger for the IKE SA with that initiator's SPI, if `side` has it."""
        for saved in map(json.loads, side.store.found()):
            if base64.b64decode(saved["spis"][0]) == spi_i:
                return cls(side, saved)
        return None

    @property
    def cipher(self) -> SkCipher:
        """Return the cipher of what `side` sends."""
        return self._cipher(self.is_initiator)

    def _suite(self) -> IkeSuite:
        encr, bits, prf, integ, group = self.saved["suite"]
        return IkeSuite(Encr(encr), bits, Prf(prf), Integ(integ), group)

    def _cipher(self, from_initiator: bool) -> SkCipher:
        keys = [Secret(base64.b64decode(key)) for key in self.saved["keys"]]
        integ, encr = (keys[1], keys[3]) if from_initiator else (keys[2], keys[4])
        return SkCipher(self._suite(), encr, integ)

    @property
    def next_id(self) -> int:
        return int(self.saved["window"]["next"])

    @property
    def is_initiator(self) -> bool:
        return bool(self.saved["original_initiator"])

    def message(
        self,
        exchange: int,
        payloads: tuple[Payload, ...],
        message_id: int | None = None,
        is_response: bool = False,
    ) -> Message:
        """Return a message of this IKE SA; by default the side's next request."""
        spi_i, spi_r = (base64.b64decode(spi) for spi in self.saved["spis"])
        number = self.next_id if message_id is None else message_id
        return Message(spi_i, spi_r, exchange, number, is_response, self.is_initiator, payloads)

    def seal(self, message: Message) -> bytes:
        """Return the sealed datagram; the IV is far from what the side itself uses."""
        cipher = self.cipher
        return seal(message, cipher, b"\xee" * cipher.iv_len)

    def send(
        self,
        exchange: int,
        *payloads: Payload,
        message_id: int | None = None,
        is_response: bool = False,
    ) -> None:
        """Let the peer receive a forged message as if it came from `side`."""
        self.send_raw(self.seal(self.message(exchange, payloads, message_id, is_response)))
        if message_id is None and not is_response:
            self.saved["window"]["next"] += 1

    def send_raw(self, datagram: bytes) -> None:
        """Let the peer receive bytes as if they came from `side`."""
        local, local_port, remote, remote_port = self._path()
        self.side.peer.receive(datagram, Path(remote, remote_port, local, local_port))

    def _path(self) -> tuple[Any, int, Any, int]:
        path = self.side.endpoint.tunnel_status(self.side.config.name).path
        assert path is not None
        return path.local, path.local_port, path.remote, path.remote_port

    def open(self, datagram: bytes) -> Message:
        """Return what the peer has sealed for `side`."""
        header: Header = parse_header(datagram)
        return open_sealed(datagram, header, self._cipher(not self.is_initiator))

    def answer(self) -> Message:
        """Return the peer's last message, and take it off the link."""
        return self.open(self.side.pair.hold_to(self.side).datagram)
