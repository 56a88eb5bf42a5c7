"""
Which addresses a target may have. Its address is a user's word, and the control process stands in
places that the user does not: so a target may be at public addresses, and elsewhere only where the
operator allows it.

The name is resolved once, every address of it is judged, and the connection is made to a judged
address: a name that changes in between leads nowhere else.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from gateway.control.alarms.settings import AlarmSettings
from gateway.control.auth.principal import MAIN_TENANT
from gateway.errors import GatewayError

Address = IPv4Address | IPv6Address
ADDRESSES_MAX = 4  # of a name, that are tried one after the other


class NotDelivered(GatewayError):
    """A message was not taken. `is_final`: it will not be if it is sent again."""

    def __init__(self, text: str, *, is_final: bool = False) -> None:
        super().__init__(text)
        self.is_final = is_final


@dataclass(frozen=True, slots=True)
class Reach:
    """What the targets of one tenant may reach."""

    settings: AlarmSettings
    tenant: str

    def allows(self, address: Address) -> bool:
        """Say whether a target may be at an address."""
        plain = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        judged = plain or address
        if any(judged in network for network in self.settings.target_networks):
            return True
        if judged.is_multicast or judged.is_unspecified or judged.is_reserved:
            return False
        if judged.is_loopback or judged.is_link_local:
            return False
        if isinstance(judged, IPv6Address) and (judged.is_site_local or judged.sixtofour):
            return False  # of a site (RFC 3879), or a way to any IPv4 address (RFC 3056)
        if judged.is_global:
            return True
        return self.settings.private_of_main and self.tenant == MAIN_TENANT and judged.is_private

    def connect(self, host: str, port: int, timeout_s: float) -> socket.socket:
        """Return a TCP connection to a host. Called in a thread. Raises NotDelivered."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise NotDelivered(f"{host}: can not be resolved: {error.strerror}") from None
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        self._judge(host, addresses)
        why = "has no address"
        for address in addresses[:ADDRESSES_MAX]:
            try:
                return socket.create_connection((address, port), timeout_s)
            except OSError as error:
                why = error.strerror or str(error) or "does not answer"
        raise NotDelivered(f"{host} port {port}: {why.lower()}")

    def _judge(self, host: str, addresses: Iterable[str]) -> None:
        for address in addresses:
            if not self.allows(ip_address(address.partition("%")[0])):
                where = host if host == address else f"{host} ({address})"
                text = f"{where} is not public; target_networks of the setting alarms may allow it"
                raise NotDelivered(text, is_final=True)
