"""
What Prometheus remembers of a tunnel, for the charts that show more than the last hour.

Whom to ask is said when the process is started and nowhere else. Prometheus is asked for ids that
we have made, with a time it has for that, and no redirect of it is followed.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from gateway.control.auth.fetch import Fetch, FetchError
from gateway.control.console.history import NAMES
from gateway.errors import GatewayError

SPANS: Mapping[str, int] = {"6h": 6 * 3600, "24h": 86400, "7d": 7 * 86400}  # seconds
POINTS = 360
RATE_S = 300  # at least: of the usual scrape interval, 15 to 60 s, it has several samples
FINE_S = 15  # at least, between the values that a mean is made of
TIMEOUT_S = 8.0
ANSWER_BYTES = 2 << 20
KEPT = 256  # answers
KEPT_SHARE = 4  # for a part of the time between two points

Series = dict[str, list[float | None]]

_RATES = {
    "in_bps": "8 * rate(twinspan_tunnel_in_bytes_total{0}[{1}])",
    "out_bps": "8 * rate(twinspan_tunnel_out_bytes_total{0}[{1}])",
    "in_pps": "rate(twinspan_tunnel_in_packets_total{0}[{1}])",
    "out_pps": "rate(twinspan_tunnel_out_packets_total{0}[{1}])",
    "drops_ps": "rate(twinspan_tunnel_dropped_packets_total{0}[{1}])",
}
_LEVELS = {
    f"{path}_{name}": (metric, path, factor)
    for path in ("inside", "outside")
    for name, metric, factor in (
        ("ms", "twinspan_tunnel_rtt_seconds", 1000),
        ("loss", "twinspan_tunnel_loss_ratio", 100),
    )
}


class LongerError(GatewayError):
    """Prometheus has no answer for us. The text is for who looks at the page."""


def query(id: str, step_s: int) -> str:
    """
    Return what is asked of a tunnel, all at once: series told apart by the label `series`.

    Two nodes may have had it. Where nobody answered there is NaN, which must not get into a mean.
    """
    rate, within = f"{max(step_s, RATE_S)}s", f"{step_s}s:{max(FINE_S, step_s // 28)}s"
    asked = {
        name: f"sum({form.format(f'{{id={json.dumps(id)}}}', rate)})"
        for name, form in _RATES.items()
    }
    for name, (metric, path, factor) in _LEVELS.items():
        of = f'{metric}{{id={json.dumps(id)},path="{path}"}}'
        asked[name] = f"{factor} * max(avg_over_time(({of} >= 0)[{within}]))"
    return " or ".join(
        f'label_replace({text}, "series", "{name}", "", "")' for name, text in asked.items()
    )


class Longer:
    """Asks a Prometheus."""

    def __init__(self, address: str, clock: Callable[[], float] = time.time) -> None:
        self._url = f"{address}/api/v1/query_range"
        self._clock = clock
        self._fetch = Fetch(TIMEOUT_S, is_allowed=lambda url: True, max_bytes=ANSWER_BYTES)
        self._kept: dict[tuple[str, str], tuple[float, Series]] = {}

    async def of(self, id: str, span: str) -> Series:
        """Return the points of a tunnel as `History.of` does. Raises LongerError."""
        now, step = self._clock(), SPANS[span] // POINTS
        at, found = self._kept.get((id, span), (-math.inf, {}))
        if 0.0 <= now - at < step / KEPT_SHARE:
            return found
        form = {
            "query": query(id, step),
            "start": f"{now - step * (POINTS - 1):.3f}",
            "end": f"{now:.3f}",
            "step": str(step),
            "timeout": f"{TIMEOUT_S - 1:g}s",
        }
        try:
            answer = await self._fetch.post(self._url, form)
            series = _series(answer, now - step * (POINTS - 1), step)
        except FetchError as error:
            why = error.answer.get("error") or str(error).removeprefix(f"{self._url}: ")
            raise LongerError(f"Prometheus has no answer: {str(why)[:200]}") from None
        self._kept.pop((id, span), None)
        self._kept[id, span] = now, series
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return series


def _series(answer: Mapping[str, Any], start: float, step: int) -> Series:
    """Return the points in an answer on our own grid. Raises LongerError if it is none."""
    found: Series = {"at": [round(start + step * number, 1) for number in range(POINTS)]}
    found |= {name: [None] * POINTS for name in NAMES}
    try:
        for one in answer["data"]["result"]:
            values = found[one["metric"]["series"]]
            for at, text in one["values"]:
                _put(values, round((float(at) - start) / step), float(text))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise LongerError("Prometheus has no answer: what it says is not what it should") from None
    return found


def _put(values: list[float | None], place: int, value: float) -> None:
    if 0 <= place < len(values) and math.isfinite(value):
        values[place] = round(value, 3)
