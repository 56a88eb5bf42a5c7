"""Customers and their connections by the API: what a creation and a list cost with many of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from lab.control import Control, Table

CLIENTS = 10
LISTS = 20  # by each client
PAGE = 100  # connections in one list; it is what the API gives if nobody says a number


def p95_ms(times_s: Sequence[float]) -> float:
    """Return the 95th percentile, in milliseconds."""
    return round(sorted(times_s)[math.ceil(0.95 * len(times_s)) - 1] * 1e3, 2)


def timed(act: Callable[[], object]) -> float:
    """Return how many seconds something took."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def plant(control: Control) -> None:
    """Make the Border Gateway and what lies behind it."""
    api = control.api()
    api.create("border-gateways", name="main")
    api.create(
        "vpc-attachments",
        name="vpc",
        border_gateway="main",
        interface="lan",
        cidrs=["192.168.0.0/16"],
    )


def grow(control: Control, count: int, say: Callable[[str], None]) -> list[float]:
    """Make connections of two tunnels each; return how many seconds each took, in their order."""
    api, taken = control.api(), []
    for number in range(count):
        api.create("customer-gateways", **customer(number))
        taken.append(timed(partial(api.create, "vpn-connections", **connection(number))))
        if number % 200 == 199:
            say(f"{number + 1} connections")
    return taken


def customer(number: int) -> Table:
    """Return the Customer Gateway of a number."""
    return {
        "name": f"customer-{number}",
        "public_addresses": [f"203.0.{number // 250}.{number % 250 + 1}"],
    }


def connection(number: int) -> Table:
    """Return the VPN Connection of a number; the customer is to begin, so nothing is sent."""
    return {
        "name": f"connection-{number}",
        "border_gateway": "main",
        "customer_gateway": f"customer-{number}",
        "remote_cidrs": [network(10, number)],
        "start": "respond",
    }


def network(first: int, number: int) -> str:
    """Return the network of a number, below `first`/8."""
    return f"{first}.{number // 250}.{number % 250}.0/24"


def lists_s(control: Control) -> list[float]:
    """Return how many seconds each list took, a page of PAGE connections for CLIENTS at once."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        found = pool.map(lambda _: _pages_s(control), range(CLIENTS))
        return [one for times in found for one in times]


def _pages_s(control: Control) -> list[float]:
    """Return how many seconds each page took one client, who reads on and begins again."""
    api, taken, after = control.api(), [], None
    for _ in range(LISTS):
        query = {"limit": PAGE} | ({"after": after} if after else {})
        began = time.perf_counter()
        page = api.get("vpn-connections", **query)
        taken.append(time.perf_counter() - began)
        after = page["next"]
    return taken
