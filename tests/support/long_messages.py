"""A pair of endpoints whose IKE_AUTH is long: many selectors each way, sent in fragments."""

from __future__ import annotations

from gateway.ike.config import TunnelConfig
from gateway.ike.selectors import parse_selector
from tests.support.pair import Flight, IkePair, config_a, config_b

DATAGRAM = 576  # bytes
_MANY = tuple(parse_selector(f"10.1.{number}.0/24") for number in range(60))


def long_configs() -> tuple[TunnelConfig, TunnelConfig]:
    """Return the configuration of both ends."""
    return (
        config_a(local_ts=_MANY, fragment_size=DATAGRAM),
        config_b(remote_ts=_MANY, fragment_size=DATAGRAM),
    )


def after_init() -> IkePair:
    """Return a pair with the fragments of IKE_AUTH on their way to b."""
    pair = IkePair.started(*long_configs())
    pair.deliver_to_b()
    pair.deliver_to_a()
    return pair


def held_fragments() -> tuple[IkePair, list[Flight]]:
    """Return a pair, and the fragments of IKE_AUTH, taken off the link."""
    pair = after_init()
    return pair, [pair.hold_to_b() for _ in range(pair.waiting(pair.a))]
