"""
Copies of an endpoint as it is, in a fraction of a millisecond.

By pickling, which `copy.deepcopy` is slow beside. Secrets are not pickled, and much else need not
be: what nobody changes is kept aside and taken by all copies.
"""

from __future__ import annotations

import contextlib
import io
import pickle
from collections.abc import Iterator
from ipaddress import IPv4Address
from types import CellType, FunctionType
from typing import Any
from unittest import mock

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.ike import sources
from gateway.ike.child import Offer
from gateway.ike.config import Identity, Timers, TunnelConfig
from gateway.ike.context import EndpointLimits
from gateway.ike.dh import KeyPair
from gateway.ike.endpoint import IkeEndpoint
from gateway.ike.events import ChildSaUp
from gateway.ike.message import Message
from gateway.ike.proposals import EspSuite, IkeSuite, Proposal
from gateway.sa import EspSa, Path, TrafficSelector
from gateway.secret import Secret
from tests.support.pair import Plane

# Nobody changes these. They are most of what an endpoint holds.
SHARED = frozenset(
    {
        AESGCM,
        ChildSaUp,
        EndpointLimits,
        EspSa,
        EspSuite,
        Identity,
        IkeSuite,
        IPv4Address,
        KeyPair,
        Message,
        Offer,
        Path,
        Proposal,
        Secret,
        Timers,
        TrafficSelector,
        TunnelConfig,
    }
)
_PLACES = 16  # in tables by source that have thousands: few peers are here
_aside: dict[int, object] = {}  # by identity; all that is in it lives as long as the tests


@contextlib.contextmanager
def small() -> Iterator[None]:
    """Have endpoints with small tables by source, which would be most of what is copied."""
    with mock.patch.multiple(sources, _SLOTS=_PLACES, _PLACES=_PLACES):
        yield


def _taken(one: int) -> object:
    return _aside[one]


def _empty(one: int) -> FunctionType:
    function = _aside[one]
    assert isinstance(function, FunctionType)
    cells = tuple(CellType() for _ in function.__closure__ or ())
    return FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, cells
    )


def _fill(function: FunctionType, contents: tuple[object, ...]) -> None:
    for cell, content in zip(function.__closure__ or (), contents, strict=True):
        cell.cell_contents = content


class _Pickler(pickle.Pickler):
    def reducer_override(self, one: Any) -> Any:
        """Keep aside what is shared, and copy what a closure holds: a rekey under way has one."""
        if type(one) in SHARED:
            _aside[id(one)] = one
            return _taken, (id(one),)
        if isinstance(one, FunctionType) and one.__closure__:
            _aside[id(one)] = one
            contents = tuple(cell.cell_contents for cell in one.__closure__)
            return _empty, (id(one),), contents, None, None, _fill
        return NotImplemented


class Copies:
    """An endpoint and its plane at one moment, for as many to go on with as want to."""

    def __init__(self, endpoint: IkeEndpoint, plane: Plane) -> None:
        self._live: tuple[IkeEndpoint, Plane] | None = (endpoint, plane)
        self._data = b""

    def take(self) -> tuple[IkeEndpoint, Plane]:
        """Return what it was; changes to that are nobody else's."""
        if self._live is not None:
            live, self._live = self._live, None
            file = io.BytesIO()
            _Pickler(file, 5).dump(live)
            self._data = file.getvalue()
            return live
        endpoint, plane = pickle.loads(self._data)  # our own
        return endpoint, plane
