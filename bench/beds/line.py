"""A direct line to the customer, with the tunnels as its backup."""

from __future__ import annotations

from functools import partial

from bench.beds import Bed, Trial
from lab import backup, impair
from lab.backup import LINE, Backup
from lab.netns import Lab


def build(lab: Lab) -> Bed:
    """Make our gateway, and the customer's set of two devices of strongSwan and BIRD."""
    made = backup.build(lab)
    mend = partial(impair.mend, made.cloud.gateway, LINE)
    return Bed(made.pair, made.wait_settled, {"line_lost": Trial(partial(_cut, made), mend)})


def _cut(made: Backup) -> None:
    impair.cut(made.cloud.gateway, LINE)
    made.wait_by(1)
