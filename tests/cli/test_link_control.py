"""`twinspan link` of two Border Gateways of one control plane, a real one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.cli.control_process import Control, control

Items = list[dict[str, object]]
WEST, EAST = ("198.51.100.11", "198.51.100.12"), ("198.51.100.21", "198.51.100.22")
NAMED = ("--address-a", WEST[0], "--address-a", WEST[1], "--address-b", EAST[0])


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    """Two regions: the addresses of east are those of its pool, west may have any."""
    with control(tmp_path_factory.mktemp("link")) as running:
        running.done("node", "create", "gw-a", "--public-addresses", ",".join(WEST))
        running.done("node", "create", "gw-b", "--public-addresses", ",".join(EAST))
        for name, addresses in (("west", WEST), ("east", EAST)):
            running.done("pool", "create", name, "--addresses", ",".join(addresses))
        running.done("bgw", "create", "west")
        running.done("bgw", "create", "east", "--asn", "65010", "--address-pool", "east")
        for name, cidr in (("west", "192.168.0.0/16"), ("east", "172.16.0.0/16")):
            fields = ("--border-gateway", name, "--interface", f"lan-{name}", "--cidrs", cidr)
            running.done("attachment", "create", name, *fields)
        yield running


def items(plane: Control, noun: str) -> Items:
    return cast(Items, plane.json(noun, "list")["items"])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("west", "east"), "--address-a: is needed for west: it has no address pool of its own"),
        (("west", "north"), "north: is no file, and no border_gateway has this id or name"),
        (("east", "east"), "east: is the other Border Gateway too"),
        (("west", "east", "--address-a", EAST[0]), f"east: {EAST[0]}: is an address of west too"),
        (("west", "east", *NAMED, "--asn-a", "65010"), "is that of west too"),
        (("west.toml", "east"), "west.toml: "),
        (("west", "east", "--psk-file", "x"), "--psk-file: is for files"),
        (("west.toml", "east.toml", *NAMED), "--address-b: is for border gateways of a control"),
    ],
)
def test_what_can_not_be_linked_is_told_and_nothing_is_made(
    plane: Control, words: tuple[str, ...], text: str
) -> None:
    refused = plane.run("link", *words, "--yes")
    assert refused.exit_code != 0
    assert text in refused.output
    assert items(plane, "cgw") == []


def test_two_border_gateways_are_joined_by_one_command(plane: Control) -> None:
    shown = plane.done("link", "west", "east", *NAMED[:4], "--dry-run")
    assert "+++ vpn_connection/east-west" in shown
    assert "nothing is changed" in shown
    assert items(plane, "cgw") == []
    made = json.loads(plane.done("link", "west", "east", *NAMED[:4], "--yes", "--json"))
    assert made["state"] == "done"
    west, east = sorted(items(plane, "connection"), key=lambda one: str(one["name"]), reverse=True)
    assert (west["name"], east["name"]) == ("west-east", "east-west")
    assert (west["remote_cidrs"], east["remote_cidrs"]) == (["172.16.0.0/16"], ["192.168.0.0/16"])
    assert (west["public_addresses"], east["public_addresses"]) == ([*WEST], [*EAST])
    tunnels = {str(one["name"]): one for one in items(plane, "tunnel")}
    for number in (1, 2):
        one, other = tunnels[f"west-east-{number}"], tunnels[f"east-west-{number}"]
        assert one["local_address"] == other["remote_address"] == WEST[number - 1]
        assert one["remote_address"] == other["local_address"] == EAST[number - 1]
        assert one["inner_cidr"] == other["inner_cidr"]
        assert one["inner_local"] != other["inner_local"]
    keys = {plane.done("connection", "psk", str(one["id"])) for one in (west, east)}
    assert len(keys) == 1
    again = plane.run("link", "west", "east", *NAMED[:4], "--yes")
    assert "border_gateway[west] is linked to east" in again.output
    assert len(items(plane, "connection")) == 2


def test_a_file_and_a_border_gateway_are_not_linked(plane: Control, tmp_path: Path) -> None:
    file = tmp_path / "west.toml"
    file.write_text("")
    assert plane.run("link", str(file), "east").exit_code == 1
