"""
What this machine has not sent: the kernel's refusal for each peer, until a datagram leaves again.

To IKE a peer that does not answer and a datagram that never left look alike. This tells them apart:
there is no route, a rule of our own firewall is in the way, an address is not here.
"""

from __future__ import annotations

import errno
import os
from dataclasses import replace

from gateway.ike.events import Reason
from gateway.sa import Address

PEERS_MAX = 4096  # strangers are answered too: the oldest is forgotten
_HINT = "has this machine a route to the peer, does its own firewall let IKE out? twinspan doctor"
_FILTERED = os.strerror(errno.EPERM)  # what a rule for outgoing packets that drops them comes to
_FILTERED_HINT = (
    "a rule of this machine's own firewall stops IKE on its way out: nft list ruleset, iptables -S"
)


class Unsent:
    """The last refusal of each peer to whom nothing could be sent since."""

    def __init__(self) -> None:
        self._why: dict[Address, str] = {}

    def refused(self, remote: Address, why: str) -> None:
        """Take what the kernel has said of a datagram."""
        self._why[remote] = why
        if len(self._why) > PEERS_MAX:
            del self._why[next(iter(self._why))]

    def left(self, remote: Address) -> None:
        """Forget it: a datagram has left."""
        if self._why:
            self._why.pop(remote, None)

    def explained(self, reason: Reason, remote: Address | None) -> Reason:
        """Return the same reason, or for a silent peer that was sent nothing, with what it is."""
        why = self._why.get(remote) if remote is not None else None
        if why is None or reason.code != "peer_unreachable":
            return reason
        hint = _FILTERED_HINT if why == _FILTERED else _HINT
        return replace(reason, text=f"{reason.text}: this machine does not send: {why}", hint=hint)
