"""
Which scenario of strongSwan's test suite for IKEv2 is tried by which of our tests.

    python -m tests.scenarios JUNIT.xml... --write docs/interop.md

It reads what a run of the tests has written (`./run test` leaves build/beside.xml, build/calm.xml
and build/alone.xml), and fails if a test is missing there or has failed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import lasting
from tests import total

PEER, SELF, CORE = "strongSwan", "two of our gateways", "two IKE cores"


@dataclass(frozen=True, slots=True)
class Scenario:
    """
    Some scenarios that are alike: against whom, and by which tests, each "FILE::START OF NAME".

    Without tests, `against` says why there are none.
    """

    names: str
    against: str
    tests: tuple[str, ...] = ()


SWAN, CERT, MORE, PKIX = (
    "system/test_strongswan",
    "system/test_certificates",
    "system/test_strongswan_scenarios",
    "system/test_certificate_scenarios",
)
SCENARIOS = (
    Scenario("net2net-psk", PEER, (f"{SWAN}::test_the_default_proposals",)),
    Scenario(
        "net2net-psk-fail",
        PEER,
        (f"{SWAN}::test_a_wrong_key", f"{SWAN}::test_a_peer_with_a_wrong_key"),
    ),
    Scenario(
        "net2net-cert, -cert-sha2, -ed25519, ecdsa-certs, rw-cert-pss",
        PEER,
        (f"{CERT}::test_every_kind_of_key",),
    ),
    Scenario("net2net-pubkey", PEER, (f"{CERT}::test_raw_public_keys",)),
    Scenario("net2net-start", PEER, (f"{SWAN}::test_every_suite",)),
    Scenario(
        "net2net-route, -route-narrow, dpd-trap, protoport-trap, trap-any",
        "no traps: a tunnel is up before its first packet",
    ),
    Scenario(
        "net2net-rekey",
        PEER,
        ("system/test_rekey::test_a_child_sa_rekey", "system/test_rekey::test_a_rekeyed_sa"),
    ),
    Scenario("net2net-childless", PEER, (f"{MORE}::test_the_first_child_sa",)),
    Scenario("net2net-esn", SELF, ("system/test_raw_esp::test_large_flows",)),
    Scenario("net2net-gw", SELF, ("system/test_scenario_hub::test_the_switch",)),
    Scenario(
        "net2net-icmp-forward",
        SELF,
        (
            "system/test_twins::test_the_largest_packet",
            "system/test_twins::test_errors_of_icmp",
        ),
    ),
    Scenario("net2net-same-nets", "by NAT of the hosts' kernels, as docs/scenarios say"),
    Scenario("net2net-pkcs12", "by `twinspan pki unpack`", ("cli/test_pki::test_what_openssl",)),
    Scenario("net2net-sha3-rsa-cert, -rfc3779, -dnssec, -dnscert", "not wanted"),
    Scenario("net2net-multicast, -iptfs, -ah, -dscp", "not wanted"),
    Scenario("force-udp-encap", PEER, (f"{SWAN}::test_every_suite",)),
    Scenario(
        "nat-rw, nat-rw-psk, double-nat, mobike-nat-mappings",
        PEER,
        (
            "system/test_nat::test_strongswan_behind",
            "system/test_nat::test_we_reach",
            "system/test_nat::test_the_path_follows",
        ),
    ),
    Scenario("mobike, dynamic-initiator", PEER, (f"{MORE}::test_a_peer_that_moves",)),
    Scenario(
        "dpd-clear, -restart",
        PEER,
        (
            "system/test_failure::test_a_path_cut",
            "system/test_failure::test_strongswan_killed",
            "system/test_failure::test_strongswan_that_restarts",
        ),
    ),
    Scenario("inactivity-timeout", PEER, (f"{MORE}::test_a_child_sa_that_charon_ends",)),
    Scenario(
        "reauth-early, -late",
        CORE,
        ("ike/test_reauth::test_who_has_begun", "ike/test_reauth::test_it_is_begun"),
    ),
    Scenario("reauth-mbb", PEER, (f"{MORE}::test_a_peer_that_authenticates_again",)),
    Scenario("reauth-mbb-revoked", PEER, (f"{PKIX}::test_who_is_revoked",)),
    Scenario(
        "start-action-start",
        PEER,
        (
            "system/test_edits_strongswan::test_an_edit",
            "system/test_edits_strongswan::test_a_new_key",
        ),
    ),
    Scenario("protoport-dual, -range", PEER, (f"{MORE}::test_selectors",)),
    Scenario(
        "several children of one IKE SA",
        PEER,
        (
            "system/test_policy_rules::test_each_pair",
            "system/test_policy_rules::test_each_is_rekeyed",
        ),
    ),
    Scenario(
        "shunt-policies, -manual-prio, host2host-*",
        "routes and nftables decide what goes into a tunnel",
    ),
    Scenario("critical-extension", PEER, (f"{PKIX}::test_a_certificate_that_breaks",)),
    Scenario("wildcards", PEER, (f"{PKIX}::test_a_name_with_a_star",)),
    Scenario("after-2038-certs", PEER, (f"{PKIX}::test_certificates_that_end",)),
    Scenario("rw-sig-auth", PEER, (f"{PKIX}::test_how_we_are_to_sign",)),
    Scenario("strong-keys-certs", PEER, (f"{CERT}::test_chains_of_intermediate",)),
    Scenario(
        "crl-*",
        PEER,
        (f"{CERT}::test_a_revoked_certificate",),
    ),
    Scenario(
        "ocsp-*",
        PEER,
        (f"{PKIX}::test_a_responder_of_ocsp", f"{PKIX}::test_a_responder_that_is_none"),
    ),
    Scenario("two-certs", PEER, (f"{PKIX}::test_another_certificate",)),
    Scenario("rw-psk-no-idr", PEER, (f"{PKIX}::test_a_peer_that_does_not_say",)),
    Scenario("rw-psk-rsa-mixed", PEER, (f"{PKIX}::test_pre_shared_keys_and",)),
    Scenario(
        "ikev2-multi-ca/*",
        PEER,
        (f"{CERT}::test_chains_of_intermediate", f"{CERT}::test_a_refusal"),
    ),
    Scenario(
        "the same: path length, loops, a revoked intermediate",
        PEER,
        (f"{PKIX}::test_a_certificate_that_breaks", f"{PKIX}::test_an_intermediate_ca"),
    ),
    Scenario(
        "ikev2-algs/*, ikev2/alg-*",
        PEER,
        (f"{SWAN}::test_every_suite", f"{SWAN}::test_a_wrong_group"),
    ),
    Scenario("ike/frags-ipv4, -ipv6", PEER, (f"{SWAN}::test_a_long_list",)),
    Scenario("rw-psk-ppk, rw-cert-ppk", PEER, (f"{MORE}::test_a_ppk",)),
    Scenario(
        "rw-cert-multi-ke, rw-mlkem",
        CORE,
        ("ike/test_recorded_pq::test", "ike/test_post_quantum::test"),
    ),
    Scenario("per-cpu-sas", SELF, ("system/test_bench_cores::test",)),
    Scenario("redirect-active", PEER, (f"{MORE}::test_a_peer_that_sends_us_on",)),
    Scenario("ipv6/net2net-ikev2, ip6-in-ip4, ip4-in-ip6", PEER, (f"{SWAN}::test_both_families",)),
    Scenario("libipsec/net2net-*", PEER, (f"{SWAN}::test_every_suite",)),
    Scenario("route-based/net2net-*", SELF, ("system/test_twins::test_both_families",)),
    Scenario("ha/active-passive", SELF, ("system/test_restart::test_a_crash",)),
)


HEAD = ("strongSwan's scenarios", "against", "by", "outcome")


def results(texts: list[str]) -> dict[str, str]:
    """Return what became of each test, by "FILE::NAME", read from JUnit XML."""
    outcomes = total.read(texts).of
    return {
        f"{module.removeprefix('tests.').replace('.', '/')}::{name}": outcome
        for (_, module, name), outcome in outcomes.items()
    }


def judge(scenario: Scenario, found: Mapping[str, str]) -> str:
    """Return the outcome of a scenario: how many tests of it have passed, or what is wrong."""
    passed = 0
    for wanted in scenario.tests:
        outcomes = [outcome for test, outcome in found.items() if test.startswith(wanted)]
        if not outcomes:
            return f"{wanted}: was not run"
        if bad := set(outcomes) - {"passed"}:
            return f"{wanted}: {', '.join(sorted(bad))}"
        passed += len(outcomes)
    return f"{passed} passed" if passed else "-"


def row(scenario: Scenario, found: Mapping[str, str]) -> tuple[str, ...]:
    """Return the row of a scenario."""
    files = dict.fromkeys(test.partition("::")[0] for test in scenario.tests)
    tests = ", ".join(f"`tests/{file}.py`" for file in files)
    return scenario.names, scenario.against, tests or "-", judge(scenario, found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, or put it into the page; 1 if a scenario's tests have not all passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios", description=__doc__)
    parser.add_argument("junit", type=Path, nargs="+", help="what runs of pytest have written")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="a page to put the table into")
    chosen = parser.parse_args(arguments)
    found = results([file.read_text() for file in chosen.junit])
    rows = [row(scenario, found) for scenario in SCENARIOS]
    lines = lasting.table(HEAD, rows)
    print("\n".join(lines))
    if chosen.write is not None:
        lasting.put(chosen.write, "tests/scenarios.py", lines)
    return int(any(outcome[:1] not in "-0123456789" for *_, outcome in rows))


if __name__ == "__main__":
    sys.exit(main())
