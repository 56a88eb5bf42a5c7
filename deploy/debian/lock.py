"""What `build.sh` reads out of pyproject.toml and out of pip's report."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
EXTRAS = ("control", "etcd")


def project() -> dict[str, Any]:
    """Return the project table of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads(PROJECT.read_text())["project"]
    return table


def requirements() -> list[str]:
    """Return what the package must have of other Python packages, as pyproject.toml says it."""
    table = project()
    wanted = list(table["dependencies"])
    for extra in EXTRAS:
        wanted += table["optional-dependencies"][extra]
    return wanted


def locked(report: dict[str, Any]) -> list[str]:
    """Return the lines of a lock file: each package that pip chose, with its file's hash."""
    lines = []
    for item in report["install"]:
        name = item["metadata"]["name"].lower().replace("_", "-").replace(".", "-")
        digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
        lines.append(f"{name}=={item['metadata']['version']} --hash=sha256:{digest}")
    return sorted(lines)


def main(arguments: list[str]) -> str:
    """Return what a command prints: `version`, `requirements`, or `lock REPORT`."""
    if arguments == ["version"]:
        return str(project()["version"])
    if arguments == ["requirements"]:
        return "\n".join(requirements())
    return "\n".join(
        [
            "# Written by `./run package --lock`, for Python 3.11 on Debian 12 amd64.",
            *locked(json.loads(Path(arguments[1]).read_text())),
        ]
    )


if __name__ == "__main__":
    print(main(sys.argv[1:]))
