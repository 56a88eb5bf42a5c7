"""Randomness for tests: it counts, so a failing test prints the same exchange every time."""

from __future__ import annotations

from collections import deque

NONCE_LEN = 32


class FixedRandom:
    """
    Counts. `seed` tells two endpoints apart; nonces can be chosen, since they decide collisions.

    Draws of 32 bytes are nonces and nothing else.
    """

    def __init__(self, seed: int, fraction: float = 0.5) -> None:
        self.seed = seed
        self.fraction = fraction  # what `uniform` returns
        self.nonces: deque[int] = deque()  # first bytes of the nonces to come
        self.privates: list[tuple[int, bytes]] = []  # group and private value, as they were drawn
        self._count = 0

    def nonces_start(self, *first: int) -> None:
        """Let the next nonces begin with these bytes."""
        self.nonces.extend(first)

    def uniform(self) -> float:
        return self.fraction

    def private_key(self, group: int) -> bytes | None:
        """Return a private value that counts, of a length that fits every group."""
        self._count += 1
        value = bytes([1]) + self._count.to_bytes(22, "big") + bytes([self.seed])
        if group == 31:
            value = bytes([self.seed]) + self._count.to_bytes(31, "big")
        elif group in (36, 37):  # the seed of an ML-KEM key
            value = bytes([self.seed]) + self._count.to_bytes(63, "big")
        self.privates.append((group, value))
        return value

    def bytes(self, count: int) -> bytes:
        self._count += 1
        if count == NONCE_LEN:
            first = self.nonces.popleft() if self.nonces else 0x80 + self._count % 64
            return bytes([first, self.seed]) + self._count.to_bytes(NONCE_LEN - 2, "big")
        if count == 4:
            return (self.seed * 1000 + self._count).to_bytes(4, "big")
        return bytes([self.seed]) + self._count.to_bytes(max(count - 1, 8), "big")[1 - count :]
