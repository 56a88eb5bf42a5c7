"""Captures as scapy reads them."""

from __future__ import annotations

import io
from typing import Any

from scapy.utils import RawPcapNgReader


def packets_in(data: bytes) -> list[tuple[bytes, Any]]:
    """Return each packet of a pcapng file with what scapy knows of it."""
    reader: Any = RawPcapNgReader
    return list(reader(io.BytesIO(data)))
