"""What long values came to, kept for the next one who asks: so many, and so many bytes, at most."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from gateway.pki.certificate import Certificate

T = TypeVar("T")


class Kept(Generic[T]):
    """Calls a function once for the same bytes and issuer, as `lru_cache` does."""

    def __init__(
        self, function: Callable[[bytes, Certificate], T], most: int, bytes_max: int
    ) -> None:
        self._function = function
        self._most = most
        self._bytes_max = bytes_max
        self._found: OrderedDict[tuple[bytes, Certificate], T] = OrderedDict()
        self.bytes = 0  # of all keys

    def __call__(self, content: bytes, issuer: Certificate) -> T:
        """Return what the function returns of these; what it raises is not kept."""
        key = (content, issuer)
        if key in self._found:
            self._found.move_to_end(key)
            return self._found[key]
        made = self._found[key] = self._function(content, issuer)
        self.bytes += len(content)
        while len(self._found) > self._most or self.bytes > self._bytes_max:
            (oldest, _), _ = self._found.popitem(last=False)
            self.bytes -= len(oldest)
        return made

    def __len__(self) -> int:
        return len(self._found)
