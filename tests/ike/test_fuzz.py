"""Short runs of the IKE fuzzers; `./run fuzz` lets them go on for long."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.fuzz import fuzz_endpoint, fuzz_ike, long


def test_three_seconds_of_changed_datagrams_raise_only_refusals() -> None:
    outcomes = fuzz_ike.run(3.0)
    assert outcomes.total() > 500
    # All ways out are reached, so the inputs are neither all rubbish nor all well-formed.
    assert {"message", "fragment", "WireError", "IntegrityError"} <= set(outcomes)


def test_three_seconds_of_a_peer_that_changes_everything_end_no_endpoint() -> None:
    outcomes = fuzz_endpoint.run(3.0)
    assert outcomes["changed"] > 100
    # The endpoints are met in all their states.
    states = {"idle", "connecting", "established", "closing"}
    assert {f"state {state}" for state in states} <= set(outcomes)


def test_what_a_fuzzer_finds_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_seconds: float, _seed: int) -> Mapping[str, int]:
        raise AssertionError("an outbound SA is used again")

    monkeypatch.setattr(long, "IKE", {"good": lambda _s, _n: {"message": 7, "state up": 9}})
    found = long.run_ike("good", 0.01, 1)
    assert found.is_well
    assert found.inputs % 7 == 0
    monkeypatch.setattr(long, "IKE", {"bad": fails})
    found = long.run_ike("bad", 1.0, 1)
    assert not found.is_well
    assert found.error == "AssertionError: an outbound SA is used again"


def test_growth_is_no_success() -> None:
    assert long.Found("one", 10, 1.0, 1.0).is_well
    assert not long.Found("one", 10, 1.0, 17.0).is_well
