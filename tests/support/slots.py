"""Configurations of tunnels with several Child SAs: a slot for each pair of selectors."""

from __future__ import annotations

from dataclasses import replace

from gateway.ike.config import ChildSelectors, TunnelConfig
from gateway.ike.selectors import parse_selector
from tests.support.pair import config_a, config_b

SIX = tuple(
    ChildSelectors((parse_selector(local),), (parse_selector(remote),))
    for local in ("10.1.1.0/24", "10.1.2.0/24")
    for remote in ("10.2.1.0/24", "10.2.2.0/24", "10.2.3.0/24")
)


def of(config: TunnelConfig, pairs: tuple[ChildSelectors, ...]) -> TunnelConfig:
    """Return a configuration with a slot for each pair of selectors."""
    first, *further = pairs
    return replace(config, local_ts=first.local, remote_ts=first.remote, further=tuple(further))


def mirrored(pairs: tuple[ChildSelectors, ...]) -> tuple[ChildSelectors, ...]:
    return tuple(ChildSelectors(one.remote, one.local) for one in pairs)


def six_a(**changes: object) -> TunnelConfig:
    return of(config_a(**changes), SIX)


def six_b(**changes: object) -> TunnelConfig:
    return of(config_b(**changes), mirrored(SIX))
