"""Events, the audit log, quotas, and `--watch`, against a real control process."""

from __future__ import annotations

import itertools
import json
import os
import pty
import re
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from gateway.cli.output import changed_lines
from tests.cli.control_process import TWINSPAN, Control, control


def test_the_audit_log_says_who_changed_what_and_from_what(plane: Control) -> None:
    plane.done("bgw", "create", "audited", "--asn", "65010")
    plane.done("bgw", "update", "audited", "--asn", "65011")
    lines = plane.done("audit", "--kind", "border_gateway", "--resource", "audited").splitlines()
    assert [line.split("  ", 1)[1] for line in lines if line[:1] != " "] == [
        "local:root  update border_gateway audited",
        "local:root  create border_gateway audited",
    ]
    assert "    asn: 65010 -> 65011" in lines
    items = plane.json("audit", "-n", "1")["items"]
    assert isinstance(items, list)
    assert items[0]["actor"] == "local:root"
    assert plane.run("audit", "--resource", "audited").exit_code == 2
    assert plane.run("audit", "--kind", "moon").exit_code == 1


def test_quotas_are_shown_and_changed_for_all_or_one_tenant(plane: Control) -> None:
    plane.done("quota", "set", "route=7", "direct_line=0")
    limits = {one["name"]: one["limit"] for one in plane.json("quota", "list")["items"]}  # type: ignore[attr-defined] # JSON
    assert (limits["route"], limits["direct_line"]) == (7, 0)
    assert re.search(r"^route +0 +7$", plane.done("quota", "list"), re.MULTILINE)
    plane.done("tenant", "create", "acme")
    acme = ("--tenant", "acme")
    plane.done("quota", "set", "route=8", *acme)
    limits = {one["name"]: one["limit"] for one in plane.json("quota", "list", *acme)["items"]}  # type: ignore[attr-defined] # JSON
    assert (limits["route"], limits["direct_line"]) == (8, 0)
    assert plane.json("setting", "show", "quotas")["route"] == 7
    plane.done("setting", "set", "quotas", "vpc_attachment=9")
    assert re.search(r"^quotas +vpc_attachment +9$", plane.done("setting", "list"), re.MULTILINE)
    plane.done("quota", "set", "border_gateway=0")
    refused = plane.run("bgw", "create", "one-too-many")
    assert refused.exit_code == 5
    assert "quota border_gateway: 0 are allowed" in refused.stderr
    plane.done("setting", "reset", "quotas", "--yes")
    plane.done("bgw", "create", "again", "--dry-run")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("quota set moon=1", "setting.quotas.moon: unknown key"),
        ("quota set route=-1", "setting.quotas.route: must be at least 0 (-1)"),
        ("quota set route=many", "setting.quotas.route: must be a whole number"),
    ],
)
def test_a_wrong_quota_is_refused(plane: Control, words: str, said: str) -> None:
    refused = plane.run(*words.split())
    assert refused.exit_code == 1
    assert said in refused.stderr


def started(
    plane: Control, *words: str, more: Mapping[str, str] = MappingProxyType({})
) -> subprocess.Popen[str]:
    environ = {**os.environ, **plane.environ, **more}
    command = [*TWINSPAN, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environ, text=True)


def interrupted(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGINT)
    return process.wait(timeout=20)


def test_watch_prints_one_line_for_each_change_where_there_is_no_terminal(plane: Control) -> None:
    with started(plane, "cgw", "list", "-o", "name", "--watch") as watching:
        assert watching.stdout is not None
        plane.done("cgw", "create", "watched", "--public-addresses", "203.0.113.90")
        assert watching.stdout.readline() == "watched\n"
        plane.done("cgw", "delete", "watched", "--yes")
        assert watching.stdout.readline() == "gone: watched\n"
        assert interrupted(watching) == 0


def test_quotas_settings_and_contexts_are_watched_too(plane: Control, tmp_path: Path) -> None:
    file = tmp_path / "contexts.toml"
    own = {"TWINSPAN_CONTEXTS": str(file)}
    file.write_text('[context.a]\nurl = "http://127.0.0.1:1"\n')
    file.chmod(0o600)
    plane.done("quota", "set", "route=5")
    with (
        started(plane, "quota", "list", "--watch") as quotas,
        started(plane, "setting", "list", "--watch") as settings,
        started(plane, "context", "list", "--watch", more=own) as contexts,
    ):
        assert line_of(contexts, "a ") == "a http://127.0.0.1:1 none - -"
        assert line_of(quotas, "route:") == "route: 0 of 5"
        assert line_of(settings, "quotas.route:") == "quotas.route: 5"
        plane.done("quota", "set", "route=6")
        plane.run("context", "use", "a", environ=own)
        assert line_of(quotas, "route:") == "route: 0 of 6"
        assert line_of(settings, "quotas.route:") == "quotas.route: 6"
        assert line_of(contexts, "") == "* a http://127.0.0.1:1 none - -"
        assert [interrupted(each) for each in (quotas, settings, contexts)] == [0, 0, 0]
    plane.done("setting", "reset", "quotas", "--yes")


