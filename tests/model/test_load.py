"""From a file to a document: places in messages, syntax, key files, hostile input."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import ConfigError
from gateway.model.document import Table, build_document, parse_document
from gateway.model.load import DOCUMENT_BYTES_MAX, load, load_document
from gateway.model.locate import Path as KeyPath
from gateway.model.problem import value_at
from gateway.node.plan import plan
from tests.model.test_locate import paths_in
from tests.support.documents import BASE, PSK

TEXT = f"""\
[gateway]
public_addresses = ["192.0.2.1", "198.51.100.1"]

[[border_gateway]]
name = "main"

[[customer_gateway]]
name = "office"
public_addresses = ["203.0.113.9"]

[[vpn_connection]]
name = "office"
border_gateway = "main"
customer_gateway = "office"
remote_cidrs = ["10.20.0.0/16"]
psk = "{PSK}"

[[vpn_connection.tunnel]]
[[vpn_connection.tunnel]]
name = "spare"
"""


def write(tmp_path: Path, text: str | bytes, name: str = "gw.toml", mode: int = 0o600) -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def mistakes(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_document(path)
    return [problem.removeprefix(str(path)) for problem in caught.value.problems]


def test_a_document_is_read_from_its_file(tmp_path: Path) -> None:
    loaded = load(write(tmp_path, TEXT))
    assert loaded.warnings == ()
    assert [tunnel.name for tunnel in loaded.document.vpn_connection[0].tunnel] == [None, "spare"]


def test_messages_name_file_line_key_and_value_in_the_order_of_lines(tmp_path: Path) -> None:
    text = (
        TEXT.replace('"198.51.100.1"', "7")
        .replace('border_gateway = "main"', 'border_gateway = "mian"')
        .replace('name = "spare"', 'name = "spare"\nencap = 3\ninner_cidr = "1.2.3.4/30"')
    )
    assert mistakes(write(tmp_path, text)) == [
        ":2: gateway.public_addresses[#2]: must be an IP address in quotes (7)",
        ":13: vpn_connection[office].border_gateway: no border_gateway has this name;"
        ' there is: main ("mian")',
        ':21: vpn_connection[office].tunnel[spare].encap: must be one of "prefer", "auto" or'
        ' "never" (3)',
        ":22: vpn_connection[office].tunnel[spare].inner_cidr: must lie in 169.254.0.0/16,"
        ' 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 ("1.2.3.4/30")',
    ]


def test_syntax_errors_name_line_and_column(tmp_path: Path) -> None:
    assert mistakes(write(tmp_path, 'a = 1\nb = = "x"\n')) == [":2: column 5: invalid value"]
    assert mistakes(write(tmp_path, "[gateway]\n[gateway]\n"))[0].startswith(":2: column 9: ")
    assert "end of document" in mistakes(write(tmp_path, 'a = "'))[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = " + "[" * 100_000, "nested too deeply"),
        ("a = " + "9" * 5000, "exceeds the limit"),
        (b"a = 1\nb = '\xff'", ":2: is not UTF-8"),
        (b" " * (DOCUMENT_BYTES_MAX + 1), "is larger than"),
        (TEXT.replace("[gateway]", "[gateway]\nworkers = 0x" + "f" * 5000), "a very large number"),
    ],
)
def test_hostile_files_are_mistakes(tmp_path: Path, text: str | bytes, words: str) -> None:
    assert words in mistakes(write(tmp_path, text))[0]


@pytest.mark.parametrize("depth", range(100, 1100, 100))
def test_nesting_of_any_depth_is_a_mistake(tmp_path: Path, depth: int) -> None:
    (found,) = mistakes(write(tmp_path, TEXT + "x = " + "[" * depth + "]" * depth))
    assert "unknown key" in found or "nested too deeply" in found


def test_unreadable_files_are_mistakes(tmp_path: Path) -> None:
    assert mistakes(tmp_path / "none.toml") == [": can not be read: no such file or directory"]
    assert mistakes(tmp_path) == [": can not be read: is a directory"]


def test_empty_document_is_told_what_it_needs(tmp_path: Path) -> None:
    assert mistakes(write(tmp_path, "")) == [
        ":1: gateway.public_addresses: is required: the addresses that tunnels use,"
        " two for two paths"
    ]


def with_file(name: str) -> str:
    return TEXT.replace(f'psk = "{PSK}"', f'psk_file = "{name}"')


def test_key_is_read_from_a_file_beside_the_document(tmp_path: Path) -> None:
    write(tmp_path, "a key of more than twenty characters\n", "office.psk")
    loaded = load(write(tmp_path, with_file("office.psk"), mode=0o644))
    psk = loaded.document.vpn_connection[0].psk
    assert psk is not None
    assert psk.get_secret_value() == "a key of more than twenty characters"
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff" * 30, "is not UTF-8"),
        (b"a" * 5000, "is larger than 4096 bytes"),
        (b"first line of twenty characters\nsecond\n", "holds more than one line"),
        (b"short\n", "has 5 characters, need 20"),
        (None, "can not be read: no such file or directory"),
    ],
)
def test_bad_key_files_are_mistakes_at_their_key(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    if content is not None:
        write(tmp_path, content, "office.psk")
    found = mistakes(write(tmp_path, with_file("office.psk")))
    assert len(found) == 1
    assert found[0].startswith(":16: vpn_connection[office].psk_file: ")
    assert words in found[0]


def test_key_and_key_file_exclude_each_other(tmp_path: Path) -> None:
    text = TEXT.replace("psk =", 'psk_file = "x"\npsk =')
    assert "psk stands beside it" in mistakes(write(tmp_path, text))[0]


def test_files_with_keys_that_others_can_read_are_warned_of(tmp_path: Path) -> None:
    key = write(tmp_path, "a key of more than twenty characters\n", "office.psk", mode=0o640)
    (warning,) = load(write(tmp_path, with_file("office.psk"), mode=0o644)).warnings
    assert warning == f"{key}: holds a pre-shared key and is readable by others"
    open_one = write(tmp_path, TEXT, mode=0o604)
    (warning,) = load(open_one).warnings
    assert warning == f"{open_one}: holds secret keys and is readable by others"


def test_without_a_reader_key_files_are_refused() -> None:
    with pytest.raises(ConfigError, match="a file can not be read here"):
        parse_document(with_file("office.psk"), "text")


def test_warnings_name_their_place() -> None:
    text = TEXT.replace('"10.20.0.0/16"', '"203.0.113.0/24"')
    (warning,) = parse_document(text, "text").warnings
    assert warning.startswith("text:15: vpn_connection[office].remote_cidrs[#1]: holds the remote")


def test_error_does_not_carry_the_key_in_its_context(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_document(write(tmp_path, TEXT.replace("[gateway]", "[gateway]\nname = 5")))
    assert caught.value.__context__ is None
    assert PSK not in str(caught.value)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(2**70), max_value=2**70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["10.0.0.0/8", "192.0.2.1", "::1", "any", "main", "office", "0x", "keyid:"]),
    st.lists(st.sampled_from(["192.0.2.1", 5, "x", []]), max_size=3),
    st.dictionaries(st.sampled_from(["name", "tunnel", "psk", "x"]), st.text(max_size=5)),
    st.lists(st.dictionaries(st.sampled_from(["name", "tunnel", "psk"]), st.none()), max_size=4),
)


def mutated(data: st.DataObject) -> Table:
    """Return BASE with up to four places replaced, removed or added to."""
    table = copy.deepcopy(BASE)
    for _ in range(data.draw(st.integers(1, 4))):
        path = data.draw(st.sampled_from(sorted(paths_in(table), key=str)))
        around: object = table
        for part in path[:-1]:
            around = around[part]  # type: ignore[index]  # tables and lists, by construction
        match data.draw(st.sampled_from(["replace", "remove", "add", "repeat"])):
            case "replace":
                around[path[-1]] = data.draw(VALUES)  # type: ignore[index]  # as above
            case "remove":
                del around[path[-1]]  # type: ignore[attr-defined]  # as above
            case "add" if isinstance(around, dict):
                around[data.draw(st.text(max_size=8))] = data.draw(VALUES)
            case _ if isinstance(around, list):
                around.append(copy.deepcopy(value_at(table, path)))
    return table


@settings(max_examples=300)
@given(st.data())
def test_any_mutation_gives_a_document_or_problems_with_places(data: st.DataObject) -> None:
    document, problems = build_document(mutated(data))
    places: list[KeyPath] = [problem.path for problem in problems]
    assert all(places)
    assert PSK not in "".join(str(problem) for problem in problems)
    assert build_document(document.model_dump(exclude_unset=True))[0] == document
    if all(problem.is_warning for problem in problems):
        tunnels = plan(document).tunnels
        assert len({tunnel.name for tunnel in tunnels}) == len(tunnels)
        assert len({tunnel.interface for tunnel in tunnels}) == len(tunnels)


@settings(max_examples=200)
@given(st.data())
def test_any_mutation_of_the_text_raises_config_error_or_nothing(data: st.DataObject) -> None:
    text = TEXT
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 12))
        text = text[:at] + data.draw(st.text(max_size=6)) + text[at + length :]
    problems = []
    try:
        parse_document(text, "text")
    except ConfigError as error:
        problems = error.problems or ["none was named"]
    assert all(problem.startswith("text:") for problem in problems)


def test_a_parsed_document_survives_json() -> None:
    document, _ = build_document(BASE)
    dumped = json.loads(document.model_dump_json(exclude_none=True))
    for connection in dumped["vpn_connection"]:
        connection["psk"] = PSK  # never dumped in clear
    again, problems = build_document(dumped)
    assert problems == ()
    assert again.customer_gateway == document.customer_gateway
    assert again.vpn_connection[0].remote_cidrs == document.vpn_connection[0].remote_cidrs
