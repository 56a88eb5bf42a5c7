"""
The network namespaces of the Border Gateways: one `Netlink` for each that is in use.

"" names the namespace that this process is in, the VM's own.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.node.netlink import Netlink

OWN = ""


class Namespaces:
    """Finds the `Netlink` of a namespace by the namespace's name."""

    def __init__(self) -> None:
        self.own = Netlink()
        self._opened = {OWN: self.own}

    def of(self, name: str) -> Netlink:
        """Return the kernel's networking in a namespace."""
        return self._opened[name]

    def __iter__(self) -> Iterator[str]:
        """Return the names of the namespaces that are open."""
        return iter(tuple(self._opened))

    def close(self) -> None:
        for kernel in self._opened.values():
            kernel.close()
