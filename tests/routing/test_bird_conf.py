"""
The configuration that BIRD gets: golden files, each accepted by the BIRD that is installed.

A golden file that should change is written anew by `python -m tests.routing.test_bird_conf`.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import ConfigError
from gateway.routing.bird_conf import bird_conf
from gateway.routing.plan import Bfd, BgpPeer, Hop, RoutingPlan, Standing, TcpAo
from gateway.routing.process import OLDEST_AO, check_version, find_bird
from gateway.secret import Secret
from tests.routing.plans import LINE, OFFICE, STATIC_LINE, TWIN, VPC_ROUTER, plan_of, rich_plan

GOLDEN = Path(__file__).parent / "golden"
LOG = "/run/twinspan/bird.log"
PLANS = {
    "two-tunnels": plan_of(OFFICE, TWIN),
    "active-active": plan_of(OFFICE, replace(TWIN, preference=100)),
    "everything": rich_plan(),
    "line-and-tunnel": plan_of(LINE, OFFICE),
    "vpc-router": plan_of(VPC_ROUTER, OFFICE),
    "static-line": plan_of(statics=(STATIC_LINE,)),
}


def accepted(text: str, directory: Path) -> str:
    """Return what BIRD says about a configuration; nothing if it accepts it."""
    file = directory / "bird.conf"
    file.write_text(text)
    done = subprocess.run(
        [find_bird(), "-p", "-c", str(file)], capture_output=True, text=True, check=False
    )
    return done.stderr + done.stdout if done.returncode else ""


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_gives_the_golden_text_and_bird_accepts_it(name: str, tmp_path: Path) -> None:
    text = bird_conf(PLANS[name], LOG)
    assert text == (GOLDEN / f"{name}.conf").read_text()
    assert accepted(text, tmp_path) == ""


def test_bird_refuses_what_is_no_configuration(tmp_path: Path) -> None:
    """The judge of the other tests does judge."""
    assert "syntax error" in accepted("protocol bgp {", tmp_path)


@pytest.mark.parametrize("algorithm", ["hmac-sha1", "hmac-sha256", "cmac-aes128"])
async def test_tcp_ao_is_text_that_bird_knows_from_2_17_on(algorithm: str, tmp_path: Path) -> None:
    """What is older refuses it, and so is refused by `Router.prepare` before."""
    peer = replace(OFFICE, password=Secret(b"not told"), ao=TcpAo(algorithm, 7))
    text = bird_conf(plan_of(peer), LOG)
    key = f'id 7; secret "not told"; algorithm {algorithm.replace("-", " ")}; preferred;'
    assert f"authentication ao; keys {{ key {{ {key} }}; }};" in " ".join(text.split())
    try:
        await check_version(find_bird(), OLDEST_AO)
    except ConfigError:
        assert "syntax error" in accepted(text, tmp_path)
    else:
        assert accepted(text, tmp_path) == ""


def test_one_more_peer_adds_text_and_changes_none() -> None:
    before = bird_conf(plan_of(OFFICE), LOG).splitlines()
    after = bird_conf(plan_of(OFFICE, replace(TWIN, bfd=None)), LOG).splitlines()
    added = [line for line in after if line not in before]
    assert [line for line in before if line not in after] == []
    assert any("bgp_office-2" in line for line in added)


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}", fullmatch=True)
peers = st.builds(
    replace,
    st.just(OFFICE),
    name=names,
    interface=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}", fullmatch=True),
    asn=st.integers(1, 4294967294),
    local_asn=st.integers(1, 4294967294),
    preference=st.integers(1, 60000),
    hold_s=st.integers(3, 65535),
    keepalive_s=st.just(1),
    bfd=st.none() | st.builds(Bfd, st.integers(50, 10000), st.integers(2, 50)),
    hop=st.sampled_from(Hop),
    is_isolated=st.booleans(),
    prefix_limit=st.integers(1, 100000),
    prepend=st.integers(0, 10),
    password=st.none()
    | st.from_regex(r"[!#-~]{1,80}", fullmatch=True).map(lambda text: Secret(text.encode())),
    accepted=st.lists(
        st.ip_addresses(v=4).map(lambda a: ip_network(f"{a}/24", strict=False)), max_size=3
    ).map(tuple),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(peer=peers, standing=st.sampled_from(Standing))
def test_bird_accepts_every_peer_that_a_document_can_describe(
    peer: BgpPeer, standing: Standing, tmp_path: Path
) -> None:
    text = bird_conf(plan_of(peer), LOG, {peer.name: standing})
    assert accepted(text, tmp_path) == ""


def thousand() -> RoutingPlan:
    return plan_of(
        *(
            replace(
                OFFICE,
                name=f"c{number}-1",
                connection=f"c{number}",
                interface=f"ts-{number}",
                asn=64512 + number % 400,
                local=ip_address(0x0A800000 + 4 * number + 1),
                remote=ip_address(0x0A800000 + 4 * number + 2),
            )
            for number in range(1000)
        )
    )


def test_a_thousand_connections_become_text_in_under_a_second(tmp_path: Path) -> None:
    plan = thousand()
    began = time.process_time()
    text = bird_conf(plan, LOG)
    assert time.process_time() - began < 1.0
    assert text.count("protocol bgp ") == 1000
    assert accepted(text, tmp_path) == ""


if __name__ == "__main__":
    for name, plan in PLANS.items():
        (GOLDEN / f"{name}.conf").write_text(bird_conf(plan, LOG))
