"""
Inner devices merge the UDP that they only forward.

A card hands the kernel many packets at once. Those of a TCP stream are merged before they are
routed, those of a UDP flow only if the device is told to (`rx-udp-gro-forwarding`); then one read
of the TUN device takes all of them. GRO itself is left as it is: all cards have it on, and a veth
pair, which has it off, drops what its sender has no queue for once it is on.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable

from gateway.dataplane.kernel import may_merge_udp
from gateway.errors import GatewayError
from gateway.node.journal import Journal
from gateway.node.namespaces import Namespaces
from gateway.node.port import UDP_GRO_FORWARDING, PortPlan, cards_of


class Merging:
    """
    Tells each device once in the life of this process, so an operator may switch it off again.

    It stays on when the gateway ends: whoever forwards then gains by it too.
    """

    def __init__(
        self, namespaces: Namespaces, journal: Journal, release: str = platform.release()
    ) -> None:
        self._namespaces = namespaces
        self._journal = journal
        self._is_wanted = may_merge_udp(release)
        self._told: set[tuple[str, int]] = set()  # namespaces and indexes of devices

    def apply(self, plans: Iterable[PortPlan]) -> None:
        """Tell the devices of these ports. A device that is not there or refuses is left alone."""
        if not self._is_wanted:
            return
        for namespace, device in dict.fromkeys(card for plan in plans for card in cards_of(plan)):
            try:
                self._tell(namespace, device)
            except (GatewayError, OSError):
                continue  # `twinspan doctor` says what is off

    def _tell(self, namespace: str, device: str) -> None:
        kernel = self._namespaces.of(namespace)
        place = (namespace, kernel.index(device))
        if place in self._told:
            return
        self._told.add(place)
        if kernel.features.switch_on(device, UDP_GRO_FORWARDING):
            self._journal.info(
                "offload switched on", name=device, namespace=namespace, feature=UDP_GRO_FORWARDING
            )
