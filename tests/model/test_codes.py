"""The list of codes: whole, used, documented, and covering what other products have words for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.control.problems import TITLES
from gateway.ike import reasons
from gateway.model.codes import CODES, SECTIONS, Severity, hint_of, severity_of

ROOT = Path(__file__).parent.parent.parent
DOCS = (ROOT / "docs/events.md").read_text()
SOURCES = sorted((ROOT / "gateway").rglob("*.py"))

# What the hosted products' logs and errors have words for.
ELSEWHERE = """
phase1 proposal mismatch; phase2 proposal or pfs mismatch; responder dh mismatch;
initiator dh mismatch; encapsulation mode mismatch; flow mismatch; version mismatch;
peer address mismatch; config ID mismatch; exchange mode mismatch; authentication fail;
construct local ID fail; rekey fail; rekey no find old sa; first packet limited; malformed message;
malformed payload; invalid cookie; invalid length; critical drop; route limit;
local address mismatch; peers or tunnel number limit; netmask mismatch; flow conflict;
nat detection fail; fragment limits; peer cert expired; peer cert revoked; max transmit reached;
dpd timeout; peer request; config modify; manual offline; phase1 hard expiry; phase2 hard expiry;
heartbeat timeout; re-auth timeout; port mismatch; kick old sa with same flow; flow overlap;
spi conflict; admin down; peer address switch; phase1 sa replace; phase2 sa replace;
DPD timed out after n retransmits; DELETE received for IKE SA; DELETE received for child SA;
child rekey collision; redundant SA removed; phase 2 failed while phase 1 kept; TS_UNACCEPTABLE;
AUTHENTICATION_FAILED; PSK mismatch; half-open IKE SA timeout; no proposal match;
PROVISIONING; WAITING_FOR_FULL_CONFIG; FIRST_HANDSHAKE; AUTHORIZATION_ERROR; NEGOTIATION_FAILURE;
NO_INCOMING_PACKETS; PEER_IDENTITY_MISMATCH; TS_NARROWING_NOT_ALLOWED; REJECTED; STOPPED; FAILED;
invalid request; server error; not authenticated; not found; being deleted; address occupied;
attribute not supported; gateway not ready; busy or repeated; bad class of address;
route table update failed; route quota; subnet has too few addresses; log query unsupported;
monitor exists; rate limit; gateway missing; flavour change refused
"""
WORDS = [word.strip() for word in ELSEWHERE.replace("\n", " ").split(";")]


# Codes that are put together: alarm_ and the state of an alarm.
BY_STATE = {"alarm_raised", "alarm_cleared"}


def documented() -> dict[str, tuple[str, str]]:
    """Return title and severity by code as the page has them."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| \*\*(.+?)\*\*", DOCS, re.MULTILINE)
    return {code: (title, severity) for code, severity, title in rows}


def elsewhere() -> dict[str, str]:
    """Return what the page says of each word of other products."""
    table = DOCS.partition("## What other products call it")[2]
    return dict(re.findall(r"^\| ([^`|]+?) \| (.+?) \|$", table, re.MULTILINE))


def reason_codes(path: Path) -> Iterator[str]:
    """Yield the codes that a file makes a reason of, on a node or in the control plane."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id not in ("Reason", "Why", "NotTaken", "NotTrusted", "_why"):
                continue
            named = [one.value for one in node.keywords if one.arg == "code"]
            first = next(iter([*node.args, *named]), None)
            if isinstance(first, ast.Constant):
                assert isinstance(first.value, str)
                yield first.value


def test_every_code_is_there_once_and_says_what_it_means() -> None:
    listed = [code for section in SECTIONS.values() for code in section]
    assert len(listed) == len(CODES)
    for code in listed:
        assert re.fullmatch(r"[a-z][a-z0-9_]{0,63}", code.code)
        assert code.title
        assert code.meaning.endswith(".")
        assert not code.hint.endswith(".")


def test_every_reason_has_its_code_in_the_list() -> None:
    found = {code for path in SOURCES for code in reason_codes(path)}
    assert len(found) > 20
    assert found <= CODES.keys()
    by_table = {*reasons._BY_NOTIFY.values(), *reasons._BY_ERROR.values()}
    assert by_table <= CODES.keys()


def test_every_code_is_said_somewhere() -> None:
    said = {
        node.value.replace(" ", "_")
        for path in SOURCES
        if not path.name.startswith("codes")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert not CODES.keys() - said - BY_STATE


def test_the_page_has_every_code_and_no_other() -> None:
    assert documented() == {c.code: (c.title, c.severity.value) for c in CODES.values()}


def test_the_page_says_what_each_code_means_and_what_to_look_at() -> None:
    for code in CODES.values():
        assert code.meaning in DOCS
        assert code.hint in DOCS


@pytest.mark.parametrize("word", WORDS)
def test_what_other_products_have_a_word_for_has_a_code_or_can_not_happen(word: str) -> None:
    said = elsewhere()[word]
    codes = re.findall(r"`(\w+)`", said)
    assert codes or said.startswith("can not happen: "), said
    problems = set(re.findall(r"`(\w+)` \([45]\d\d\)", said))
    assert problems <= TITLES.keys()
    assert set(codes) <= CODES.keys() | problems


def test_a_code_of_a_newer_version_is_a_warning() -> None:
    assert severity_of("of_tomorrow") is Severity.WARNING
    assert severity_of("tunnel_up") is Severity.INFO


def test_the_hint_of_the_first_code_that_has_one_counts() -> None:
    assert hint_of("", "closed", "tunnel_down") == CODES["tunnel_down"].hint
    assert hint_of("peer_unreachable", "tunnel_down") == CODES["peer_unreachable"].hint
    assert hint_of("closed") == ""
