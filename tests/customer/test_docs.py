"""
docs/devices is current: its table is made of the catalog, by `python -m tests.customer.test_docs`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.customer.catalog import DEVICES

DOCS = Path(__file__).parents[2] / "docs/devices"
PAGE = DOCS / "README.md"
MADE = re.compile(r"(<!-- made by .* -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def page_of(device: str) -> str:
    """Return the name of the page that tells of a device."""
    return "strongswan.md" if device.startswith("strongswan") else f"{device}.md"


def table() -> str:
    rows = [
        f"| [`{one.name}`]({page_of(one.name)}) | {one.title} | {one.version} |"
        f" {', '.join(sorted(one.modes))} | {'yes' if one.ipv6 else 'no'} |"
        for one in DEVICES.values()
    ]
    head = ["", "| `--device` | title | made for | routing | IPv6 |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows, "", ""])


def test_the_table_is_that_of_the_catalog() -> None:
    found = MADE.search(PAGE.read_text())
    assert found is not None
    assert found[2] == table()


@pytest.mark.parametrize("device", DEVICES)
def test_every_device_has_a_page_that_names_it(device: str) -> None:
    assert device in (DOCS / page_of(device)).read_text()


def test_every_page_is_of_a_device() -> None:
    pages = {file.name for file in DOCS.glob("*.md")} - {"README.md", "clouds.md"}
    assert pages == {page_of(device) for device in DEVICES}


if __name__ == "__main__":
    PAGE.write_text(MADE.sub(lambda found: found[1] + table() + found[3], PAGE.read_text()))
