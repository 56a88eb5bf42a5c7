"""When a tunnel takes its traffic back: two tunnels, one clock, failures by hand."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.failback import (
    AT_ONCE,
    HALF_LIFE_S,
    SETTLE_S,
    Failback,
    Held,
    Keeper,
    TunnelFacts,
)

NEVER, AFTER_30_S = Failback(None), Failback(30.0)


class Twins:
    """Tunnel a is preferred to tunnel b; the clock stands until `wait`."""

    def __init__(self, failback: Failback, *, equal: bool = False) -> None:
        self.keeper = Keeper()
        self.failback = failback
        self.preferences = {"a": 100, "b": 100 if equal else 101}
        self.usable = {"a": True, "b": True}
        self.since = {"a": 0, "b": 0}
        self.now = 1000.0

    def facts(self) -> list[TunnelFacts]:
        return [
            TunnelFacts(
                name, "c", preference, self.failback, self.usable[name], since=self.since[name]
            )
            for name, preference in self.preferences.items()
        ]

    def judge(self) -> Held:
        return self.keeper.judge(self.facts(), self.now)

    def wait(self, seconds: float) -> frozenset[str]:
        """Judge once a second for so long; return who is held back then."""
        found = self.judge()
        for _ in range(int(seconds)):
            self.now += 1
            found = self.judge()
        return found.held

    def set(self, name: str, *, usable: bool) -> frozenset[str]:
        self.usable[name] = usable
        self.since[name] += 1
        return self.judge().held

    def settled(self) -> Twins:
        assert self.wait(SETTLE_S + 1) == frozenset()
        return self


def test_a_tunnel_takes_its_traffic_back_at_once() -> None:
    twins = Twins(AT_ONCE).settled()
    assert twins.set("a", usable=False) == set()
    assert twins.set("a", usable=True) == set()


def test_active_active_leaves_traffic_where_it_is() -> None:
    twins = Twins(NEVER).settled()
    # Held back already while it is down: BIRD would be faster than we are.
    assert twins.set("a", usable=False) == {"a"}
    assert twins.set("a", usable=True) == {"a"}
    assert twins.wait(3600) == {"a"}
    assert twins.set("b", usable=False) == set()
    assert twins.set("b", usable=True) == set()


def test_a_tunnel_takes_its_traffic_back_after_the_hold_time() -> None:
    twins = Twins(AFTER_30_S).settled()
    assert twins.set("a", usable=False) == {"a"}
    assert twins.wait(100) == {"a"}
    assert twins.set("a", usable=True) == {"a"}
    assert twins.wait(29) == {"a"}
    assert twins.wait(1) == set()


def test_an_interruption_between_two_looks_begins_the_hold_time_anew() -> None:
    twins = Twins(AFTER_30_S).settled()
    twins.set("a", usable=False)
    twins.set("a", usable=True)
    assert twins.wait(29) == {"a"}
    twins.since["a"] += 1  # down and up again, unseen
    assert twins.wait(29) == {"a"}
    assert twins.wait(1) == set()


def test_at_the_start_the_first_one_to_be_up_has_no_advantage() -> None:
    twins = Twins(NEVER)
    twins.usable["a"] = False
    assert twins.wait(SETTLE_S - 2) == set()
    assert twins.set("a", usable=True) == set()
    assert twins.wait(100) == set()


def test_tunnels_of_equal_preference_join_each_other_at_once() -> None:
    twins = Twins(NEVER, equal=True).settled()
    assert twins.set("a", usable=False) == set()
    assert twins.set("a", usable=True) == set()


def test_when_all_fail_the_first_to_return_carries() -> None:
    twins = Twins(NEVER).settled()
    twins.set("a", usable=False)
    twins.set("b", usable=False)
    assert twins.set("a", usable=True) == set()
    assert twins.set("b", usable=True) == set()


def test_another_process_goes_on_where_this_one_was() -> None:
    twins = Twins(NEVER).settled()
    twins.set("a", usable=False)
    assert twins.set("a", usable=True) == {"a"}
    twins.keeper = Keeper()
    twins.keeper.restore(["a"], twins.facts(), twins.now)
    assert twins.wait(60) == {"a"}


def fail(twins: Twins, name: str, times: int) -> Held:
    for _ in range(times):
        twins.set(name, usable=False)
        twins.wait(1)
        twins.set(name, usable=True)
        twins.wait(1)
    return twins.judge()


def test_the_fourth_failure_in_short_order_makes_a_tunnel_the_last_choice() -> None:
    twins = Twins(AT_ONCE).settled()
    assert fail(twins, "a", 3).damped == set()
    assert fail(twins, "a", 1).damped == {"a"}
    twins.wait(HALF_LIFE_S)
    assert twins.judge().damped == {"a"}
    twins.wait(HALF_LIFE_S)
    assert twins.judge().damped == set()


def test_rare_failures_are_forgiven() -> None:
    twins = Twins(AT_ONCE).settled()
    for _ in range(20):
        assert fail(twins, "a", 1).damped == set()
        twins.wait(HALF_LIFE_S)


def test_damping_can_be_off() -> None:
    twins = Twins(Failback(0.0, is_damped=False)).settled()
    assert fail(twins, "a", 20).damped == set()


def test_a_damped_tunnel_does_not_hold_the_traffic() -> None:
    twins = Twins(NEVER).settled()
    fail(twins, "a", 3)
    twins.set("b", usable=False)  # a carries again
    twins.set("b", usable=True)
    assert fail(twins, "a", 1) == Held(frozenset({"a"}), frozenset({"a"}))


def test_a_tunnel_that_is_gone_is_forgotten() -> None:
    twins = Twins(NEVER).settled()
    assert twins.set("a", usable=False) == {"a"}
    assert twins.keeper.judge([], twins.now) == Held()
    assert twins.keeper.judge(twins.facts(), twins.now) == Held()


changes = st.lists(
    st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 40)), max_size=40
)
modes = st.sampled_from([AT_ONCE, NEVER, AFTER_30_S])


@given(modes, changes, st.permutations([1, 1, 2]))
def test_whatever_happens_somebody_may_carry_the_traffic(
    mode: Failback, history: Iterable[tuple[str, bool, int]], preferences: list[int]
) -> None:
    """Of the usable tunnels at least one is not held back."""
    keeper, now = Keeper(), 0.0
    usable = dict.fromkeys("abc", True)
    for name, is_usable, pause in history:
        usable[name] = is_usable
        now += pause
        facts = [
            TunnelFacts(each, "c", preference, mode, usable[each])
            for each, preference in zip("abc", preferences, strict=True)
        ]
        held = keeper.judge(facts, now).held
        well = {each for each in usable if usable[each]}
        assert not well or well - held
        assert not held or mode is not AT_ONCE
