"""
Passwords: what one must be, and argon2id (RFC 9106) beside the event loop.

A hash costs 64 MiB and a tenth of a second, so few are made at once and few may wait. A user who
does not exist costs the same as one who does, so the time says nothing about who there is.
"""

from __future__ import annotations

import asyncio
import os
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from gateway.control.problems import ApiProblem, invalid

MIN_CHARACTERS = 12
MAX_BYTES = 1024
MIN_DIFFERENT = 5  # characters: "aaaaaaaaaaaa" and "121212121212" are no passwords
AT_ONCE = 2
WAITING_MAX = 16
RETRY_AFTER_S = 2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cost:
    """What a hash costs. The default is RFC 9106's for little memory, in one thread not four."""

    passes: int = 3
    memory_kib: int = 64 << 10
    threads: int = 1


class Passwords:
    """Makes and checks hashes of passwords in threads, `AT_ONCE` at a time."""

    def __init__(self, cost: Cost | None = None) -> None:
        cost = cost or Cost()
        self._hasher = PasswordHasher(cost.passes, cost.memory_kib, cost.threads)
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._present = 0
        self._nobody = self._hasher.hash(os.urandom(16))

    async def hash(self, password: str) -> str:
        """Return the hash of a password that `judge_password` has seen. ApiProblem 429."""
        return await self._run(lambda: self._hasher.hash(_normal(password)))

    async def verify(self, password: str, hashed: str | None) -> bool:
        """
        Say whether a password has that hash; None is the hash of a user who does not exist.

        Raises ApiProblem 429 when too many wait.
        """
        try:
            text = _normal(password)
        except UnicodeEncodeError:
            text = b""
        if len(text) > MAX_BYTES:
            return False
        matches = await self._run(lambda: self._matches(hashed or self._nobody, text))
        return matches and hashed is not None

    def is_outdated(self, hashed: str) -> bool:
        """Say whether a hash was made at another cost than today's."""
        return self._hasher.check_needs_rehash(hashed)

    def _matches(self, hashed: str, text: bytes) -> bool:
        try:
            return self._hasher.verify(hashed, text)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._present >= AT_ONCE + WAITING_MAX:
            text = "too many passwords are being checked"
            raise ApiProblem(429, "rate_limited", text, retry_after_s=RETRY_AFTER_S)
        self._present += 1
        try:
            async with self._slots:
                return await asyncio.to_thread(work)
        finally:
            self._present -= 1


def judge_password(password: str, name: str, field: str = "password") -> None:
    """Raise ApiProblem 422 for what may not become the password of a user."""
    try:
        size = len(_normal(password))
    except UnicodeEncodeError:
        raise invalid(field, None, "is not valid Unicode", code="password_not_allowed") from None
    what = None
    if size > MAX_BYTES:
        what = f"must have at most {MAX_BYTES} bytes, not {size}"
    elif any(unicodedata.category(c) == "Cc" for c in password):
        what = "has control characters"
    elif len(password) < MIN_CHARACTERS:
        what = f"must have at least {MIN_CHARACTERS} characters, not {len(password)}"
    elif len(set(password)) < MIN_DIFFERENT:
        what = f"must have at least {MIN_DIFFERENT} different characters"
    elif name and name.casefold() in password.casefold():
        what = "has the user's name in it"
    if what is not None:
        raise invalid(field, None, what, code="password_not_allowed")


def _normal(password: str) -> bytes:
    """Return the bytes of a password, the same for all ways to type it (SP 800-63B 3.1.1.2)."""
    return unicodedata.normalize("NFC", password).encode()
