"""
What devices do with packets by themselves, by the kernel's names of it (`ethtool -k`).

Asked by ioctl, through a socket of the device's network namespace: ethtool's own netlink family
would need one more socket of each. linux/ethtool.h has the structures.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from collections.abc import Iterator

_SIOCETHTOOL = 0x8946
_GDRVINFO, _GSTRINGS, _GSSET_INFO, _GFEATURES, _SFEATURES = 0x03, 0x1B, 0x37, 0x3A, 0x3B
_SET_OF_FEATURES = 4  # ETH_SS_FEATURES
_NAME_BYTES = _DRIVER_BYTES = 32
_DRVINFO_BYTES = 196
_BLOCK_BITS = 32
_BLOCK = struct.Struct("=4I")  # available, requested, active, never changed


class Features:
    """Those of the devices in the network namespace of a socket, which stays the caller's."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._names: tuple[str, ...] = ()  # the kernel's, the same for all devices

    def of(self, device: str) -> dict[str, bool]:
        """Return each feature that the kernel knows, and whether it is on. Raises OSError."""
        return {name: bool(active & bit) for name, bit, _, active in self._states(device)}

    def switch_on(self, device: str, feature: str) -> bool:
        """
        Switch a feature on; return whether it was off. Raises OSError.

        One that the kernel does not know, or the device does not leave to us, stays as it is.
        """
        for at, (name, bit, available, active) in enumerate(self._states(device)):
            if name == feature and available & bit and not active & bit:
                blocks = _blocks(len(self._names))
                words = [0] * (2 * blocks)  # of each block what is set, and to what
                words[2 * (at // _BLOCK_BITS)] = words[2 * (at // _BLOCK_BITS) + 1] = bit
                self._ask(device, struct.pack(f"=II{2 * blocks}I", _SFEATURES, blocks, *words))
                return self.of(device)[feature]
        return False

    def driver(self, device: str) -> str:
        """Return the name of a device's driver, as "virtio_net" or "veth". Raises OSError."""
        answer = self._ask(device, struct.pack("=I", _GDRVINFO) + bytes(_DRVINFO_BYTES - 4))
        return _text(answer[4 : 4 + _DRIVER_BYTES])

    def _states(self, device: str) -> Iterator[tuple[str, int, int, int]]:
        """Yield each feature's name, its bit, and of its block those available and those active."""
        self._names = self._names or self._read_names(device)
        blocks = _blocks(len(self._names))
        request = struct.pack("=II", _GFEATURES, blocks) + bytes(blocks * _BLOCK.size)
        found = list(_BLOCK.iter_unpack(self._ask(device, request)[8:]))
        for at, name in enumerate(self._names):
            available, _, active, _ = found[at // _BLOCK_BITS]
            yield name, 1 << at % _BLOCK_BITS, available, active

    def _read_names(self, device: str) -> tuple[str, ...]:
        answer = self._ask(device, struct.pack("=IIQI", _GSSET_INFO, 0, 1 << _SET_OF_FEATURES, 0))
        (count,) = struct.unpack_from("=I", answer, 16)
        head = struct.pack("=III", _GSTRINGS, _SET_OF_FEATURES, count)
        answer = self._ask(device, head + bytes(count * _NAME_BYTES))[len(head) :]
        return tuple(_text(name) for (name,) in struct.iter_unpack(f"{_NAME_BYTES}s", answer))

    def _ask(self, device: str, request: bytes) -> bytes:
        buffer = array.array("B", request)
        address, _ = buffer.buffer_info()
        fcntl.ioctl(self._control, _SIOCETHTOOL, struct.pack("16sP16x", device.encode(), address))
        return buffer.tobytes()


def _blocks(count: int) -> int:
    return -(-count // _BLOCK_BITS)


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode(errors="replace")
