"""
What `twinspan capture` may know of a tunnel; its keys only if it says so, and the log says that.

A capture itself is made by the command, with the rights of root: this process reads no packets. Of
the keys, those of IKE SAs are here; those of Child SAs pass through when such a one is made, and
from then on the data plane alone has them: so they are given of those that are made meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

from gateway.ike.endpoint import IkeSecrets
from gateway.ike.events import ChildSaUp, Event, IkeSaUp
from gateway.node.daemon import IkeDaemon
from gateway.node.journal import Journal
from gateway.node.plan import TunnelPlan
from gateway.sa import EspSa

Json = dict[str, object]
BEAT_S = 5.0  # a sign of life so often: only by writing is it seen that the capture has ended


class CaptureDesk:
    """Serves those who capture."""

    def __init__(self, daemon: IkeDaemon, journal: Journal) -> None:
        self._daemon = daemon
        self._journal = journal

    async def follow(self, plan: TunnelPlan, *, with_keys: bool) -> AsyncIterator[Json]:
        """Yield what a capture of a tunnel needs, from now on; keys `with_keys` alone."""
        found: asyncio.Queue[Json] = asyncio.Queue()

        def see(event: Event) -> None:
            for line in self._keys_in(event, plan.name):
                found.put_nowait(line)

        keys = "given out" if with_keys else "kept"
        self._journal.warning("capture begins", tunnel=plan.name, keys=keys)
        try:
            with self._daemon.watch(see if with_keys else _look_away):
                yield self._about(plan)
                if with_keys:
                    for line in self._ike_keys(plan.name):
                        yield line
                while True:
                    yield await _next(found)
        finally:
            self._journal.warning("capture ends", tunnel=plan.name, keys=keys)

    def _about(self, plan: TunnelPlan) -> Json:
        path = None
        if plan.name in self._daemon.known:
            path = self._daemon.endpoint.tunnel_status(plan.name).path
        remote = path.remote if path else plan.remote
        return {
            "kind": "tunnel",
            "tunnel": plan.name,
            "interface": plan.interface,
            "namespace": plan.namespace,
            "local": str(plan.local),
            "remote": str(remote) if remote else "",
        }

    # ---- keys ----

    def _keys_in(self, event: Event, tunnel: str) -> Iterator[Json]:
        if isinstance(event, IkeSaUp) and event.tunnel == tunnel:
            yield from self._ike_keys(tunnel)
        elif isinstance(event, ChildSaUp) and event.tunnel == tunnel:
            about = self._daemon.endpoint.tunnel_status(tunnel)
            if about.path is not None:
                ours, theirs = str(about.path.local), str(about.path.remote)
                yield _esp(event.inbound, theirs, ours)
                yield _esp(event.outbound, ours, theirs)

    def _ike_keys(self, tunnel: str) -> Iterator[Json]:
        if tunnel in self._daemon.known:
            yield from (_ike(one) for one in self._daemon.endpoint.secrets(tunnel))


def _look_away(event: Event) -> None:
    """See nothing: keys were not asked for."""


async def _next(found: asyncio.Queue[Json]) -> Json:
    try:
        return await asyncio.wait_for(found.get(), BEAT_S)
    except TimeoutError:
        return {"kind": "idle"}


def _ike(one: IkeSecrets) -> Json:
    names = ("sk_ei", "sk_er", "sk_ai", "sk_ar")
    return {
        "kind": "ike",
        "spi_i": one.spi_i.hex(),
        "spi_r": one.spi_r.hex(),
        "encr": int(one.suite.encr),
        "key_bits": one.suite.key_bits,
        "integ": int(one.suite.integ),
        **{name: getattr(one.keys, name).reveal().hex() for name in names},
    }


def _esp(sa: EspSa, source: str, destination: str) -> Json:
    return {
        "kind": "esp",
        "source": source,
        "destination": destination,
        "spi": f"{sa.spi:#010x}",
        "encr": int(sa.encr),
        "integ": int(sa.integ),
        "encr_key": sa.encr_key.reveal().hex(),
        "integ_key": sa.integ_key.reveal().hex(),
    }
