"""What a fuzzer of IKE counts, and whose words for it are the same in all of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from gateway.ike.iana import PayloadType


@dataclass(slots=True)
class Tally:
    """What was fed, by kind, and what came of it."""

    fed: Counter[str] = field(default_factory=Counter)  # messages
    outcomes: Counter[str] = field(default_factory=Counter)


def kind_of(next_payload: int) -> str:
    """Return how a message is protected whose first payload is this one."""
    kinds = {int(PayloadType.SK): "inside SK", int(PayloadType.SKF): "inside SKF"}
    return kinds.get(next_payload, "in clear")
