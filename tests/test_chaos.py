"""The random failures of the laboratory: what a round is, and what counts as a leak."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from lab.chaos import Fault, Step, steps
from lab.inventory import Inventory, leaks


def nothing() -> None:
    """Fail nothing."""


def fault(name: str, place: str, without: str = "") -> Fault:
    return Fault(name, place, nothing, nothing, without)


FAULTS = (
    fault("cut", "wan1"),
    fault("lossy", "wan1"),
    fault("killed", "gateway"),
    fault("edit", "document", "gateway"),
    fault("down", "tunnel", "gateway"),
)


def round_of(seed: int) -> list[Step]:
    return list(steps(random.Random(seed), FAULTS))


@pytest.mark.parametrize("seed", range(50))
def test_what_begins_ends_one_at_a_place_and_never_without_what_it_needs(seed: int) -> None:
    failing: dict[str, Fault] = {}
    for step in round_of(seed):
        assert step.fault.without not in failing
        if step.begins:
            assert step.fault.place not in failing
            failing[step.fault.place] = step.fault
        else:
            assert failing.pop(step.fault.place) is step.fault
    assert not failing


def test_the_seed_decides() -> None:
    assert round_of(7) == round_of(7)
    assert round_of(7) != round_of(8)


BEFORE = Inventory(
    namespaces=("lab-gwa",),
    devices={"gwa": ("lan", "ts-1")},
    routes={"gwa": ("10.0.0.0/8 dev ts-1",)},
    processes={"gwa": ("bird", "gateway")},
    children={"gwa": ("office-1: 1",)},
    descriptors={"gwa gateway": 30},
    resident_mib={"gwa gateway": 60.0},
)


def test_what_is_as_before_is_no_leak() -> None:
    assert leaks(BEFORE, BEFORE) == []
    assert leaks(BEFORE, replace(BEFORE, descriptors={"gwa gateway": 48})) == []


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (replace(BEFORE, namespaces=("lab-gwa", "lab-x")), "namespaces: lab-x is new"),
        (replace(BEFORE, devices={"gwa": ("lan",)}), "gwa: devices: lacks ts-1"),
        (replace(BEFORE, routes={"gwa": ()}), "gwa: routes: lacks 10.0.0.0/8 dev ts-1"),
        (
            replace(BEFORE, processes={"gwa": ("bird", "bird", "gateway")}),
            "gwa: processes: bird is new",
        ),
        (
            replace(BEFORE, descriptors={"gwa gateway": 49}),
            "gwa gateway: 49 descriptors, 30 before",
        ),
        (replace(BEFORE, resident_mib={"gwa gateway": 101.0}), "gwa gateway: 101 MiB, 60 before"),
    ],
)
def test_what_is_not_as_before_is_named(now: Inventory, words: str) -> None:
    assert leaks(BEFORE, now) == [words]
