"""A laboratory for each module; its logs stand beside a failure."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from itertools import count
from pathlib import Path

import pytest

from lab import searched, sites, topology
from lab.netns import Lab
from lab.strongswan import StrongSwan, Timing
from lab.twinspan import Twinspan
from tests.system.support import Ends

_numbers = count(1)
_LOG_LINES = 60
# Those that measure no silence, no loss and no throughput may run beside other tests, but for what
# they mark themselves.
PATIENT = {
    *("test_bench_control", "test_bench_scale"),
    *("test_capture", "test_certificates", "test_certificate_scenarios", "test_chaos"),
    *("test_customer_modes", "test_descriptor_store"),
    *("test_customer_swanctl", "test_doctor", "test_failure", "test_fleet", "test_hostile"),
    *("test_import_aws", "test_nat", "test_policy_rules", "test_probes_strongswan"),
    *("test_propagation", "test_scenario_region_api"),
    *("test_strongswan", "test_strongswan_scenarios", "test_swanctl"),
}
# Those that measure silence or loss with room for a machine that is busy now and then, and mostly
# wait themselves: two of them may run at once.
CALM = {
    *("test_bgp", "test_edits", "test_edits_strongswan", "test_planned", "test_planned_office"),
    *("test_raw_esp", "test_rekey", "test_resources", "test_restart", "test_tenants"),
    *("test_scenario_api", "test_scenario_backup", "test_scenario_ha_set", "test_scenario_hub"),
    *("test_scenario_hybrid_page", "test_scenario_line", "test_scenario_route_limit"),
    "test_scenario_two_connections",
}


@pytest.hookimpl(tryfirst=True)  # before pytest selects by the marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent and item.path.stem not in PATIENT:
            item.add_marker("calm" if item.path.stem in CALM else "alone")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Return a laboratory for this module's tests."""
    if os.geteuid() != 0:
        pytest.skip("needs root: makes network namespaces")
    with Lab(f"ts{os.getpid()}n{next(_numbers)}") as made:
        yield made
        assert not searched.told_in(made.directory)


@pytest.fixture(scope="module")
def ends(lab: Lab, request: pytest.FixtureRequest) -> Ends:
    """
    Return our gateway at site a and strongSwan at site b, both running, no tunnel up.

    A module's `CHARON` are further lines of its strongswan.conf.
    """
    pair, keys = topology.four_machines(lab), sites.Secrets()
    ours = Twinspan(
        pair.a.gateway, sites.document(pair.a, pair.b, keys, settings={"admin": "down"})
    )
    # Given up after 6.6 s: soon enough for tests, late enough for a machine that is busy.
    timing = Timing(timeout_s=0.5, base=1.5, tries=4)
    options = getattr(request.module, "CHARON", ())
    swan = StrongSwan(pair.b.gateway, timing=timing, options=options)
    ours.start()
    swan.start()
    return Ends(lab, pair, keys, ours, swan)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the ends of the daemons' logs beside a failure."""
    report = yield
    assert isinstance(item, pytest.Function)
    made = item.funcargs.get("lab")
    if report.failed and isinstance(made, Lab):
        for log in sorted(made.directory.rglob("*.log")):
            report.sections.append((f"log {log.name}", _tail(log)))
    return report


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])
