"""
`twinspan` of another version, with a data plane of another ABI: `python -m tests.support.other_abi
gateway ...`. When it becomes its own next version, that is the one on disk.
"""

from __future__ import annotations

import os

from gateway.cli import main
from gateway.dataplane import control, reach
from gateway.node.reborn import VARIABLE

HELLO = b"of another version"
PLANE = "tests.support.other_abi_plane"

if __name__ == "__main__":
    if VARIABLE not in os.environ:
        control.hello = lambda: HELLO
        reach.MODULE = PLANE
    main()
