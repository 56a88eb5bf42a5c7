"""How long traffic was silent, from the times that data plane, kernel and BIRD have."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.errors import DataPlaneError
from gateway.node.silence import Silence

NOW, AGO = 1_000_000.0, 500.0  # the wall's clock, and the monotonic one


@dataclass
class Bed:
    """Tunnels "a" and "b", up for long; the last packet came out of "a" 4 s ago."""

    up: dict[str, bool] = field(default_factory=lambda: {"a": True, "b": True})
    changed: dict[str, float] = field(default_factory=lambda: {"a": NOW - 900, "b": NOW - 900})
    heard: dict[str, float] = field(default_factory=lambda: {"a": AGO - 4.0, "b": AGO})
    bgp: dict[str, tuple[float, bool]] = field(default_factory=dict)  # since when, established
    moved: dict[str, float] = field(default_factory=dict)

    def tunnel_stats(self, name: str) -> SimpleNamespace:
        if name not in self.heard:
            raise DataPlaneError("no such tunnel", -4)
        return SimpleNamespace(in_at=self.heard[name])

    def since(self, name: str) -> float | None:
        return self.bgp[name][0] if name in self.bgp else None

    def is_established(self, name: str) -> bool:
        return self.bgp[name][1]

    def of(self, *left: str, taken: tuple[str, ...] = ("b",)) -> float | None:
        tunnels = {
            name: SimpleNamespace(number=name, is_up=is_up, changed_at=self.changed[name])
            for name, is_up in self.up.items()
        }
        steering = SimpleNamespace(standings=self.moved, moved_at=self.moved)
        clocks = (lambda: AGO), (lambda: NOW)
        parts: list[Any] = [SimpleNamespace(by_name=tunnels), self, self, steering, *clocks]
        return Silence(*parts).of(left, taken)


def test_it_lasts_from_the_last_packet_until_the_carrier_was_lost() -> None:
    bed = Bed()
    bed.up["a"], bed.changed["a"] = False, NOW - 1.0
    assert bed.of("a") == pytest.approx(3.0)
    assert bed.of("a", taken=()) == pytest.approx(3.0)


def test_with_bgp_it_ends_with_the_session_though_the_carrier_is_lost_later() -> None:
    bed = Bed(bgp={"a": (NOW - 3.1, False), "b": (NOW - 800, True)})
    assert bed.of("a") == pytest.approx(0.9)
    bed.up["a"], bed.changed["a"] = False, NOW - 1.0
    assert bed.of("a") == pytest.approx(0.9)


def test_a_probe_ends_it_when_the_routes_leave() -> None:
    assert Bed(moved={"a": NOW - 3.4}).of("a") == pytest.approx(0.6)


def test_without_another_tunnel_it_lasts_until_there_is_one() -> None:
    bed = Bed()
    bed.up["a"], bed.changed["a"], bed.changed["b"] = False, NOW - 3.0, NOW - 0.5
    assert bed.of("a") == pytest.approx(3.5)
    bed.bgp["b"] = NOW - 0.2, True
    bed.bgp["a"] = NOW - 3.0, False
    assert bed.of("a") == pytest.approx(3.8)


def test_of_several_that_were_left_the_longest_counts() -> None:
    bed = Bed()
    bed.up |= {"a": False, "c": False}
    bed.changed |= {"a": NOW - 1.0, "c": NOW - 1.0}
    bed.heard["c"] = AGO - 2.0
    assert bed.of("c", "a") == pytest.approx(3.0)


def test_what_came_in_until_the_end_was_never_silent() -> None:
    bed = Bed()
    bed.up["a"], bed.changed["a"], bed.heard["a"] = False, NOW - 1.0, AGO - 0.5
    assert bed.of("a") == 0.0


def test_it_is_not_known_of_what_is_up_or_gone_or_was_never_heard() -> None:
    bed = Bed()
    assert bed.of("a") is None
    assert bed.of("nobody") is None
    bed.up["a"] = False
    del bed.heard["a"]
    assert bed.of("a") is None
    bed.heard["a"] = 0.0
    assert bed.of("a") is None
