"""Values that the tests of the data plane share: one path, one SA, one tunnel's options."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

from gateway.dataplane.interface import PlaneSa, TunnelOptions
from gateway.sa import Encr, EspSa, Integ, Limits, Path, TrafficSelector
from gateway.secret import Secret

LEFT, RIGHT = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
PATH = Path(LEFT, 4500, RIGHT, 4500)
OPTIONS = TunnelOptions(1400)
KEY = bytes(range(0x80, 0x80 + 36))  # AES-256 and salt; no byte of it is common in other places

EVERYTHING = (
    TrafficSelector(ip_address("0.0.0.0"), ip_address("255.255.255.255")),
    TrafficSelector(ip_address("::"), ip_address("ffff:" * 7 + "ffff")),
)


def esp_sa(spi: int, key: bytes = KEY, encr: Encr = Encr.AES_GCM_16, esn: bool = True) -> EspSa:
    return EspSa(spi, encr, 256, Secret(key), Integ.NONE, Secret(b""), esn)


def plane_sa(spi: int, limits: Limits | None = None, key: bytes = KEY) -> PlaneSa:
    return PlaneSa(esp_sa(spi, key), EVERYTHING, EVERYTHING, limits or Limits())
