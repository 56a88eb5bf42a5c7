"""A laboratory for each module of the routing's live tests; its logs stand beside a failure."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from itertools import count

import pytest

from lab.netns import Lab

_numbers = count(1)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Return a laboratory for this module's tests."""
    if os.geteuid() != 0:
        pytest.skip("needs root: makes network namespaces")
    with Lab(f"rt{os.getpid()}n{next(_numbers)}") as made:
        yield made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the ends of the daemons' logs beside a failure."""
    report = yield
    made = item.funcargs.get("lab") if isinstance(item, pytest.Function) else None
    if report.failed and isinstance(made, Lab):
        for log in sorted(made.directory.rglob("*.log")):
            text = log.read_text(errors="replace").splitlines()[-40:]
            report.sections.append((str(log.relative_to(made.directory)), "\n".join(text)))
    return report
