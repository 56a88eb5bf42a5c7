"""
This process becomes its own next version, in place: execve(2) keeps the process id and descriptors.

That is what is left to do where the data plane process is of a newer version, with another ABI: it
was restarted, and this process was not. What the new program needs is in a memory file: numbers of
descriptors, and sealed records.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping
from typing import NoReturn

from gateway.dataplane import estate
from gateway.dataplane.estate import Estate
from gateway.node import bpf

VARIABLE = "TWINSPAN_ESTATE"  # the number of the memory file's descriptor


def become_next(left: Estate, records: Mapping[bytes, bytes]) -> NoReturn:
    """Begin this program anew, as it is on disk now. Raises OSError if that can not be."""
    memory = estate.write(left, records)
    arguments = [sys.executable, *sys.orig_argv[1:]]
    bpf.give_to_next()
    try:
        os.execve(sys.executable, arguments, {**os.environ, VARIABLE: str(memory)})  # noqa: S606
    finally:  # it could not be
        bpf.keep_from_children()
        os.close(memory)


def left_to_us(environ: MutableMapping[str, str]) -> Estate | None:
    """
    Return what the program before has left to this one, once; None if it has nothing.

    Raises DataPlaneError.
    """
    number = environ.pop(VARIABLE, "")
    return estate.read(int(number)) if number.isdecimal() else None
