"""
Certificates that end soon, ours and the peers': said once for each, as an event, and taken back
when they are renewed.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

from gateway.ike.config import TunnelConfig
from gateway.ike.endpoint import IkeEndpoint
from gateway.node.journal import Journal

SOON_S = 14 * 86400.0
EVERY_S = 60.0  # that a tunnel is looked at


@dataclass(slots=True)
class Expiry:
    """Looks at the dates. `now` is monotonic, the rest in seconds since 1970."""

    journal: Journal
    _next: dict[str, float] = field(default_factory=dict)
    _said: dict[str, dict[str, float]] = field(default_factory=dict)  # by tunnel and whose

    def sample(self, config: TunnelConfig, endpoint: IkeEndpoint, now: float, wall: float) -> None:
        """Look at a tunnel's certificates, if it has any and it is time."""
        credentials = config.credentials
        if credentials is None or not credentials.chain or not self.is_due(config.name, now):
            return
        proof = endpoint.tunnel_status(config.name).peer_proof
        ends = {"our": min(one.ends_at for one in credentials.chain)}
        if proof is not None:
            ends["the peer's"] = proof.ends_at
        self.look(config.name, ends, wall)

    def is_due(self, tunnel: str, now: float) -> bool:
        """Return whether it is time to look at a tunnel again, and note that it is done."""
        if self._next.get(tunnel, 0.0) > now:
            return False
        self._next[tunnel] = now + EVERY_S
        return True

    def look(self, tunnel: str, ends: dict[str, float], wall: float) -> None:
        """Take when the certificates of a tunnel end, by whose they are: "our", "the peer's"."""
        ending = {whose: at for whose, at in ends.items() if at and at - wall < SOON_S}
        said = self._said.get(tunnel, {})
        for whose, at in ending.items():
            if said.get(whose) != at:
                text = f"{whose} certificate ends {_when(at - wall)}"
                self.journal.warning("tunnel_certificate_ending", tunnel=tunnel, text=text)
        if said and not ending:
            self.journal.info("tunnel_certificate_renewed", tunnel=tunnel)
        self._said[tunnel] = ending

    def keep(self, tunnels: Set[str]) -> None:
        """Forget all other tunnels."""
        for name in self._next.keys() - tunnels:
            del self._next[name]
            self._said.pop(name, None)


def _when(left_s: float) -> str:
    if left_s <= 0:
        return "now: it is over"
    days = int(left_s // 86400)
    return f"in {days} days" if days else f"in {max(1, int(left_s // 3600))} hours"
