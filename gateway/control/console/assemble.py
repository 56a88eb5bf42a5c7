"""The console put together over what the control process has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from gateway.control.api.alarms import Alarms
from gateway.control.api.depends import peer_of_request
from gateway.control.api.resources import Api
from gateway.control.auth.authenticate import Authenticator
from gateway.control.console.app import Console
from gateway.control.console.happened import Happened
from gateway.control.console.history import INTERVAL_S, Counters, History
from gateway.control.console.longer import Longer
from gateway.control.console.own import OwnSource
from gateway.control.customer import CustomerConfigs
from gateway.control.events.timeline import Timeline
from gateway.control.listen import Place
from gateway.control.mirror import Mirror
from gateway.control.nodes.service import Nodes
from gateway.control.resources.record import Record
from gateway.control.slices import in_slices
from gateway.control.store.interface import Store
from gateway.control.waits import Waits
from gateway.customer.catalog import DEVICES

CountersOf = Callable[[Record], Counters | None]  # of a tunnel, None where nobody reports


def make_console(
    api: Api,
    store: Store,
    timeline: Timeline,
    authenticator: Authenticator,
    history: History,
    nodes: Nodes,
    configs: CustomerConfigs,
    alarms: Alarms,
    waits: Waits,
    longer: Longer | None,
    nodes_at: Place | None,
) -> Console:
    """Return the console; its `router` belongs into the app of the API."""
    devices = [(device.name, device.title) for device in DEVICES.values()]
    happened = Happened(timeline, api.registry.mirror)
    source = OwnSource(
        api,
        store,
        happened,
        nodes.actions.act,
        history.of,
        devices,
        nodes.inquiries,
        configs,
        alarms,
        nodes.credentials.new_token,
        nodes.statuses.mark,
        longer,
        nodes_at,
    )
    return Console(source, authenticator, peer_of_request, waits)


async def keep_history(history: History, mirror: Mirror, of: CountersOf) -> None:
    """Look at the counters of all tunnels again and again, for the charts."""
    await mirror.ready.wait()
    while True:
        tunnels = list(mirror.of_kind("vpn_tunnel"))
        await in_slices(history.sample(time.time(), ((one.id, of(one)) for one in tunnels)))
        await asyncio.sleep(INTERVAL_S)
