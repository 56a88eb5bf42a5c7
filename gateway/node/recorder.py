"""
The last lines of what `twinspan trace` would have shown of each tunnel, so that a negotiation that
has failed can be read afterwards.

Kept as JSON: some 500 bytes a line, 16 KB for a tunnel with a history. What only says that an end
is still there is not in it, and what repeats is one line with a number.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable

from gateway.ike.events import Event
from gateway.node.daemon import IkeDaemon
from gateway.node.trace import line_of

Json = dict[str, object]
LINES = 32  # of a tunnel
STRANGERS_MAX = 64  # tunnels that are not known any more, before they are forgotten


class Recorder:
    """Looks on for as long as the daemon runs."""

    def __init__(self, daemon: IkeDaemon, wall: Callable[[], float]) -> None:
        self._daemon = daemon
        self._wall = wall
        self._lines: dict[str, deque[bytes]] = {}
        daemon.endpoint.record()
        daemon.look_on(self._see)

    def of(self, tunnel: str) -> list[Json]:
        """Return what is remembered of a tunnel, the oldest first."""
        return [json.loads(line) for line in self._lines.get(tunnel, ())]

    def _see(self, event: Event) -> None:
        name = getattr(event, "tunnel", None)
        if not isinstance(name, str):
            return
        line = line_of(event, name)
        if line is None:
            return
        lines = self._lines.get(name)
        if lines is None:
            self._forget_strangers()
            lines = self._lines[name] = deque(maxlen=LINES)
        if line["kind"] != "message" and lines:
            last = json.loads(lines[-1])
            if last.get("text") == line["text"]:
                line["times"] = int(last.get("times", 1)) + 1
                lines.pop()
        lines.append(json.dumps({"at": self._wall(), **line}, ensure_ascii=False).encode())

    def _forget_strangers(self) -> None:
        known = self._daemon.known
        strangers = [name for name in self._lines if name not in known]
        if len(strangers) > STRANGERS_MAX:
            for name in strangers:
                del self._lines[name]
