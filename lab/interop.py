"""
Our gateway against strongSwan of several Debian releases: what was tried, and what came of it.

    python -m lab.interop                      # the machine's own strongSwan
    python -m lab.interop --debian trixie --debian sid --write docs/interop.md

A release other than the machine's is unpacked by mmdebstrap into a directory (100 MB, half a
minute) and its charon runs from there, in a namespace. Each trial sets a tunnel up, rekeys both SAs
from both ends and pings through it in between.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from lab import pings, sites, topology
from lab.commands import LabError, run, wait_for
from lab.netns import Lab
from lab.strongswan import Ppk, StrongSwan
from lab.topology import Pair
from lab.twinspan import Twinspan, Value

TREES = Path("/var/cache/twinspan-debian")
PACKAGES = (
    "charon-systemd,libstrongswan-extra-plugins,libcharon-extra-plugins,"
    "libstrongswan-standard-plugins,strongswan-libcharon"
)
PLAIN_IKE, PLAIN_ESP = "aes256gcm16-prfsha384-x25519", "aes256gcm16-x25519"
TUNNEL = sites.tunnel_name(1)
PPK = "0x" + "5c" * 32
BEGIN, END = "<!-- made by lab/interop.py -->", "<!-- end -->"


@dataclass(frozen=True, slots=True)
class Trial:
    """One combination of the two ends' settings; `suite` and `child` are what is to come of it."""

    title: str
    ike: str  # strongSwan's
    esp: str
    suite: str
    child: str
    ours: Mapping[str, Value] = field(default_factory=dict)  # our tunnel's settings
    ppk: Ppk | None = None
    fragmentation: str = "yes"
    collides: bool = False
    least: tuple[int, ...] = (0,)  # version of strongSwan that can


def _both(exchange: str) -> dict[str, Value]:
    """Return our proposals with these key exchanges, and no others."""
    return {
        "ike_proposals": [f"aes256gcm16-prfsha384-{exchange}"],
        "esp_proposals": [f"aes256gcm16-{exchange}"],
    }


def _hybrid(exchange: str, least: tuple[int, ...], **more: object) -> Trial:
    ike, esp = f"aes256gcm16-prfsha384-{exchange}", f"aes256gcm16-{exchange}"
    ours = _both(exchange)
    return replace(Trial(exchange, ike, esp, ike, esp, ours, least=least), **more)  # type: ignore[arg-type]  # fields of Trial


MULTIPLE = (6, 0)  # knows RFC 9370
ML_KEM = (6, 1)  # as Debian builds it: the openssl plugin has it, with OpenSSL 3.5 or later
X = "x25519-ke1_mlkem768"
TRIALS = (
    Trial("our defaults, the peer without ML-KEM", PLAIN_IKE, PLAIN_ESP, PLAIN_IKE, PLAIN_ESP),
    Trial(
        "a PPK, required at both ends",
        PLAIN_IKE,
        PLAIN_ESP,
        PLAIN_IKE,
        PLAIN_ESP,
        {"ppk": PPK, "ppk_id": "quantum-1"},
        Ppk("quantum-1", PPK, "yes"),
    ),
    Trial(
        "a PPK that the peer does not have, not required",
        PLAIN_IKE,
        PLAIN_ESP,
        PLAIN_IKE,
        PLAIN_ESP,
        {"ppk": PPK, "ppk_id": "quantum-1", "ppk_required": False},
    ),
    _hybrid("x25519-ke1_ecp384", MULTIPLE),
    _hybrid(
        "x25519-ke1_ecp384", MULTIPLE, title="the same, rekeys of both ends at once", collides=True
    ),
    replace(_hybrid(X, ML_KEM), title="our defaults, the peer with ML-KEM-768", ours={}),
    _hybrid(X, ML_KEM),
    _hybrid(X, ML_KEM, title=f"{X}, rekeys of both ends at once", collides=True),
    _hybrid(X, ML_KEM, title=f"{X}, no IKE fragmentation", fragmentation="no"),
    _hybrid("ecp384-ke1_mlkem1024", ML_KEM),
    _hybrid("x25519-ke1_mlkem768-ke2_mlkem1024", ML_KEM),
    _hybrid("x25519-ke2_ecp256-ke5_mlkem768", ML_KEM),
    _hybrid(
        X,
        ML_KEM,
        title=f"{X} and a PPK",
        ours=_both(X) | {"ppk": PPK, "ppk_id": "quantum-1"},
        ppk=Ppk("quantum-1", PPK, "yes"),
    ),
)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    version: str
    title: str
    begins: str
    suite: str
    outcome: str


# ---- one trial ----


def attempt(pair: Pair, trial: Trial, swan: StrongSwan, begins: str) -> str:
    """Carry a trial out; return the IKE SA's suite. Raises LabError with what went wrong."""
    keys = sites.Secrets()
    connection = sites.swan_connection(pair.b, pair.a, keys, ike=trial.ike, esp=trial.esp)
    swan.start()
    swan.load([replace(connection, ppk=trial.ppk, fragmentation=trial.fragmentation)])
    start = {"start": "initiate" if begins == "we" else "respond"}
    settings: dict[str, Value] = {**trial.ours, **start}
    ours = Twinspan(
        pair.a.gateway, sites.document(pair.a, pair.b, keys, settings=settings, tunnels=1)
    )
    ours.start()
    try:
        if begins != "we":
            swan.initiate(TUNNEL)
        ours.wait_up()
        wait_for("the first ping", lambda: not _lost(pair), 10.0)
        for act in _rekeys(ours, swan, trial.collides):
            act()
            _reach(pair)
        _reach(pair)
        return _judge(ours, trial)
    finally:
        ours.stop()
        swan.stop()


