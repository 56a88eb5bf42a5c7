"""Certificates that end soon are said once, and taken back when they are renewed."""

from __future__ import annotations

import io

from gateway.node.expiry import EVERY_S, SOON_S, Expiry
from gateway.node.journal import Entry, Journal

NOW = 1.8e9
DAY = 86400.0


def test_each_certificate_is_said_once_until_it_is_renewed() -> None:
    entries: list[Entry] = []
    journal = Journal(io.StringIO(), lambda: NOW)
    journal.listeners.append(entries.append)
    expiry = Expiry(journal)

    def look(ours: float, peers: float) -> list[str]:
        entries.clear()
        expiry.look("office-1", {"our": ours, "the peer's": peers}, NOW)
        return [f"{one.event}: {one.fields.get('text', '')}" for one in entries]

    far = NOW + SOON_S + DAY
    assert look(far, far) == []
    assert look(far, 0.0) == []  # a raw key has no end
    soon = NOW + 3.5 * DAY
    said = "tunnel_certificate_ending: the peer's certificate ends in 3 days"
    assert look(far, soon) == [said]
    assert look(far, soon) == []
    assert look(NOW + 7200, soon) == ["tunnel_certificate_ending: our certificate ends in 2 hours"]
    assert look(far, soon) == []
    assert look(far, soon + 60) == [said]
    assert look(far, far) == ["tunnel_certificate_renewed: "]
    assert look(far, far) == []
    assert look(far, NOW - 1)[0].endswith("ends now: it is over")


def test_a_tunnel_is_looked_at_every_minute_and_forgotten_with_it() -> None:
    expiry = Expiry(Journal(io.StringIO(), lambda: NOW))
    assert [expiry.is_due("a", at) for at in (0.0, 1.0, EVERY_S, EVERY_S + 1)] == [
        True,
        False,
        True,
        False,
    ]
    expiry.keep(frozenset())
    assert expiry.is_due("a", EVERY_S + 2)
