"""
The additional key exchanges of an IKE SA that is set up (RFC 9370 section 2.2.2): those to come,
and what AUTH says of the IKE_INTERMEDIATE exchanges that carried the others (RFC 9242 section 3.3).
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.ike.iana import Prf
from gateway.ike.suites import prf
from gateway.ike.transforms import Transform
from gateway.secret import Secret


@dataclass(slots=True)
class Further:
    """`waiting` are the key exchanges to come, in order; `done` is how many were made."""

    waiting: tuple[Transform, ...] = ()
    done: int = 0
    _auth_i: bytes = b""  # IntAuth_i of the last exchange
    _auth_r: bytes = b""

    @property
    def group(self) -> int:
        """Return the method of the next key exchange; 0 if none is to come."""
        return self.waiting[0].id if self.waiting else 0

    def take(
        self,
        function: Prf,
        keys: tuple[Secret, Secret],
        request: bytes,
        response: bytes,
    ) -> None:
        """
        Note that an exchange is done. `keys` are the SK_pi and SK_pr that it began with, `request`
        and `response` the octets of its messages (see `message.octets_of`).
        """
        sk_pi, sk_pr = (key.reveal() for key in keys)
        self._auth_i = prf(function, sk_pi, self._auth_i + request)
        self._auth_r = prf(function, sk_pr, self._auth_r + response)
        self.waiting = self.waiting[1:]
        self.done += 1

    @property
    def int_auth(self) -> bytes:
        """
        Return what AUTH covers of these exchanges: IntAuth_i | IntAuth_r | IKE_AUTH's message ID.

        IKE_SA_INIT has message ID 0, so IKE_AUTH has that of the exchanges before it.
        """
        if not self.done:
            return b""
        return self._auth_i + self._auth_r + (self.done + 1).to_bytes(4, "big")
