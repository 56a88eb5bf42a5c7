"""What is looked at once a second, and changes nothing: paths, and the way of the traffic."""

from __future__ import annotations

from gateway.node.failovers import Failovers
from gateway.node.journal import Journal
from gateway.node.measure import Measurer
from gateway.node.silence import Silence
from gateway.node.status import StatusView
from gateway.node.traffic import TrafficWatch


class Watching:
    """Measures the tunnels; tells where each connection's traffic has gone, counts failovers."""

    def __init__(
        self,
        status: StatusView,
        measurer: Measurer,
        silence: Silence,
        failovers: Failovers,
        journal: Journal,
    ) -> None:
        self._status = status
        self._measurer = measurer
        self._failovers = failovers
        self._journal = journal
        self._traffic = TrafficWatch(silence.of)

    def measure(self) -> None:
        """Have the measuring follow the tunnels as they are now."""
        self._measurer.follow()

    def see_traffic(self) -> None:
        """Log where each connection's traffic has gone."""
        facts = self._status.traffic()
        for each in self._traffic.look(facts):
            self._journal.say(each.level, each.event, **each.fields)
            if each.event == "failover":
                silent_s = each.fields.get("silent_s")
                known = float(silent_s) if silent_s is not None else None
                self._failovers.add(str(each.fields["connection"]), known)
        self._failovers.keep(frozenset(each.name for each in facts))

    def close(self) -> None:
        """Look no more."""
        self._measurer.close()
