"""Punt records: what the fast path sends up, one `struct gw_punt` and its data in a message."""

from __future__ import annotations

import socket
from collections.abc import Callable

from gateway._native import ffi, lib
from gateway.dataplane.codec import get_path
from gateway.dataplane.interface import Punt, PuntType
from gateway.errors import DataPlaneError

HEADER_LEN = ffi.sizeof("struct gw_punt")
RECORD_MAX = HEADER_LEN + lib.GW_PUNT_DATA_MAX

# Records read in one turn of the event loop: enough to keep up, few enough to let others run.
BATCH = 64


def parse_punt(record: bytes | memoryview) -> Punt:
    """
    Return the value of a punt record.

    Raises DataPlaneError if its length is not what its header says, or its type or path is unknown.
    """
    if len(record) < HEADER_LEN:
        raise DataPlaneError(f"punt record of {len(record)} bytes", lib.GW_E_SHORT)
    header = ffi.new("struct gw_punt *")
    ffi.memmove(header, record, HEADER_LEN)
    if len(record) != HEADER_LEN + header.length:
        text = f"punt record of {len(record)} bytes announces {header.length} of data"
        raise DataPlaneError(text, lib.GW_E_INVALID)
    try:
        kind = PuntType(header.type)
    except ValueError as error:
        raise DataPlaneError(f"punt type {header.type}", lib.GW_E_INVALID) from error
    data = bytes(record[HEADER_LEN:])
    return Punt(kind, header.tunnel, header.spi, get_path(header.path), data)


def make_record(kind: int, data: bytes) -> bytes:
    """Return a record without tunnel, SPI and path: the serving process's own, to the gateway."""
    header = ffi.new("struct gw_punt *")
    header.type = kind
    header.length = len(data)
    return bytes(ffi.buffer(header)) + data


def read_punts(sock: socket.socket, receive: Callable[[Punt], None]) -> int:
    """Give `receive` the records that wait on a non-blocking socket; return how many (to BATCH)."""
    for count in range(BATCH):
        try:
            record = sock.recv(RECORD_MAX)
        except BlockingIOError:
            return count
        if not record:
            return count
        receive(parse_punt(record))
    return BATCH
