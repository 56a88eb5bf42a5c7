"""The project's own rules, as far as no tool checks them: a rule only written down decays."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import gateway
import tests.conftest
import tests.system.conftest
from gateway.model.load import load
from gateway.node.plan import plan

ROOT = Path(__file__).parent.parent
PURE = [
    "gateway/ike",
    "gateway/control/alarms/facts.py",
    "gateway/control/alarms/judge.py",
    "gateway/control/alarms/kept.py",
    "gateway/control/alarms/message.py",
    "gateway/control/alarms/signs.py",
    "gateway/control/alarms/target.py",
    "gateway/control/alarms/template.py",
    "gateway/control/events/changes.py",
    "gateway/control/events/kept.py",
    "gateway/control/events/observed.py",
    "gateway/cli/bugreport/redact.py",
    "gateway/cli/pcap/pcapng.py",
    "gateway/cli/pcap/frames.py",
    "gateway/cli/pcap/wireshark.py",
    "gateway/cli/doctor/judge",
    "gateway/cli/doctor/facts.py",
    "gateway/cli/doctor/verdict.py",
    "gateway/control/store/interface.py",
    "gateway/control/listen.py",
    "gateway/control/api/body.py",
    "gateway/control/api/conditions.py",
    "gateway/control/api/describe.py",
    "gateway/control/api/pace.py",
    "gateway/control/api/schemas.py",
    "gateway/control/api/examples.py",
    "gateway/control/api/find.py",
    "gateway/control/api/render.py",
    "gateway/control/api/requests.py",
    "gateway/control/api/status.py",
    "gateway/control/problems.py",
    "gateway/control/waits.py",
    "gateway/control/auth/buckets.py",
    "gateway/control/auth/claims.py",
    "gateway/control/auth/credentials.py",
    "gateway/control/auth/principal.py",
    "gateway/control/auth/specs.py",
    "gateway/control/resources",
    "gateway/control/changes",
    "gateway/control/nodes/touched.py",
    "gateway/errors.py",
    "gateway/fleet",
    "gateway/dataplane/kernel.py",
    "gateway/sa.py",
    "gateway/secret.py",
    "gateway/node/fleet/judge.py",
    "gateway/node/fleet/states.py",
    "gateway/node/plan.py",
    "gateway/node/metrics.py",
    "gateway/prometheus/text.py",
    "gateway/node/port.py",
    "gateway/node/spokes.py",
    "gateway/node/mtu.py",
    "gateway/node/difference.py",
    "gateway/node/flow.py",
    "gateway/node/wanted.py",
    "gateway/node/one_way.py",
    "gateway/node/failovers.py",
    "gateway/node/redundancy.py",
    "gateway/node/round_trips.py",
    "gateway/node/traffic.py",
    *sorted(
        f"gateway/model/{file.name}"
        for file in (ROOT / "gateway/model").glob("*.py")
        if file.name != "load.py"
    ),
    "gateway/customer",
    "gateway/importer",
    "gateway/pki",
    "gateway/routing/bird_conf.py",
    "gateway/routing/choice.py",
    "gateway/routing/failback.py",
    "gateway/routing/health.py",
    "gateway/routing/plan.py",
    "gateway/routing/propagation.py",
    "gateway/routing/bird_filters.py",
    "gateway/routing/text.py",
    "gateway/routing/order.py",
    "gateway/routing/names.py",
    "gateway/routing/replies.py",
    "gateway/routing/state.py",
    "gateway/routing/tables.py",
    "gateway/routing/view.py",
    "gateway/routing/wanted.py",
    "gateway/routing/why.py",
    "gateway/cli/remote/nouns.py",
    "gateway/cli/remote/options.py",
    "gateway/cli/remote/tree.py",
    "gateway/vici/wire.py",
    "gateway/vici/views.py",
    "gateway/vici/logs.py",
]
FORBIDDEN = {
    "asyncio",
    "logging",
    "os",
    "random",
    "secrets",
    "socket",
    "threading",
    "time",
}
PRODUCT = ["gateway", "lab", "bench"]
# RFC 7296's tables of numbers and similar lists may be long; nothing else is.
LONGEST_FILE = 500
LONGEST_FUNCTION = 60


def python_files(*places: str) -> list[Path]:
    files = [
        file
        for place in places
        for file in (
            [ROOT / place] if place.endswith(".py") else sorted((ROOT / place).rglob("*.py"))
        )
    ]
    assert files
    return files


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def c_functions(path: Path) -> Iterator[tuple[str, int]]:
    """Yield name and length of each function in a C file: its name and braces stand in column 0."""
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        if line != "{":
            continue
        end = next(i for i in range(number, len(lines)) if lines[i] in ("}", "};"))
        start = number
        while (
            start > 0 and lines[start - 1] not in ("", "}") and not lines[start - 1].startswith("#")
        ):
            start -= 1
        head = re.search(r"^(\w+)\(", "\n".join(lines[start:number]), re.MULTILINE)
        yield (head[1] if head else f"line {number}"), end - start + 1


@pytest.mark.parametrize("place", PURE)
def test_pure_code_imports_no_io(place: str) -> None:
    for path in python_files(place):
        assert not imported(path) & FORBIDDEN, path


def test_the_gateway_process_imports_nothing_of_the_control_plane() -> None:
    # Only the command line may, and it does when such a command runs.
    users = {
        str(path.relative_to(ROOT))
        for path in python_files("gateway")
        if "gateway.control" in path.read_text() and "control" not in path.relative_to(ROOT).parts
    }
    assert users == {
        "gateway/cli/store.py",
        "gateway/cli/control.py",
        "gateway/cli/remote/schemas.py",
        "gateway/cli/remote/tree.py",
    }


def test_the_gateway_process_does_not_load_what_the_control_plane_needs() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, gateway.node.fleet.source; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert "gateway.node.fleet.link" in loaded
    roots = {name.split(".")[0] for name in loaded}
    assert not roots & {"fastapi", "starlette", "uvicorn", "httpx", "argon2"}
    assert "gateway.control" not in loaded


def test_scapy_is_never_imported_by_the_product() -> None:
    for path in python_files("gateway"):
        assert "scapy" not in imported(path), f"{path}: scapy is GPL-2.0-only"


def test_no_python_file_is_longer_than_500_lines() -> None:
    long = {
        str(p): n for p in python_files(*PRODUCT) if (n := p.read_text().count("\n")) > LONGEST_FILE
    }
    assert not long


def test_no_c_file_is_longer_than_500_lines() -> None:
    files = [*(ROOT / "csrc").glob("*.[ch]")]
    assert files
    long = {p.name: n for p in files if (n := p.read_text().count("\n")) > LONGEST_FILE}
    assert not long


def test_no_python_function_is_longer_than_60_lines() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{f.name}"
        for path in python_files(*PRODUCT)
        for f in functions(path)
        if f.end_lineno and f.end_lineno - f.lineno + 1 > LONGEST_FUNCTION
    ]
    assert not long


def test_no_c_function_is_longer_than_60_lines() -> None:
    found = [
        (f"{path.name}:{name}", length)
        for path in (ROOT / "csrc").glob("*.c")
        for name, length in c_functions(path)
    ]
    assert len(found) > 50
    assert not [name for name, length in found if length > LONGEST_FUNCTION]


def test_the_changelog_begins_with_the_version_of_the_package() -> None:
    top = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert top is not None
    assert top[1] == gateway.__version__ == project["version"]


def test_the_readme_names_every_command_of_run() -> None:
    usage = re.findall(r"^  (\w+) ", (ROOT / "run").read_text(), re.MULTILINE)
    readme = (ROOT / "README.md").read_text()
    assert {"demo", "test", "bench", "lint", "build"} <= set(usage)
    for command in ("demo", "test", "bench", "lint", "build"):
        assert f"./run {command}" in readme


def test_the_readmes_document_has_no_mistake(tmp_path: Path) -> None:
    text = re.search(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert text is not None
    key, file = tmp_path / "office.psk", tmp_path / "gateway.toml"
    key.write_text("a key for a document that is only read\n")
    key.chmod(0o600)
    file.write_text(text[1].replace("/etc/twinspan/office.psk", str(key)))
    loaded = load(file)
    assert len(plan(loaded.document).tunnels) == 2
    assert not loaded.warnings


def test_nothing_in_the_tree_is_left_open() -> None:
    words = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|NotImplemented" r"Error)\b")
    for path in [*python_files("gateway", "lab", "bench"), *(ROOT / "csrc").glob("*.[ch]")]:
        assert not words.search(path.read_text()), path


def test_the_files_that_the_order_of_the_tests_names_are_there() -> None:
    """One of another name would run alone, or last, and nobody would notice."""
    named = {ROOT / name for name in tests.conftest.LONG}
    stems = tests.system.conftest.PATIENT | tests.system.conftest.CALM
    named |= {ROOT / "tests/system" / f"{stem}.py" for stem in stems}
    assert sorted(str(path) for path in named if not path.exists()) == []
    assert tests.system.conftest.PATIENT.isdisjoint(tests.system.conftest.CALM)
