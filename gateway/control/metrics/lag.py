"""How late the event loop is: for so long nobody was answered."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator

from gateway.prometheus.text import SECONDS, Histogram, family, histograms

TICK_S = 0.01
WINDOW_S = 60.0


class LoopLag:
    """Sleeps a hundredth of a second again and again, and counts how much longer it was."""

    def __init__(self) -> None:
        self._lags = Histogram(SECONDS)
        self._worst: deque[float] = deque([0.0, 0.0], maxlen=2)  # of this window and the one before

    async def run(self) -> None:
        """Measure for ever."""
        loop = asyncio.get_running_loop()
        window_until = loop.time() + WINDOW_S
        while True:
            due = loop.time() + TICK_S
            await asyncio.sleep(TICK_S)
            now = loop.time()
            lag_s = max(now - due, 0.0)
            self._lags.add(lag_s)
            if now >= window_until:
                window_until = now + WINDOW_S
                self._worst.append(0.0)
            self._worst[-1] = max(self._worst[-1], lag_s)

    def families(self) -> Iterator[list[str]]:
        """Yield what Prometheus reads of it."""
        text = "seconds that the event loop was late, looked at 100 times a second"
        yield histograms("twinspan_control_loop_lag_seconds", text, [({}, self._lags)])
        text = "the longest time that the event loop was late, of the last one to two minutes"
        worst = [("", max(self._worst))]
        yield family("twinspan_control_loop_lag_worst_seconds", "gauge", text, worst)
