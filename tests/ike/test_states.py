"""The state table, whole; the windows, the agenda, the tasks and the pauses, each alone."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis.strategies import floats, integers, lists, sampled_from, tuples

from gateway.errors import WrongState
from gateway.ike.agenda import Agenda
from gateway.ike.child import (
    PACKETS_HARD,
    PACKETS_SOFT,
    Lifespan,
    draw_limits,
)
from gateway.ike.config import Lifetime, Timers
from gateway.ike.context import FIRST_SPI, OWN_SPI, RateLimit, SpiTable
from gateway.ike.reconnect import Backoff
from gateway.ike.states import TRANSITIONS, On, State, step
from gateway.ike.tasks import Task, TaskQueue, Work
from gateway.ike.window import Request, Window, digest
from tests.support.fixed import FixedRandom


@given(sampled_from(State), sampled_from(On))
def test_step_allows_exactly_the_table(state: State, on: On) -> None:
    try:
        assert step(state, on) is TRANSITIONS[state][on]
    except WrongState:
        assert on not in TRANSITIONS[state]


@pytest.mark.parametrize("state", State)
def test_every_state_can_reach_the_end(state: State) -> None:
    reached = {state}
    for _ in State:
        reached |= {to for one in reached for to in TRANSITIONS[one].values()}
    assert State.CLOSED in reached


@pytest.mark.parametrize("state", State)
def test_only_verified_inputs_establish(state: State) -> None:
    """
    No way to ESTABLISHED but a verified AUTH, the rekey of an established one, or its snapshot.
    """
    ways = {on for on, to in TRANSITIONS[state].items() if to is State.ESTABLISHED}
    assert ways <= {On.AUTH_REQUEST, On.AUTH_RESPONSE, On.REKEY_MADE, On.RESTORE}
    assert state is State.IDLE or not ways & {On.REKEY_MADE, On.RESTORE}


def test_request_is_resent_then_given_up() -> None:
    request = Request(1, 37, (b"m",), Task(Work.LIVENESS), (1.0, 2.0, 4.0), 10.0)
    trace = []
    while request.deadline < math.inf:
        now = request.deadline
        trace.append((now, request.next_try(now)))
    assert trace == [(11.0, True), (13.0, True), (17.0, False)]


def test_window_repeats_only_the_same_request() -> None:
    window = Window()
    window.answer(digest(b"first"), (b"answer",))
    assert window.expected == 1
    assert window.is_repeated(0, digest(b"first"))
    assert not window.is_repeated(0, digest(b"other bytes"))
    assert not window.is_repeated(1, digest(b"first"))


def test_tasks_come_by_urgency_and_once() -> None:
    queue = TaskQueue()
    for task in (Task(Work.LIVENESS), Task(Work.REKEY_CHILD, 7), Task(Work.DELETE_CHILD, 6)):
        queue.add(task)
        queue.add(task)
    queue.add(Task(Work.REKEY_IKE))
    taken = [task.work for task in iter(queue.take, None)]
    assert taken == [Work.DELETE_CHILD, Work.REKEY_IKE, Work.REKEY_CHILD, Work.LIVENESS]


@given(lists(tuples(sampled_from("abcd"), floats(0, 100))))
def test_agenda_knows_the_earliest(changes: list[tuple[str, float]]) -> None:
    agenda = Agenda()
    held: dict[str, float] = {}
    for owner, at in changes:
        agenda.set(owner, at)
        held[owner] = at
        assert agenda.next == min(held.values())
    due = agenda.take_due(50.0)
    assert sorted(due, key=str) == sorted(one for one, at in held.items() if at <= 50.0)
    assert agenda.next == min((at for at in held.values() if at > 50.0), default=math.inf)


def test_pauses_grow_to_a_minute_and_never_end() -> None:
    backoff = Backoff(Timers(), FixedRandom(1))
    pauses = [backoff.next_pause() for _ in range(200)]
    assert pauses[0] == 1.0
    assert pauses[1] == pytest.approx(1.8)
    assert pauses[-1] == 60.0
    assert pauses == sorted(pauses)


@given(floats(0.0, 1.0, exclude_max=True), integers(0, 50))
def test_pauses_stay_within_a_quarter(fraction: float, failed: int) -> None:
    backoff = Backoff(Timers(), FixedRandom(1, fraction))
    backoff.attempts = failed
    plain = min(1.8 ** min(failed, 32), 60.0)
    assert 0.75 * plain <= backoff.next_pause() <= 1.25 * plain


def test_first_pause_after_the_peers_delete_is_none() -> None:
    backoff = Backoff(Timers(), FixedRandom(1))
    assert backoff.pause_after_end(3600.0, deleted=True) == 0.0
    assert backoff.pause_after_end(1.0, deleted=True) > 0.0
    assert backoff.pause_after_end(61.0, deleted=True) == 0.0


@given(integers(0, 2**32 - 1))
def test_spis_are_slots(value: int) -> None:
    class Chosen(FixedRandom):
        def bytes(self, count: int) -> bytes:
            nonlocal value
            value = (value + 1) % (1 << 32)
            return value.to_bytes(count, "big")

    table = SpiTable(Chosen(1))
    spis = [table.take() for _ in range(20)]
    assert min(spis) >= FIRST_SPI
    assert max(spis) < OWN_SPI
    assert len({spi % FIRST_SPI for spi in spis}) == 20
    table.release(spis[0])
    table.release(spis[0])
    assert len(table) == 19
    own = [table.take(part, 3) for part in range(3)]
    assert min(own) >= OWN_SPI
    assert [spi % 3 for spi in own] == [0, 1, 2]


def test_rate_limit_lets_so_many_through() -> None:
    limit = RateLimit(2.0, 0.0)
    assert [limit.take(0.0) for _ in range(4)] == [True, True, False, False]
    assert [limit.take(0.6), limit.take(0.6)] == [True, False]


@given(floats(0.0, 1.0, exclude_max=True), floats(0.0, 1.0, exclude_max=True))
def test_the_two_ends_never_rekey_at_the_same_moment(one: float, other: float) -> None:
    lifetime = Lifetime(1000.0, jitter=0.2)
    initiator = Lifespan.draw(lifetime, FixedRandom(1, one), True)
    responder = Lifespan.draw(lifetime, FixedRandom(1, other), False)
    assert 800.0 <= initiator.soft_s <= 900.0 <= responder.soft_s <= 1000.0
    assert min(initiator.hard_s, responder.hard_s) > 1000.0


@given(floats(0.0, 1.0, exclude_max=True), integers(0, 2**34), integers(0, 2**50))
def test_packet_limit_is_below_the_sequence_number(
    fraction: float, packets: int, count: int
) -> None:
    lifetime = Lifetime(1.0, bytes=count, packets=packets)
    limits = draw_limits(lifetime, esn=False, random=FixedRandom(1, fraction))
    assert limits.soft_packets <= PACKETS_SOFT == 2**32 * 3 // 4
    assert limits.hard_packets <= PACKETS_HARD == 2**32 - 1
    assert limits.soft_packets <= limits.hard_packets
    assert limits.soft_bytes <= limits.hard_bytes
    assert (limits.soft_bytes == 0) is (int(count * (1 - 0.1 * fraction)) == 0)


def test_esn_lifts_the_packet_limit() -> None:
    limits = draw_limits(Lifetime(1.0), esn=True, random=FixedRandom(1))
    assert limits.soft_packets > 2**62
    assert limits.hard_packets == 2**64 - 1
