"""A thousand connections by the API: what a list, a creation and a process cost with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from lab.control import Api, Control, Table

CLIENTS = 10
LISTS = 20  # by each client
PAGE = 100


def p95(times_s: Sequence[float]) -> float:
    """Return the 95th percentile, in milliseconds."""
    return round(sorted(times_s)[max(0, int(len(times_s) * 0.95) - 1)] * 1e3, 2)


def timed(act: Callable[[], object]) -> float:
    """Return how many seconds something took."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


@dataclass(slots=True)
class Tree:
    """The resources of one control plane: two nodes, one Border Gateway, many customers."""

    api: Api
    nodes: list[Table]
    gateway: Table
    created_s: list[float]

    @classmethod
    def plant(cls, api: Api) -> Tree:
        """Make the nodes and the Border Gateway with what lies behind it."""
        nodes = [
            api.create("nodes", name=f"gw-{name}", public_addresses=[f"198.51.100.{host}"])
            for name, host in (("a", 11), ("b", 12))
        ]
        gateway = api.create("border-gateways", name="main")
        api.create(
            "vpc-attachments",
            name="vpc",
            border_gateway=gateway["id"],
            interface="lan",
            cidrs=["192.168.0.0/16"],
        )
        return cls(api, nodes, gateway, [])

    def grow(self, count: int, first: int = 0, say: Callable[[int], None] = lambda _: None) -> None:
        """Make connections with two tunnels each; how long each takes is kept."""
        for number in range(first, first + count):
            customer = self.api.create("customer-gateways", **customer_fields(number))
            fields = connection_fields(number, self.gateway["id"], customer["id"])
            self.created_s.append(timed(partial(self.api.create, "vpn-connections", **fields)))
            if number % 100 == 99:
                say(number + 1)


def customer_fields(number: int) -> Table:
    """Return the Customer Gateway of a number."""
    return {
        "name": f"customer-{number}",
        "public_addresses": [f"203.0.{number // 250}.{number % 250 + 1}"],
    }


def connection_fields(number: int, gateway: str, customer: str) -> Table:
    """Return the VPN Connection of a number; the customer is to begin, so nothing is sent."""
    return {
        "name": f"connection-{number}",
        "border_gateway": gateway,
        "customer_gateway": customer,
        "remote_cidrs": [f"10.{number // 250}.{number % 250}.0/24"],
        "start": "respond",
    }


def lists_s(control: Control) -> list[float]:
    """Return how long each list took with CLIENTS at once, a page of PAGE connections each."""

    def many(_: int) -> list[float]:
        api, after, found = control.api(), None, []
        for _ in range(LISTS):
            query = {"limit": PAGE} | ({"after": after} if after else {})
            began = time.perf_counter()
            page = api.get("vpn-connections", **query)
            found.append(time.perf_counter() - began)
            assert len(page["items"]) > 0
            after = page["next"]
        return found

    with ThreadPoolExecutor(CLIENTS) as pool:
        return [one for times in pool.map(many, range(CLIENTS)) for one in times]
