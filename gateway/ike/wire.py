"""The one piece of code that knows offsets: a cursor over bytes from a peer."""

from __future__ import annotations

from gateway.errors import WireError


class Reader:
    """
    Read-only cursor over one datagram or payload body, big-endian. Never reads past its end.

    `what` names the field in the message of a WireError.
    """

    __slots__ = ("_at", "_data", "_end")

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self._at = 0
        self._end = len(self._data)

    @property
    def left(self) -> int:
        """Return how many bytes are not read yet."""
        return self._end - self._at

    def take(self, count: int, what: str) -> bytes:
        """
        Return the next `count` bytes.

        A negative count, which a length smaller than its own header gives, is refused too.
        """
        return bytes(self._advance(count, what))

    def u8(self, what: str) -> int:
        return int.from_bytes(self._advance(1, what), "big")

    def u16(self, what: str) -> int:
        return int.from_bytes(self._advance(2, what), "big")

    def u32(self, what: str) -> int:
        return int.from_bytes(self._advance(4, what), "big")

    def u64(self, what: str) -> int:
        return int.from_bytes(self._advance(8, what), "big")

    def rest(self) -> bytes:
        """Return everything that is left, possibly nothing."""
        return bytes(self._advance(self.left, "rest"))

    def sub(self, count: int, what: str) -> Reader:
        """Return a cursor over the next `count` bytes, and step over them."""
        return Reader(self._advance(count, what))

    def end(self, what: str) -> None:
        """Raise WireError if anything is left."""
        if self.left:
            raise WireError(f"{what}: {self.left} trailing bytes")

    def _advance(self, count: int, what: str) -> memoryview:
        if not 0 <= count <= self.left:
            raise WireError(f"{what}: need {count} bytes, have {self.left}")
        start, self._at = self._at, self._at + count
        return self._data[start : self._at]
