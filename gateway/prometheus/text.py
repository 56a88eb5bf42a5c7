"""
The text format of Prometheus, version 0.0.4. Pure.

The text is made here and not by the client library, which needs 0.8 s for a thousand tunnels; it is
made in the processes that speak IKE and answer the API.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Bounds of what takes seconds, from a millisecond up.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

Labels = Mapping[str, object]
Sample = tuple[str, float | int]  # labels as text, and the value


def text_of(families: Iterable[Sequence[str]]) -> str:
    """Return what Prometheus reads: the lines of some metrics."""
    return "\n".join(line for lines in families for line in lines) + "\n"


def family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> list[str]:
    """Return the lines of one metric; a sample is its labels and its value."""
    return _head(name, kind, text) + [
        f"{name}{labels} {number(value)}" for labels, value in samples
    ]


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def number(value: float | int) -> str:
    """Return a value as a sample has it."""
    if value != value:
        return "NaN"
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def labelled(labels: Labels) -> str:
    """Return labels as they stand behind the name of a series; nothing for none."""
    inside = ",".join(f'{name}="{_escaped(str(value))}"' for name, value in labels.items())
    return f"{{{inside}}}" if inside else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class Histogram:
    """How often something was how large: counted up to each of some bounds, and summed up."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)  # the last one: beyond all bounds
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str, labels: Labels) -> Iterator[str]:
        """Yield the series of one set of labels."""
        total, mine = 0, labelled(labels)
        begin = f"{name}_bucket{mine[:-1]}," if mine else f"{name}_bucket{{"
        for bound, count in zip((*map(number, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            yield f'{begin}le="{bound}"}} {total}'
        yield f"{name}_sum{mine} {number(self._sum)}"
        yield f"{name}_count{mine} {total}"


def histograms(name: str, text: str, found: Iterable[tuple[Labels, Histogram]]) -> list[str]:
    """Return the lines of one metric that is a histogram for each set of labels."""
    lines = _head(name, "histogram", text)
    for labels, each in found:
        lines += each.lines(name, labels)
    return lines


class Durations:
    """A histogram of seconds for each set of labels that comes; their names are told once."""

    def __init__(self, *names: str, bounds: Sequence[float] = SECONDS) -> None:
        self._names = names
        self._bounds = bounds
        self._found: dict[tuple[str, ...], Histogram] = {}

    def add(self, seconds: float, *values: str) -> None:
        """Count one, under the values of the labels."""
        if values not in self._found:
            self._found[values] = Histogram(self._bounds)
        self._found[values].add(seconds)

    def lines(self, name: str, text: str) -> list[str]:
        """Return the lines of the metric."""
        found = sorted(self._found.items())
        each_of = [(dict(zip(self._names, values, strict=True)), each) for values, each in found]
        return histograms(name, text, each_of)


def counts(
    name: str,
    kind: str,
    text: str,
    names: Sequence[str],
    found: Iterable[tuple[tuple[str, ...], float]],
) -> list[str]:
    """Return the lines of one metric; a sample is the values of its labels, and its own."""
    samples = (
        (labelled(dict(zip(names, values, strict=True))), count) for values, count in sorted(found)
    )
    return family(name, kind, text, samples)
