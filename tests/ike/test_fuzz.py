"""Short runs of the IKE fuzzers; `./run fuzz` lets them go on for long."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.fuzz import fuzz_endpoint, fuzz_ike, long
from tests.fuzz.tally import Tally


def test_three_seconds_of_changed_datagrams_raise_only_refusals() -> None:
    tally = fuzz_ike.run(3.0)
    assert min(tally.fed[kind] for kind in ("in clear", "inside SK", "inside SKF")) > 100
    # All ways out are reached, so the inputs are neither all rubbish nor all well-formed.
    assert {"message", "fragment", "WireError", "IntegrityError"} <= set(tally.outcomes)


def test_three_seconds_of_a_peer_that_changes_everything_end_no_endpoint() -> None:
    tally = fuzz_endpoint.run(3.0)
    assert tally.fed.total() > 100
    assert set(tally.fed) == {"in clear", "inside SK", "inside SKF"}
    # The endpoints are met in all their states.
    states = {"idle", "connecting", "established", "closing"}
    assert {f"state {state}" for state in states} <= set(tally.outcomes)


def test_what_a_fuzzer_finds_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_seconds: float, _seed: int) -> Tally:
        raise AssertionError("an outbound SA is used again")

    monkeypatch.setattr(long, "IKE", {"good": lambda _s, _n: Tally(Counter(one=7), Counter(two=9))})
    found = long.run_ike("good", 0.01, 1)
    assert found.is_well
    assert found.inputs % 7 == 0
    assert found.row()[:3] == ("`good`", f"{found.inputs:,}", f"one {found.inputs:,}")
    assert found.row()[-1] == "none"
    monkeypatch.setattr(long, "IKE", {"bad": fails})
    found = long.run_ike("bad", 1.0, 1)
    assert not found.is_well
    assert found.error == found.row()[-1] == "AssertionError: an outbound SA is used again"


def test_growth_is_no_success() -> None:
    assert long.Found("one", {}, 1.0, 60.0, 76.0).is_well
    grown = long.Found("one", {}, 1.0, 60.0, 76.5)
    assert not grown.is_well
    assert grown.row()[-2:] == ("60.0, 76.5 MiB", "it grows")
