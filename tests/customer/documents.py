"""The documents that the golden files are made from, one for each way of routing."""

from __future__ import annotations

from gateway.customer.catalog import DEVICES, customer_config
from gateway.customer.device import Options, Rendered
from gateway.errors import ConfigError
from gateway.model.document import Table, build_document
from gateway.model.locate import Path
from tests.support.documents import CONNECTION, edited, errors

Edit = tuple[Path, object]

# What every device has: one suite of RFC 8247 and RFC 8221 beside the best.
IKE = ["aes256gcm16-prfsha384-ecp384", "aes256-sha256-ecp256"]
ESP = ["aes256gcm16-ecp384", "aes256-sha256-ecp256"]
WITH_KEYS = Options(secrets=True)
KEY = "an0therKeyForTheTestsOfDevices"
COMMON: tuple[Edit, ...] = (
    ((*CONNECTION, "ike_proposals"), IKE),
    ((*CONNECTION, "esp_proposals"), ESP),
    ((*CONNECTION, "psk"), KEY),
)
RULES = [
    {"local_cidrs": ["10.10.1.0/24"], "remote_cidrs": ["10.20.1.0/24", "10.20.2.0/24"]},
    {"local_cidrs": ["10.10.2.0/24"], "remote_cidrs": ["10.20.1.0/24"]},
]
MODES: dict[str, tuple[Edit, ...]] = {
    "bgp": (
        *COMMON,
        ((*CONNECTION, "routing"), "bgp"),
        ((*CONNECTION, "bgp_password"), "a-Password4BGP"),
    ),
    "static": COMMON,
    "policy": (
        *COMMON,
        ((*CONNECTION, "routing"), "policy"),
        ((*CONNECTION, "rule"), RULES),
        ((*CONNECTION, "remote_cidrs"), []),
    ),
}
PAIRS = [(device, mode) for device in DEVICES for mode in MODES if mode in DEVICES[device].modes]


def rendered(device: str, mode: str, *edits: Edit, options: Options = WITH_KEYS) -> Rendered:
    """Return a device's configuration for the document of a mode with `edits`."""
    return of_table(device, edited(*MODES[mode], *edits), options)


def of_table(device: str, table: Table, options: Options = WITH_KEYS) -> Rendered:
    """Return a device's configuration for the first connection of a document without mistakes."""
    document, problems = build_document(table)
    assert not errors(problems), problems
    return customer_config(document, document.vpn_connection[0].name, device, options)


def refusal(device: str, mode: str, *edits: Edit) -> str:
    """Return why a device is given nothing."""
    try:
        rendered(device, mode, *edits)
    except ConfigError as error:
        (problem,) = error.problems
        return problem
    raise AssertionError(f"{device} takes it")


def as_text(made: Rendered) -> str:
    """Return all files and notes of a device as one text."""
    parts = [f"==> {file.name} <==\n{file.text}" for file in made.files]
    return "\n".join([*parts, "==> notes <==", *made.notes, ""])
