"""The kernel's settings (sysctl) of one network namespace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

_PLACE = Path("/proc/sys/net")


class Settings(Protocol):
    """Those below `net` of one network namespace."""

    def read(self, names: Sequence[str]) -> list[str]:
        """Return each value, as in "ipv4/ip_forward"; "" if the kernel has none of that name."""
        ...

    def write(self, name: str, value: str) -> None:
        """Set a value. Raises OSError where that is not allowed."""
        ...


class OwnSettings:
    """The settings of the network namespace that this process is in."""

    def read(self, names: Sequence[str]) -> list[str]:
        return [self._read(name) for name in names]

    def _read(self, name: str) -> str:
        try:
            return (_PLACE / name).read_text().strip()
        except OSError:
            return ""

    def write(self, name: str, value: str) -> None:
        (_PLACE / name).write_text(value + "\n")
