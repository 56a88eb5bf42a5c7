"""The data plane of a gateway process: in a process of its own, or for tests in this one."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.dataplane.plane import LocalPlane
from gateway.dataplane.reach import spawn_dataplane
from gateway.dataplane.remote import RemotePlane
from gateway.errors import DataPlaneError
from gateway.node import reborn


def open_plane(runtime_dir: Path, workers: int, *, in_process: bool) -> LocalPlane | RemotePlane:
    """
    Return the data plane: the process that runs, a new one, or one in this process. Raises
    DataPlaneError.
    """
    if in_process:
        return LocalPlane(workers or os.cpu_count() or 1)
    left = reborn.left_to_us(os.environ)
    plane = reach_plane(runtime_dir, workers)
    if left is not None:
        plane.leave(left)
    return plane


def reach_plane(runtime_dir: Path, workers: int, *, replace: bool = True) -> RemotePlane:
    """
    Return the data plane process that runs, or a new one; `replace` as for `spawn_dataplane`.

    Raises DataPlaneError.
    """
    options = ["--workers", str(workers or os.cpu_count() or 1)]
    try:
        return spawn_dataplane(runtime_dir, options, replace=replace)
    except OSError as error:
        raise DataPlaneError(f"no data plane process: {error}", 0, error.errno or 0) from error
