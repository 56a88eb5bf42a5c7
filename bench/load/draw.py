"""The figures of `throughput` as a picture: what the ways carry, and what a gigabit costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.load import delay, rates

_COLOURS = {
    "plain": "#9aa5b1",
    "twinspan": "#0b7285",
    "strongswan": "#c2571a",
    "wireguard_go": "#7a4fa3",
}
_WIDTH = 0.8  # of a group of bars
_LOG_FROM = 2000  # delays reach over three orders of magnitude


def draw(found: Mapping[str, float], ways: Sequence[str], files: Sequence[Path]) -> None:
    """Write the picture to each file, as its name says (.png, .svg)."""
    panels = [
        ("TCP, Gbit/s", _cells(found, ways, ("tcp1", "tcp4", "tcp1_reverse", "tcp1_jumbo"))),
        (
            "UDP under overload, thousand packets/s",
            _cells(found, ways, ("udp64", "udp512", "udp1400", "imix"), ".kpps"),
        ),
        (
            "Highest rate with < 0.1 % lost, thousand packets/s",
            _cells(found, ways, tuple(rates.LOADS), ".kpps"),
        ),
        (
            "CPU seconds of a gateway for a gigabit",
            _cells(found, ways, ("tcp1", "udp1400", "imix"), ".cpu_s_per_gbit"),
        ),
        (
            "One-way delay of a probe, p99, µs",
            _cells(found, ways, delay.KINDS, ".p99_us"),
        ),
    ]
    shown = [(title, cells) for title, cells in panels if cells]
    figure = Figure(figsize=(9, 2.6 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, cells) in zip(
        figure.subplots(len(shown), 1, squeeze=False)[:, 0], shown, strict=True
    ):
        _bars(axes, title, cells, ways)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(ways), frameon=False)
    for file in files:
        figure.savefig(file, dpi=110)


def _cells(
    found: Mapping[str, float], ways: Sequence[str], kinds: Sequence[str], ending: str = ""
) -> dict[str, dict[str, float]]:
    """Return the values by kind and way; kinds without any are left out."""
    made = {
        kind: {way: found[key] for way in ways if (key := f"{kind}.{way}{ending}") in found}
        for kind in kinds
    }
    return {kind: values for kind, values in made.items() if values}


def _bars(
    axes: Axes, title: str, cells: Mapping[str, Mapping[str, float]], ways: Sequence[str]
) -> None:
    width = _WIDTH / len(ways)
    for place, way in enumerate(ways):
        spots = [n - _WIDTH / 2 + (place + 0.5) * width for n in range(len(cells))]
        heights = [values.get(way, 0.0) for values in cells.values()]
        bars = axes.bar(
            spots, heights, width * 0.92, label=way.replace("_", "-"), color=_COLOURS[way]
        )
        axes.bar_label(bars, [_short(height) for height in heights], fontsize=7)
    if max(max(values.values()) for values in cells.values()) > _LOG_FROM:
        axes.set_yscale("log")
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xticks(range(len(cells)), list(cells))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.margins(y=0.15)


def _short(value: float) -> str:
    if not value:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
