"""Whatever a good document says, a device gets whole files or one clear refusal."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.customer.catalog import DEVICES, customer_config
from gateway.customer.device import Options
from gateway.errors import ConfigError
from gateway.model.document import Table, build_document
from gateway.model.resources import Document
from tests.customer.documents import MODES, Edit
from tests.support.documents import CONNECTION, FIRST, REMOVED, SECOND, edited, errors

EXAMPLES = sorted((Path(__file__).parents[2] / "docs/examples").glob("*.toml"))
CUSTOMER = ("customer_gateway", 0)
# What a document may say that is out of the common; some devices have no word for it.
ODD: dict[str, tuple[Edit, ...]] = {
    "an address that changes": (
        ((*CUSTOMER, "public_addresses"), "any"),
        ((*CONNECTION, "start"), "respond"),
    ),
    "no addresses inside": (
        ((*FIRST, "inner_cidr"), REMOVED),
        ((*SECOND, "inner_cidr"), REMOVED),
    ),
    "any identity": (((*CONNECTION, "remote_id"), "any"),),
    "e-mail": (((*CUSTOMER, "identity"), "gw@office.example.com"),),
    "key ID": (((*CUSTOMER, "identity"), "keyid:6c6973626f6e"),),
    "bytes that do not print": (((*CUSTOMER, "identity"), "keyid:00ff"),),
    "no liveness": (((*CONNECTION, "liveness_s"), 0.0),),
    "long lives": (
        ((*CONNECTION, "ike_lifetime_s"), 604800.0),
        ((*CONNECTION, "child_lifetime_s"), 604000.0),
    ),
    "short lives": (
        ((*CONNECTION, "ike_lifetime_s"), 60.0),
        ((*CONNECTION, "child_lifetime_s"), 30.0),
    ),
    "the defaults": (
        ((*CONNECTION, "ike_proposals"), []),
        ((*CONNECTION, "esp_proposals"), []),
    ),
    "ChaCha alone": (
        ((*CONNECTION, "ike_proposals"), ["chacha20poly1305-prfsha256-x25519"]),
        ((*CONNECTION, "esp_proposals"), ["chacha20poly1305-esn"]),
    ),
    "ports": (((*CONNECTION, "local_ts"), ["10.10.0.0/16[tcp/443]"]),),
    "a range": (((*CONNECTION, "remote_ts"), ["10.20.0.5-10.20.0.17"]),),
    "nothing behind us": ((("vpc_attachment", 0, "cidrs"), []),),
    "IPv6 inside": (((*FIRST, "inner_cidr"), "fd00:1::/126"),),
    "a long name": (((*FIRST, "name"), "a.very-long_name.of-32-characters"[:32]),),
    "equal preference": (((*FIRST, "preference"), 5), ((*SECOND, "preference"), 5)),
    "TCP-AO": (((*CONNECTION, "bgp_auth"), "ao-hmac-sha256"),),
    "a post-quantum key": (
        ((*CONNECTION, "ppk"), "0x" + "a7" * 32),
        ((*CONNECTION, "ppk_id"), "pq.office"),
    ),
    "one tunnel": ((SECOND, REMOVED),),
}


def keys(table: Table) -> Table:
    """Return an example with a key in the place of the key files that it names."""
    connections = table["vpn_connection"]
    assert isinstance(connections, list)
    for connection in connections:
        for one in (connection, *connection.get("tunnel", ())):
            if one.pop("psk_file", None):
                one["psk"] = "an0therKeyForTheTestsOfDevices"
    return table


def judged(document: Document, device: str) -> Iterator[str]:
    """Yield what a device gets for each connection, or why it gets nothing."""
    for connection in document.vpn_connection:
        try:
            made = customer_config(document, connection.name, device, Options(secrets=True))
        except ConfigError as error:
            (problem,) = error.problems
            assert problem.startswith(f"vpn_connection[{connection.name}].")
            assert DEVICES[device].title in problem
            yield problem
            continue
        for file in made.files:
            assert file.text.endswith("\n")
            # A word of Python's, which no device has but those of the guides.
            assert "None" not in file.text or file.name in ("pfsense.md", "opnsense.md")
        yield "".join(file.text for file in made.files)


@pytest.mark.parametrize("device", DEVICES)
def test_every_example_is_given_or_refused_with_the_reason(device: str) -> None:
    for example in EXAMPLES:
        document, problems = build_document(keys(tomllib.loads(example.read_text())))
        assert not errors(problems), example
        assert all(judged(document, device))


def test_the_generic_sheet_is_made_of_every_example() -> None:
    for example in EXAMPLES:
        document, _ = build_document(keys(tomllib.loads(example.read_text())))
        assert not [text for text in judged(document, "generic") if ": any device " in text]


def odd_documents() -> Iterator[tuple[str, str]]:
    """Yield which of the odd things go with which way of routing."""
    for mode, edits in MODES.items():
        for odd, more in ODD.items():
            if not errors(build_document(edited(*edits, *more))[1]):
                yield mode, odd


@pytest.mark.parametrize(("mode", "odd"), list(odd_documents()))
def test_whatever_is_odd_is_given_or_refused_with_the_reason(mode: str, odd: str) -> None:
    document, _ = build_document(edited(*MODES[mode], *ODD[odd]))
    for device in DEVICES:
        assert all(judged(document, device))
