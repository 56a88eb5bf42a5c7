"""What the tests of the command line share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.control_process import Control, control


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    """A control process with two nodes of two addresses, for one module's tests."""
    with control(tmp_path_factory.mktemp("control")) as one:
        for name, addresses in (
            ("gw-a", "192.0.2.1,2001:db8:1::1"),
            ("gw-b", "198.51.100.1,2001:db8:2::1"),
        ):
            one.done("node", "create", name, "--public-addresses", addresses)
        yield one
