"""Rules of policy routing: what they mean, and each mistake that they can hold."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path as FilePath

import pytest

from gateway.model.document import build_document
from gateway.model.load import load
from gateway.model.locate import Path
from gateway.model.tunnels import resolve_tunnels, selector_texts
from gateway.node.plan import plan
from tests.support.documents import CONNECTION, FIRST, REMOVED, document, edited, errors

EXAMPLE = FilePath(__file__).parents[2] / "docs/examples/policy-rules.toml"
Edits = list[tuple[Path, object]]
Rule = dict[str, list[str]]


def rule(local: list[str], remote: list[str]) -> Rule:
    return {"local_cidrs": local, "remote_cidrs": remote}


def policy(*rules: Rule) -> Edits:
    return [
        ((*CONNECTION, "routing"), "policy"),
        ((*CONNECTION, "remote_cidrs"), REMOVED),
        ((*CONNECTION, "rule"), list(rules)),
    ]


def sources(count: int) -> list[Rule]:
    return [rule([f"10.10.{at}.0/24"], ["10.20.0.0/16"]) for at in range(count)]


TWO_BY_THREE = rule(
    ["10.10.1.0/24", "10.10.2.0/24"], ["10.20.1.0/24", "10.20.2.0/24", "10.20.3.0/24"]
)


def test_two_sources_and_three_destinations_are_six_child_sas() -> None:
    made = document(*policy(TWO_BY_THREE))
    pairs = selector_texts(made, resolve_tunnels(made)[0])
    assert pairs[0] == (("10.10.1.0/24",), ("10.20.1.0/24",))
    assert pairs[3] == (("10.10.2.0/24",), ("10.20.1.0/24",))
    assert len(set(pairs)) == 6


def test_each_pair_has_a_slot_and_each_destination_a_route() -> None:
    tunnel = plan(document(*policy(TWO_BY_THREE))).tunnels[0]
    assert len(tunnel.ike.selectors) == 6
    assert tunnel.ike.selectors[0].local == tunnel.ike.local_ts
    assert [route.prefix for route in tunnel.routes] == [
        ip_network(f"10.20.{at}.0/24") for at in (1, 2, 3)
    ]


def test_without_rules_one_child_sa_has_all_selectors() -> None:
    made = document(
        ((*CONNECTION, "routing"), "policy"),
        ((*CONNECTION, "local_cidrs"), ["10.10.1.0/24", "10.10.2.0/24"]),
    )
    tunnel = plan(made).tunnels[0]
    assert len(tunnel.ike.selectors) == 1
    assert len(tunnel.ike.local_ts) == 2


def test_pairs_are_of_one_ip_version() -> None:
    both = rule(["10.10.0.0/16", "fd00:10::/64"], ["10.20.0.0/16", "fd00:20::/64"])
    made = document(*policy(both))
    pairs = selector_texts(made, resolve_tunnels(made)[0])
    assert pairs == (
        (("10.10.0.0/16",), ("10.20.0.0/16",)),
        (("fd00:10::/64",), ("fd00:20::/64",)),
    )


def test_the_example_is_free_of_mistakes(tmp_path: FilePath) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(EXAMPLE.read_text())
    key = tmp_path / "office.psk"
    key.write_text("correct-horse-battery-staple\n")
    key.chmod(0o600)
    assert len(plan(load(file).document).tunnels[0].ike.selectors) == 6


MISTAKES: list[tuple[Edits, Path, str]] = [
    (policy(*sources(6)), (*CONNECTION, "rule"), "has 6 rules, at most 5"),
    (
        policy(
            rule([f"10.10.{at}.0/24" for at in range(3)], [f"10.20.{at}.0/24" for at in range(11)])
        ),
        (*CONNECTION, "rule"),
        "gives 33 pairs of prefixes, one Child SA each, at most 32",
    ),
    (
        [((*CONNECTION, "remote_cidrs"), REMOVED), ((*CONNECTION, "rule"), [TWO_BY_THREE])],
        (*CONNECTION, "rule"),
        'has a meaning with routing = "policy" only',
    ),
    (
        [((*CONNECTION, "routing"), "policy"), ((*CONNECTION, "rule"), [TWO_BY_THREE])],
        (*CONNECTION, "remote_cidrs"),
        "stands in each rule where there are rules",
    ),
    (
        [*policy(TWO_BY_THREE), ((*CONNECTION, "local_cidrs"), ["10.10.0.0/16"])],
        (*CONNECTION, "local_cidrs"),
        "stands in each rule where there are rules",
    ),
    (
        [*policy(TWO_BY_THREE), ((*CONNECTION, "local_ts"), ["10.10.0.0/16"])],
        (*CONNECTION, "local_ts"),
        "has no meaning beside rules",
    ),
    (
        [*policy(TWO_BY_THREE), ((*FIRST, "remote_ts"), ["10.20.0.0/16"])],
        (*FIRST, "remote_ts"),
        "has no meaning beside rules",
    ),
    (
        policy(rule([], ["10.20.0.0/16"])),
        (*CONNECTION, "rule", 0, "local_cidrs"),
        "must not be empty",
    ),
    (
        policy({"local_cidrs": ["10.10.0.0/16"]}),
        (*CONNECTION, "rule", 0, "remote_cidrs"),
        "is required",
    ),
    (
        policy({**TWO_BY_THREE, "local_cidr": []}),
        (*CONNECTION, "rule", 0, "local_cidr"),
        "unknown key; did you mean local_cidrs?",
    ),
    (
        policy(rule(["10.10.0.0/16", "fd00:10::/64"], ["10.20.0.0/16"])),
        (*CONNECTION, "rule", 0, "local_cidrs", 1),
        'none of remote_cidrs is of its IP version ("fd00:10::/64")',
    ),
    (
        policy(rule(["10.10.1.0/24"], ["10.20.1.0/24"]), rule(["10.10.1.0/24"], ["10.20.2.0/24"])),
        (*CONNECTION, "rule", 1, "local_cidrs", 0),
        'is a source of rule 1 already ("10.10.1.0/24")',
    ),
    (
        policy(rule(["10.10.1.0/24"], ["10.20.0.0/16"]), rule(["10.10.0.0/16"], ["10.20.2.0/24"])),
        (*CONNECTION, "rule", 1),
        "overlaps 10.10.1.0/24 to 10.20.0.0/16 of rule 1 (10.10.0.0/16 to 10.20.2.0/24)",
    ),
    (
        policy(rule(["10.10.1.0/24"], ["10.20.0.0/16", "10.20.2.0/24"])),
        (*CONNECTION, "rule", 0, "remote_cidrs", 1),
        'overlaps 10.20.0.0/16 of the same rule ("10.20.2.0/24")',
    ),
]


@pytest.mark.parametrize(("edits", "place", "words"), MISTAKES)
def test_mistake_is_found_at_its_place(edits: Edits, place: Path, words: str) -> None:
    _, problems = build_document(edited(*edits))
    assert [(path, words in text) for path, text in errors(problems)] == [(place, True)], problems


def test_overlapping_sources_with_different_destinations_are_no_mistake() -> None:
    document(
        *policy(rule(["10.10.1.0/24"], ["10.20.1.0/24"]), rule(["10.10.0.0/16"], ["10.20.2.0/24"]))
    )


def test_five_rules_are_allowed() -> None:
    assert len(plan(document(*policy(*sources(5)))).tunnels[0].ike.selectors) == 5
