"""`twinspan dataplane` of another version: it greets nobody of this one."""

from __future__ import annotations

import sys

from gateway.dataplane import control
from gateway.dataplane.process import main
from tests.support.other_abi import HELLO

if __name__ == "__main__":
    control.hello = lambda: HELLO
    sys.exit(main())