def line_of(watching: subprocess.Popen[str], begin: str) -> str:
    """Return the next line that begins so."""
    assert watching.stdout is not None
    return next(line for line in watching.stdout if line.startswith(begin)).rstrip("\n")


def test_watch_redraws_in_place_on_a_terminal(plane: Control) -> None:
    terminal, its = pty.openpty()
    words = [*TWINSPAN, "status", "--watch"]
    watching = subprocess.Popen(words, stdout=its, env={**os.environ, **plane.environ})
    os.close(its)
    said = b""
    while said.count(b"\x1b[H") < 2:
        said += os.read(terminal, 65536)
    assert b"nodes: 2 new" in said
    assert b"\x1b[K" in said
    watching.send_signal(signal.SIGINT)
    assert watching.wait(timeout=20) == 0
    os.close(terminal)


def test_a_watch_goes_on_when_the_control_process_is_restarted(tmp_path: Path) -> None:
    address = ("--public-addresses", "203.0.113.90")
    with control(tmp_path) as first:
        first.done("cgw", "create", "a", *address)
        watching = started(first, "cgw", "list", "-o", "name", "--watch")
        assert watching.stdout is not None
        assert watching.stdout.readline() == "a\n"
    assert watching.stdout.readline().startswith("twinspan: no control plane at unix:")
    with watching, control(tmp_path) as second:
        second.done("cgw", "create", "b", "--public-addresses", "203.0.113.91")
        # It may have asked before there was one, and then says first that the trouble is over.
        assert line_of(watching, "b") == "b"
        assert interrupted(watching) == 0


def test_events_are_shown_and_followed(plane: Control) -> None:
    plane.done("cgw", "create", "seen", "--public-addresses", "203.0.113.91")
    with started(plane, "events", "--follow", "-n", "0", "-o", "json") as following:
        assert following.stdout is not None
        for number in range(50):  # until it has begun to follow
            plane.done("cgw", "update", "seen", "--description", str(number))
            if select.select([following.stdout], [], [], 0.3)[0]:
                break
        event = json.loads(following.stdout.readline())
        assert (event["code"], event["resource"]["name"]) == ("changed", "seen")
        assert interrupted(following) == 0
    assert " seen changed: " in plane.done("events", "-n", "1", "--tunnel", "seen")
    assert plane.run("events", "--code", "moon").exit_code == 1


def test_changes_are_told_by_what_they_are_about() -> None:
    before = {"a": "a: up", "b": "b: up"}
    assert changed_lines(before, {"a": "a: down", "c": "c: up"}) == [
        "a: down",
        "c: up",
        "gone: b: up",
    ]
    assert changed_lines(before, before) == []


def test_status_imports_nothing_that_takes_long() -> None:
    """Start time as what is imported, not as a time: that would depend on the machine."""
    slow = ("pydantic", "rich", "ruamel", "fastapi", "cryptography", "gateway.control", "uvloop")
    code = (
        "import sys; from gateway.cli import app\n"
        "try:\n    app(['status'])\nexcept SystemExit: pass\n"
        f"print([name for name in {slow!r} if name in sys.modules])"
    )
    environ = {**os.environ, "TWINSPAN_RUNTIME_DIR": "/nowhere", "TWINSPAN_URL": "unix:/nowhere"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ)
    assert done.stdout == "[]\n", done.stderr
    assert "no control plane at unix:/nowhere" in done.stderr


def test_status_starts_about_as_fast_as_the_library_that_reads_its_options(plane: Control) -> None:
    """A ratio of times of the processor, the best of five each: no time on a clock."""
    status = [*TWINSPAN, "status"]
    library = [sys.executable, "-c", "import typer, typer.main, json, http.client"]
    assert best_of_five(status, plane.environ) < 2.5 * best_of_five(library, {})


def best_of_five(words: list[str], environ: dict[str, str]) -> float:
    times = [used()]
    for _ in range(5):
        subprocess.run(words, check=True, env={**os.environ, **environ}, stdout=subprocess.DEVNULL)
        times.append(used())
    return min(after - before for before, after in itertools.pairwise(times))


def used() -> float:
    """Return the seconds of processor time that ended child processes have had."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
