"""A short run of the IKE fuzzer; a longer one is `python tests/fuzz/fuzz_ike.py SECONDS`."""

from __future__ import annotations

from tests.fuzz.fuzz_ike import run


def test_three_seconds_of_changed_datagrams_raise_only_refusals() -> None:
    outcomes = run(3.0)
    assert outcomes.total() > 500
    # All ways out are reached, so the inputs are neither all rubbish nor all well-formed.
    assert {"message", "fragment", "WireError", "IntegrityError"} <= set(outcomes)
