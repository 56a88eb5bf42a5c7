"""Options from a schema, and the values that the command line's texts become."""

from __future__ import annotations

import pytest

from gateway.cli.output import yaml_table, yaml_text
from gateway.cli.remote.nouns import NOUNS
from gateway.cli.remote.options import FieldOption, Shape, options_of, set_fields, value_from
from gateway.cli.remote.schemas import change_schema, new_schema
from gateway.control.resources.kinds import KINDS
from gateway.errors import ConfigError


def options(noun: str) -> dict[str, FieldOption]:
    return {field.key: field for field in options_of(new_schema(NOUNS[noun]))}


def test_each_kind_of_the_api_has_a_noun_with_its_path_prefix_and_references() -> None:
    nouns = {noun.kind: noun for noun in NOUNS.values()}
    for kind in KINDS.values():
        noun = nouns[kind.name]
        assert (noun.path, noun.prefix, noun.title) == (f"/v1/{kind.path}", kind.prefix, kind.title)
        for key, of in noun.filters.items():
            assert kind.references[key] == NOUNS[of].kind
        assert list(noun.secrets) == sorted(kind.secrets)


def test_the_columns_of_tables_are_fields_that_resources_have() -> None:
    others = {"id", "name", "public_addresses", "updated_at"}
    for kind in KINDS.values():
        noun = next(one for one in NOUNS.values() if one.kind == kind.name)
        for column in (*noun.columns, *noun.wide):
            key = column.key.partition(".")[0]
            assert key in others | {"status"} | set(kind.spec.model_fields), column


@pytest.mark.parametrize(
    ("noun", "key", "shape"),
    [
        ("bgw", "asn", Shape.INTEGER),
        ("bgw", "spoke_isolation", Shape.FLAG),
        ("bgw", "tags", Shape.MAP),
        ("cgw", "public_addresses", Shape.LIST),
        ("connection", "routing", Shape.TEXT),
        ("connection", "tunnels", Shape.INTEGER),
        ("connection", "tunnel", Shape.TABLE),
        ("connection", "rule", Shape.TABLE),
        ("tunnel", "liveness_s", Shape.NUMBER),
        ("tunnel", "encap", Shape.TEXT),
        ("attachment", "veth", Shape.TABLE),
    ],
)
def test_a_field_has_the_shape_of_its_schema(noun: str, key: str, shape: Shape) -> None:
    assert options(noun)[key].shape is shape


def test_words_descriptions_and_what_is_required_come_from_the_schema() -> None:
    routing = options("connection")["routing"]
    assert routing.words == ("static", "bgp", "policy")
    assert "the routes are learned" in routing.help
    assert options("connection")["border_gateway"].is_required
    assert options("cgw")["public_addresses"].words == ("any",)
    assert options("tunnel")["encap"].words == ("prefer", "auto", "never")


def test_a_secret_is_never_an_argument() -> None:
    assert options("connection")["psk"].option == "--psk-file"


def test_what_can_not_change_is_no_option_of_update() -> None:
    keys = [field.key for field in options_of(change_schema(NOUNS["connection"]))]
    assert "border_gateway" not in keys
    assert "routing" in keys


def test_texts_become_the_values_that_fields_want() -> None:
    addresses = options("cgw")["public_addresses"]
    assert value_from(addresses, "203.0.113.50, 203.0.113.51") == ["203.0.113.50", "203.0.113.51"]
    assert value_from(addresses, "any") == "any"
    assert value_from(options("bgw")["tags"], ["a=b", "c=d=e"]) == {"a": "b", "c": "d=e"}
    with pytest.raises(ConfigError, match=r"--tag: must be like KEY=VALUE \('a'\)"):
        value_from(options("bgw")["tags"], ["a"])


def test_set_reads_json_where_it_is_json_and_goes_into_tables() -> None:
    body: dict[str, object] = {}
    set_fields(body, ["asn=65001", "veth.interface=eth0", 'cidrs=["10.0.0.0/8"]', "note=a=b"])
    assert body == {
        "asn": 65001,
        "veth": {"interface": "eth0"},
        "cidrs": ["10.0.0.0/8"],
        "note": "a=b",
    }
    for wrong in ("asn", "=1", "asn.x=1"):
        with pytest.raises(ConfigError, match="--set: "):
            set_fields(body, [wrong])


def test_yaml_says_the_same_to_readers_of_1_1_and_1_2() -> None:
    value = {"bfd": "off", "at": "12:30", "no": ["1e3", "0x10", "010", "null", ""], "n": [1, True]}
    text = yaml_text(value)
    assert yaml_table(text) == value
    assert 'bfd: "off"' in text
    assert 'at: "12:30"' in text
    assert yaml_table("bfd: off") == {"bfd": "off"}
    with pytest.raises(ValueError, match="line 1"):
        yaml_table("a: [")
