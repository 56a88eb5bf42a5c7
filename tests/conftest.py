"""What holds for all tests."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_ROOT = Path(__file__).parents[1]

# A busy machine is no mistake of the code: pytest's own timeout ends what hangs.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

# Who starts the tests in the background of a script gives them an ignored SIGINT, and by us all
# their children: what a test ends as Ctrl-C does would go on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Files that take long begin first: one process would go on with them else when no other has
# anything left.
LONG = (
    *("tests/test_c.py", "tests/ike/test_interleavings.py", "tests/test_c_threads.py"),
    *("tests/ike/test_certificates.py", "tests/control/console/test_browser.py"),
    *("tests/system/test_fleet.py", "tests/system/test_chaos.py"),
    *("tests/system/test_scenario_api.py", "tests/system/test_edits.py"),
    *("tests/system/test_edits_strongswan.py", "tests/system/test_tenants.py"),
    *("tests/system/test_planned.py", "tests/system/test_rekey.py"),
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Sort the tests by file: those with real daemons, which mostly wait, evenly among the others,
    which compute. Who runs several at once then never has all of a kind.
    """
    files: dict[bool, dict[Path, int]] = {True: {}, False: {}}
    for item in items:
        kind = files[_waits(item)]
        kind.setdefault(item.path, len(kind))
    long = {_ROOT / name: at - len(LONG) for at, name in enumerate(LONG)}

    def place(item: pytest.Item) -> float:
        kind = files[_waits(item)]
        return long.get(item.path, kind[item.path] / len(kind))

    items.sort(key=place)


def _waits(item: pytest.Item) -> bool:
    return item.path.parent == _ROOT / "tests/system"
