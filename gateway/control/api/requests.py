"""Requests counted: by the path of their route and not by their own, so that they stay few."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from gateway.prometheus.text import Durations, counts

_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


class Requests:
    """Takes each request when its answer is out; one that nobody waited for has the status 0."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._took = Durations("method", "route")

    def see(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        word = method if method in _METHODS else "other"
        self._counts[word, route, str(status)] += 1
        self._took.add(seconds, word, route)

    def families(self) -> Iterator[list[str]]:
        """Yield what Prometheus reads of them."""
        text = "requests by the path of their route and the status of the answer"
        names = ("method", "route", "status")
        yield counts(
            "twinspan_control_requests_total", "counter", text, names, self._counts.items()
        )
        text = "seconds until the answer was out; streams and nodes' questions wait for something"
        yield self._took.lines("twinspan_control_request_seconds", text)
