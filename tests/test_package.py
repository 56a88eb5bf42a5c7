"""What the Debian package and the tree agree about. `./run package` builds it, no test does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
DEBIAN = DEPLOY / "debian"
STOPPING = re.compile(r"systemctl .*\b(stop|restart|try-restart|kill)\b")


def nfpm() -> dict[str, Any]:
    table: dict[str, Any] = YAML(typ="safe").load(DEBIAN / "nfpm.yaml")
    return table


def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


def contents() -> dict[str, str]:
    """Return where each file goes that the package takes from the tree."""
    return {each["src"]: each["dst"] for each in nfpm()["contents"] if "src" in each}


def locked() -> dict[str, str]:
    """Return the version of each Python package that is in the package."""
    text = (DEBIAN / "requirements.lock").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+) --hash=sha256:[0-9a-f]{64}$", text, re.M))


def test_every_file_of_deploy_is_in_the_package() -> None:
    files = {path for path in DEPLOY.rglob("*") if path.is_file() and DEBIAN not in path.parents}
    assert {str(path.relative_to(ROOT)) for path in files} <= contents().keys()


def test_every_file_that_the_package_names_is_there() -> None:
    for source in contents():
        if not source.startswith("build/"):
            assert list(ROOT.glob(source)), source


def test_systemd_finds_what_is_meant_for_it() -> None:
    for source, place in contents().items():
        if Path(source).suffix in (".service", ".socket"):
            assert place == f"/usr/lib/systemd/system/{Path(source).name}"
        kind = Path(source).parent.name
        if kind in ("sysctl.d", "sysusers.d", "tmpfiles.d"):
            assert place == f"/usr/lib/{kind}/{Path(source).name}"


def test_what_the_units_run_is_in_the_package() -> None:
    commands = [
        line.partition("=")[2].split()[0]
        for unit in DEPLOY.glob("*.service")
        for line in unit.read_text().splitlines()
        if line.startswith("ExecStart=")
    ]
    assert len(commands) == len(list(DEPLOY.glob("*.service")))
    assert set(commands) == {"/usr/bin/twinspan"} <= set(contents().values())


def test_the_version_is_said_once() -> None:
    # build.sh takes it from pyproject.toml, which test_project.py holds against the program's own.
    assert nfpm()["version"] == "${VERSION}"
    assert project()["version"] not in (DEBIAN / "nfpm.yaml").read_text()


def test_the_lock_has_what_pyproject_wants() -> None:
    versions = locked()
    extras = project()["optional-dependencies"]
    for text in [*project()["dependencies"], *extras["control"], *extras["etcd"]]:
        wanted = Requirement(text)
        found = versions.get(canonicalize_name(wanted.name))
        assert found is not None, f"{text}: ./run package --lock"
        assert found in wanted.specifier, f"{text}: the lock has {found}: ./run package --lock"


def test_every_line_of_the_lock_has_a_hash() -> None:
    lines = (DEBIAN / "requirements.lock").read_text().splitlines()
    assert len(locked()) == len([line for line in lines if not line.startswith("#")])


@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm", "twinspan"])
def test_scripts_can_be_run(script: str) -> None:
    path = DEBIAN / script
    assert path.stat().st_mode & 0o111
    assert path.read_text().startswith("#!/")


def test_an_upgrade_leaves_the_data_plane_alone() -> None:
    text = (DEBIAN / "postinst").read_text()
    loop = re.search(r"^for unit in (.*); do$", text, re.M)
    assert loop is not None
    assert loop[1].split() == ["twinspan-netns", "twinspan-gateway", "twinspan-control"]
    stopping = [line.strip() for line in text.splitlines() if STOPPING.search(line)]
    assert [line.split(" ||")[0] for line in stopping] == [
        "systemctl restart systemd-sysctl.service",
        "systemctl try-restart $unit.service",
    ]
    # dpkg runs the old prerm before it unpacks the new version: with "upgrade", it does nothing.
    assert '\n[ "$1" = remove ] || exit 0\n' in (DEBIAN / "prerm").read_text()
