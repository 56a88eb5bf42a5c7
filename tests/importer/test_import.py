"""What comes of the clouds' files, and what is refused of hostile ones."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from gateway.errors import ConfigError
from gateway.ike.iana import ProtocolId
from gateway.importer import aws, azure
from gateway.importer.foreign import Foreign, Imported, Wish, joined, proposal, tables_of
from gateway.importer.tree import BYTES_MAX, DEPTH_MAX, ELEMENTS_MAX, parse_xml
from gateway.model.document import build_document
from gateway.model.types import parse_network, parse_outer_address
from tests.importer import files
from tests.support.documents import document, edited, errors

NO_WISH = Wish()


def made(foreign: Foreign, wish: Wish = NO_WISH) -> Imported:
    """Return what a document gets, after the whole document has been judged with it."""
    before = edited()
    imported = tables_of(foreign, document(), wish)
    for kind, tables in imported.tables.items():
        before[kind] = [*before[kind], *tables]  # type: ignore[misc]  # lists of tables
    _, problems = build_document(before, lambda _, name: imported.keys[name])
    assert not errors(problems), problems
    return imported


def tunnels_of(imported: Imported) -> list[dict[str, object]]:
    (connection,) = imported.tables["vpn_connection"]
    tunnels = connection["tunnel"]
    assert isinstance(tunnels, list)
    return tunnels


def aws_of(text: str) -> Foreign:
    return aws.read_aws(text.encode())


def azure_of(text: str) -> Foreign:
    return azure.read_azure(text.encode())


@pytest.mark.parametrize("text", [files.aws_xml(), files.aws_text()], ids=["xml", "text"])
def test_aws_gives_a_connection_with_both_tunnels(text: str) -> None:
    imported = made(aws_of(text))
    ((customer,), (connection,)) = imported.tables.values()
    assert customer == {
        "name": "vpn-0abc12de",
        "public_addresses": list(files.OUTER),
        "asn": 64512,
    }
    first, second = tunnels_of(imported)
    assert (connection["routing"], connection["local_asn"], connection["bfd"]) == (
        "bgp",
        65010,
        "off",
    )
    assert first["local_address"] == "192.0.2.1"
    assert first["remote_address"] == "52.0.2.1"
    assert (first["inner_cidr"], first["inner_local"]) == ("169.254.44.0/30", "169.254.44.2")
    assert (second["inner_cidr"], second["inner_local"]) == ("169.254.44.4/30", "169.254.44.6")
    assert imported.keys == {
        "vpn-0abc12de-1.psk": files.KEYS[0],
        "vpn-0abc12de-2.psk": files.KEYS[1],
    }
    assert first["esp_proposals"] == list(dict.fromkeys([aws.ESP[1], *aws.ESP]))
    assert (first["ike_lifetime_s"], first["child_lifetime_s"]) == (19200, 2400)


def test_old_algorithms_are_replaced_and_it_is_said() -> None:
    imported = made(aws_of(files.aws_xml()))
    assert tunnels_of(imported)[0]["ike_proposals"] == list(aws.IKE)
    assert any(note.startswith("IKE: the file's algorithms are old") for note in imported.notes)
    assert not any(note.startswith("ESP: ") for note in imported.notes)


def test_static_routing_needs_to_be_told_the_prefixes() -> None:
    foreign = aws_of(files.aws_xml(is_bgp=False))
    with pytest.raises(ConfigError, match="--remote-cidr"):
        made(foreign)
    imported = made(foreign, Wish(remote_cidrs=(parse_network("172.31.0.0/16"),)))
    (connection,) = imported.tables["vpn_connection"]
    assert connection["routing"] == "static"
    assert connection["remote_cidrs"] == ["172.31.0.0/16"]


def test_two_files_are_one_connection_with_four_tunnels() -> None:
    other = files.aws_xml()
    for old, new in (("52.0.2.", "52.0.3."), ("169.254.44.", "169.254.45."), ("0abc12de", "0f")):
        other = other.replace(old, new)
    imported = made(joined([aws_of(files.aws_xml()), aws_of(other)]))
    ((customer,), _) = imported.tables.values()
    assert customer["public_addresses"] == ["52.0.2.1", "52.0.2.65", "52.0.3.1", "52.0.3.65"]
    assert len(tunnels_of(imported)) == 4
    with pytest.raises(ConfigError, match="not of one customer"):
        joined([aws_of(files.aws_xml()), aws_of(other.replace("64512", "64513"))])


def test_our_address_must_be_ours() -> None:
    text = files.aws_xml().replace("192.0.2.1<", "198.18.0.9<")
    with pytest.raises(ConfigError, match=r"has no 198\.18\.0\.9, which the file says is ours"):
        made(aws_of(text))
    behind = Wish(local_address=parse_outer_address("198.51.100.1"))
    first = tunnels_of(made(aws_of(text), behind))[0]
    assert (first["local_address"], first["local_id"]) == ("198.51.100.1", "198.18.0.9")


def test_azures_site_gives_both_instances() -> None:
    imported = made(azure_of(files.azure_json()))
    (connection,) = imported.tables["vpn_connection"]
    assert connection["routing"] == "static"
    assert connection["remote_cidrs"] == ["10.1.0.0/24", "10.2.0.0/16", "10.3.0.0/16"]
    assert [one["remote_address"] for one in tunnels_of(imported)] == list(files.OUTER)
    assert any("ECP384" in note for note in imported.notes)


def test_azures_site_with_bgp_needs_addresses_of_its_own() -> None:
    first, second = tunnels_of(made(azure_of(files.azure_json(is_bgp=True))))
    assert (first["inner_cidr"], first["inner_local"]) == ("169.254.21.0/30", "169.254.21.1")
    assert (second["inner_cidr"], second["inner_local"]) == ("169.254.21.4/30", "169.254.21.5")
    plain = files.azure_json(is_bgp=True).replace("CustomBgpPeeringAddresses", "Others")
    with pytest.raises(ConfigError, match="APIPA"):
        azure_of(plain)


def test_azures_script_says_all_but_bgp() -> None:
    imported = made(azure_of(files.AZURE_SCRIPT))
    (connection,) = imported.tables["vpn_connection"]
    assert connection["remote_cidrs"] == ["10.2.0.0/16"]
    first = tunnels_of(imported)[0]
    assert first["ike_proposals"] == [azure.IKE[1], azure.IKE[0]]
    assert first["esp_proposals"] == ["aes256gcm16", *azure.ESP]
    with pytest.raises(ConfigError, match="APIPA"):
        azure_of(files.AZURE_SCRIPT.replace("Enable BGP:            False", "Enable BGP: True"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("aes-256-cbc", "sha2-256", "group14"), "aes256-sha256-modp2048"),
        (("AES256-GCM-16", "sha2-384", "group20"), "aes256gcm16-prfsha384-ecp384"),
        (("aes-128-cbc", "sha1", "group14"), None),
        (("aes-256-cbc", "sha2-256", "group2"), None),
        (("aes-256-cbc", "sha2-256", "group24"), None),
        (("rot13", None, None), None),
        ((None, None, None), None),
    ],
)
def test_a_files_words_for_ike_are_taken_or_left(
    words: tuple[str | None, ...], expected: str | None
) -> None:
    assert proposal(ProtocolId.IKE, *words) == expected


BOMB = """<?xml version="1.0"?><!DOCTYPE vpn_connection [<!ENTITY a "aaaa">
<!ENTITY b "&a;&a;&a;&a;">]><vpn_connection>&b;</vpn_connection>"""
OUTSIDE = (
    """<!DOCTYPE v [<!ENTITY x SYSTEM "file:///etc/passwd">]><vpn_connection>&x;</vpn_connection>"""
)
HOSTILE: list[tuple[str, str]] = [
    (BOMB, "DOCTYPE"),
    (OUTSIDE, "DOCTYPE"),
    ("<vpn_connection>&nothing;</vpn_connection>", "line 1: is not XML"),
    ("<a>" * (DEPTH_MAX + 1) + "</a>" * (DEPTH_MAX + 1), "levels"),
    (f"<vpn_connection>{'<a/>' * ELEMENTS_MAX}</vpn_connection>", "elements"),
    (f"<vpn_connection>{'a' * BYTES_MAX}</vpn_connection>", "larger than"),
    ("<vpn_connection>", "line 1: is not XML"),
    ('<?xml version="1.0" encoding="klingon"?><vpn_connection/>', "not XML that can be read"),
    ("<html><body/></html>", "is no vpn_connection of AWS, but 'html'"),
    ("<vpn_connection/>", "has 0 tunnels"),
    (files.aws_xml().replace("52.0.2.1<", "224.0.0.1<"), "is a multicast address"),
    (files.aws_xml().replace("169.254.44.2<", "::1<"), "no IPv4 address in a /30"),
    (files.aws_xml().replace(">65010<", "><"), "customer gateway's ASN: is no number"),
    (files.aws_xml().replace(">28800<", ">" + "9" * 40 + "<"), "IKE lifetime: is no number"),
    (files.aws_xml().replace(files.KEYS[0], ""), "pre-shared key: is missing"),
    (files.aws_xml().replace(files.KEYS[0], "a\nb"), "has characters that no key has"),
    ("", "has 0 tunnels"),
    ("\0" * 100, "has 0 tunnels"),
    ("IPSec Tunnel #1\n" * 9, "has 9 tunnels"),
]


@pytest.mark.parametrize(("text", "words"), HOSTILE, ids=[words for _, words in HOSTILE])
def test_hostile_files_are_refused_with_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        made(aws_of(text))
    assert words in refused.value.problems[0]
    assert files.KEYS[1] not in refused.value.problems[0]


def spoiled(change: Callable[[dict[str, object]], object]) -> str:
    site = files.azure_site()
    change(site)
    return json.dumps(site)


HOSTILE_AZURE: list[tuple[str, str]] = [
    ("[" * 100_000, "is not JSON"),
    ("[]", "has 0 sites"),
    ("{}", "vpnSiteConfiguration: is missing"),
    ("[1]", "vpnSiteConfiguration: is missing"),
    (spoiled(lambda site: site.update(vpnSiteConnections=[])), "needs one connection"),
    (spoiled(lambda site: site.update(vpnSiteConfiguration={"IPAddress": 7})), "is not an IP"),
    (files.azure_json().replace("10.2.0.0/16", "10.2.0.1/16"), "has host bits set"),
    (files.azure_json().replace("3600", "true"), "is no number"),
    ("nothing of the kind", "is neither a site's JSON nor a device script"),
    ("x" * (BYTES_MAX + 1), "larger than"),
]


@pytest.mark.parametrize(("text", "words"), HOSTILE_AZURE, ids=[w for _, w in HOSTILE_AZURE])
def test_hostile_files_of_azure_are_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        made(azure_of(text))
    assert words in refused.value.problems[0]


def test_text_beside_elements_is_read_as_it_is() -> None:
    assert parse_xml(b"<a> <b>1 &lt; 2</b><b/></a>").find("b") == "1 < 2"
