"""
Two endpoints under everything that a network, an operator and a restart can do to them, in any
order.

Always: no exception, and what `Plane` asserts (no outbound SA is used twice, inbound SPIs are
unique). And when the network is kind again: established within bounded time, one IKE SA, packets
pass both ways, and each end holds exactly the Child SAs that the other sends on, one in each slot.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.strategies import booleans, floats, integers, sampled_from

from gateway.ike.config import Lifetime, Start
from tests.support.pair import IkePair, Side, config_a, config_b
from tests.support.slots import SIX, mirrored, of

SETTLE_S = 400.0  # longer than give-up, back-off and half-open time-out together


class TwoEndpoints(RuleBasedStateMachine):
    """Both ends of one tunnel, and the link between them."""

    pair: IkePair
    slots: range

    @initialize(
        both_begin=booleans(),
        child_s=sampled_from([20.0, 90.0, 3600.0]),
        ike_s=sampled_from([30.0, 120.0, 14400.0]),
        fraction_a=floats(0.0, 0.99),
        fraction_b=floats(0.0, 0.99),
        pairs=sampled_from([1, 1, 1, 2, 4]),
        resources=sampled_from([0, 0, 1, 2]),
    )
    def begin(
        self,
        both_begin: bool,
        child_s: float,
        ike_s: float,
        fraction_a: float,
        fraction_b: float,
        pairs: int,
        resources: int,
    ) -> None:
        lives = {"child_lifetime": Lifetime(child_s), "ike_lifetime": Lifetime(ike_s)}
        start = Start.INITIATE if both_begin else Start.RESPOND
        workers = resources if pairs == 1 else 0
        self.slots = range(pairs + workers)
        self.pair = IkePair(
            of(config_a(resources=workers, **lives), SIX[:pairs]),
            of(config_b(start=start, resources=workers, **lives), mirrored(SIX[:pairs])),
        )
        self.pair.a.random.fraction = fraction_a
        self.pair.b.random.fraction = fraction_b
        self.pair.start()

    def side(self, is_a: bool) -> Side:
        return self.pair.a if is_a else self.pair.b

    @rule(is_a=booleans(), count=integers(1, 6))
    def deliver(self, is_a: bool, count: int) -> None:
        for _ in range(count):
            if self.pair.waiting(self.side(is_a)):
                if is_a:
                    self.pair.deliver_to_b()
                else:
                    self.pair.deliver_to_a()

    @rule(is_a=booleans())
    def drop(self, is_a: bool) -> None:
        if self.pair.waiting(self.side(is_a)):
            if is_a:
                self.pair.drop_to_b()
            else:
                self.pair.drop_to_a()

    @rule()
    def deliver_everything(self) -> None:
        self.pair.deliver_all()

    @rule()
    def reorder(self) -> None:
        self.pair.reorder()

    @rule()
    def duplicate(self) -> None:
        if len(self.pair.link.flights) < 20:
            self.pair.duplicate()

    @rule(is_a=booleans())
    def rekey_child(self, is_a: bool) -> None:
        self.side(is_a).rekey_child()

    @rule(is_a=booleans())
    def rekey_ike(self, is_a: bool) -> None:
        self.side(is_a).rekey_ike()

    @rule(is_a=booleans())
    def close(self, is_a: bool) -> None:
        self.side(is_a).close()

    @rule(is_a=booleans())
    def initiate(self, is_a: bool) -> None:
        self.side(is_a).initiate()

    @rule(is_a=booleans())
    def restart(self, is_a: bool) -> None:
        self.side(is_a).restart()

    @rule(is_a=booleans())
    def crash(self, is_a: bool) -> None:
        self.side(is_a).crash()

    @rule(seconds=sampled_from([0.1, 0.6, 3.0, 12.0, 40.0]), deliver=booleans())
    def wait(self, seconds: float, deliver: bool) -> None:
        self.pair.advance(seconds, deliver)

    @rule()
    def traffic(self) -> None:
        for slot in self.slots:
            self.pair.a.send_esp(slot)
            self.pair.b.send_esp(slot)

    @invariant()
    def one_key_pair_is_shared(self) -> None:
        if not hasattr(self, "pair"):
            return
        for side in self.pair.sides():
            for spi in side.plane.inbound:
                assert side.plane.children[spi].inbound.spi == spi

    def teardown(self) -> None:
        if not hasattr(self, "pair"):
            return
        pair = self.pair
        for side in pair.sides():
            side.take(side.endpoint.allow("office", pair.now))
        pair.a.initiate()
        pair.advance(SETTLE_S)
        pair.wait_for(self.is_quiet, 4 * SETTLE_S)
        for side in pair.sides():
            assert side.endpoint.inbound_spis == len(side.plane.inbound), pair.story()

    def is_quiet(self) -> bool:
        """Return whether both are established with one Child SA in each slot, known to both."""
        a, b = self.pair.a, self.pair.b
        return (
            a.state == b.state == "established"
            and len(a.plane.inbound) == len(b.plane.inbound) == len(self.slots)
            and all(side.send_esp(slot) for side in (a, b) for slot in self.slots)
        )


TwoEndpoints.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
test_any_order_of_events_ends_well = TwoEndpoints.TestCase