def _rekeys(ours: Twinspan, swan: StrongSwan, collides: bool) -> Iterator[Callable[[], None]]:
    """Return rekeys of both SAs from both ends, one after the other or at once."""

    def ours_child() -> None:
        ours.cli("rekey", TUNNEL)

    def ours_ike() -> None:
        ours.cli("rekey", TUNNEL, "--ike")

    def child_of_both() -> None:
        swan.rekey_child(TUNNEL)
        ours_child()

    def ike_of_both() -> None:
        swan.rekey_ike(TUNNEL)
        ours_ike()

    both = [child_of_both, ike_of_both] * 3
    single = [ours_child, lambda: swan.rekey_child(TUNNEL), ours_ike]
    single += [lambda: swan.rekey_ike(TUNNEL), lambda: swan.rekey_child(TUNNEL)]
    yield from both if collides else single


def _reach(pair: Pair) -> None:
    """Check for a second that nothing is lost, both ways. Raises LabError."""
    if lost := _lost(pair):
        raise LabError(lost)


def _lost(pair: Pair) -> str:
    """Return which way packets are lost, "" if none is."""
    for host, address in ((pair.a.host, pair.b.host4), (pair.b.host, pair.a.host4)):
        if not pings.are_answered(host, address, count=5, wait_s=1):
            return f"packets from {host.name} are lost"
    return ""


def _judge(ours: Twinspan, trial: Trial) -> str:
    """Return the suite that is in use in the end, if it is what was to come of it."""

    def is_settled() -> bool:
        children = ours.tunnels()[TUNNEL].raw["children"]
        return isinstance(children, list) and len(children) == 1

    wait_for("one Child SA", is_settled, 20.0, every_s=0.5)
    raw = ours.tunnels()[TUNNEL].raw
    ike, children = raw["ike"], raw["children"]
    assert isinstance(ike, dict)
    assert isinstance(children, list)
    found = ike["suite"], children[0]["suite"], ike["ppk"]
    wanted = trial.suite, trial.child, trial.ppk is not None
    if found != wanted:
        raise LabError(f"got {found}, need {wanted}")
    is_quantum_safe = "mlkem" in trial.suite or trial.ppk is not None
    if ike["post_quantum"] is not is_quantum_safe:
        raise LabError(f"post_quantum is {ike['post_quantum']}")
    return str(ike["suite"]) + (" + PPK" if ike["ppk"] else "")


# ---- all of them ----


def unpack(release: str, trees: Path = TREES) -> Path:
    """Return a directory with strongSwan of a Debian release; made if it is not there yet."""
    tree = trees / release
    if (tree / "usr/sbin/charon-systemd").exists():
        return tree
    trees.mkdir(parents=True, exist_ok=True)
    options = [f"--aptopt={one}" for one in ('Apt::Install-Recommends "false"', _STALE)]
    own = run("apt-get", "indextargets", "--format", "$(REPO_URI)").split()
    mirror = next(one for one in own if "security" not in one)  # where this machine's apt gets all
    command = ["mmdebstrap", "--variant=essential", f"--include={PACKAGES}", *options]
    run(*command, release, str(tree), mirror, timeout_s=600.0)
    return tree


_STALE = 'Acquire::Check-Valid-Until "false"'  # a mirror may stand still


def try_all(tree: Path | None, only: str) -> list[Row]:
    """Return what came of all trials with one strongSwan."""
    version = _version(tree)
    rows: list[Row] = []
    for trial in TRIALS:
        if only not in trial.title or _numbers(version) < trial.least:
            continue
        for begins in ("we", "strongSwan"):
            rows.append(_row(tree, trial, version, begins))
            print(rows[-1].title, begins, rows[-1].outcome, file=sys.stderr)
    return rows


def _version(tree: Path | None) -> str:
    with Lab() as lab:
        return StrongSwan(lab.namespace("gwb"), tree=tree).start().version()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _row(tree: Path | None, trial: Trial, version: str, begins: str) -> Row:
    with Lab() as lab:
        pair = topology.four_machines(lab, paths=1)
        swan = StrongSwan(pair.b.gateway, tree=tree)
        try:
            suite, outcome = attempt(pair, trial, swan, begins), "works"
        except LabError as error:
            print(error, swan.log_text()[-3000:], file=sys.stderr)
            suite, outcome = "", f"fails: {str(error).splitlines()[0]}"
    return Row(version, trial.title, begins, suite, outcome)


def table(rows: Iterable[Row]) -> str:
    """Return the table of the page."""
    lines = ["| strongSwan | what | who begins | IKE SA | outcome |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.version} | {row.title} | {row.begins} | `{row.suite}` | {row.outcome} |"
        for row in rows
    ]
    return "\n".join(lines)


def write(page: Path, rows: Iterable[Row]) -> None:
    """Put the table into the page, between its two marks."""
    before, _, rest = page.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    today = datetime.now(UTC).date().isoformat()
    page.write_text(f"{before}{BEGIN}\n\nTried on {today}:\n\n{table(rows)}\n\n{END}{after}")


def main() -> int:
    """Try everything; return 1 if something fails."""
    parser = argparse.ArgumentParser(prog="python -m lab.interop", description=__doc__)
    parser.add_argument("--debian", action="append", default=[], help="a further Debian release")
    parser.add_argument("--only", default="", help="trials with this in their title")
    parser.add_argument("--write", type=Path, help="page to put the table into")
    wanted = parser.parse_args()
    rows = try_all(None, wanted.only)
    for release in wanted.debian:
        rows += try_all(unpack(release), wanted.only)
    print(table(rows))
    if wanted.write:
        write(wanted.write, rows)
    return int(any(row.outcome != "works" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
