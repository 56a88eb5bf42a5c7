"""
Who wants traffic to leave a tunnel, and how far: the strongest cause counts.

Everything that moves traffic on purpose says so here, each under its own cause, and takes back only
its own word: an operator's drain, the wait before failback, damping, probes. What fails by itself
(carrier, BFD) is left by the kernel and by BIRD without us. Static connections follow at once by
the metrics of their routes; BGP connections when BIRD has taken over its new configuration.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from enum import Enum

from gateway.node.journal import Journal
from gateway.routing.plan import Standing, Standings, strongest


class Cause(Enum):
    """Why a tunnel does not carry traffic as its routes say."""

    DRAIN = "drain"  # it is to be closed: by an operator, or to be renegotiated
    FAILBACK = "failback"  # it is well again, but traffic stays where it is
    DAMPED = "damped"  # it went down too often
    PROBE = "probe"  # nobody answers through it


class Steering:
    """The standings of all tunnels, with their causes. `moved` is called after each change."""

    def __init__(self, journal: Journal, moved: Callable[[], None]) -> None:
        self._journal = journal
        self._moved = moved
        self._said: dict[str, dict[Cause, Standing]] = {}
        self._is_held = False
        self._has_moved = False
        self.moved_at: dict[str, float] = {}  # when its standing became what it is, since 1970
        self.changed = asyncio.Event()  # since somebody last cleared it

    @property
    def standings(self) -> Standings:
        """Return the standing of each tunnel that is not NORMAL."""
        return {name: strongest(said.values()) for name, said in self._said.items()}

    def of(self, tunnel: str) -> Standing:
        """Return the standing of a tunnel."""
        return strongest(self._said.get(tunnel, {}).values())

    def causes(self, tunnel: str) -> tuple[Cause, ...]:
        """Return why a tunnel's standing is not NORMAL, if so."""
        return tuple(sorted(self._said.get(tunnel, ()), key=list(Cause).index))

    def said(self, tunnel: str, cause: Cause) -> Standing:
        """Return what was last said of a tunnel under this cause."""
        return self._said.get(tunnel, {}).get(cause, Standing.NORMAL)

    def say(self, tunnel: str, cause: Cause, standing: Standing) -> None:
        """Say how far a tunnel may carry traffic for this cause; NORMAL takes the word back."""
        if self.said(tunnel, cause) is standing:
            return
        before = self.of(tunnel)
        said = self._said.setdefault(tunnel, {})
        if standing is Standing.NORMAL:
            del said[cause]
        else:
            said[cause] = standing
        if not said:
            del self._said[tunnel]
        if self.of(tunnel) is not before:
            causes = ", ".join(each.value for each in self.causes(tunnel))
            self._journal.info(
                "standing", tunnel=tunnel, standing=self.of(tunnel).value, cause=causes or "none"
            )
            self.moved_at[tunnel] = time.time()
            self.changed.set()
            self._has_moved = True
            self._move()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Move traffic once for all that is said in the block: a cut line has many tunnels."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
            self._move()

    def _move(self) -> None:
        if self._has_moved and not self._is_held:
            self._has_moved = False
            self._moved()

    def forget(self, tunnels: frozenset[str]) -> None:
        """Forget all tunnels but these."""
        for name in [name for name in self._said if name not in tunnels]:
            del self._said[name]
            self.moved_at.pop(name, None)
