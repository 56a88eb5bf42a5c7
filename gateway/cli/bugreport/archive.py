"""The archive of a bug report: written to its end or not at all, readable by its owner alone."""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path

from gateway.cli.bugreport.members import Member
from gateway.cli.bugreport.redact import Redactor

_MODE = 0o600


def write(
    file: Path, top: str, members: Iterable[Member], redactor: Redactor, caution: str
) -> list[Member]:
    """
    Write an archive of all members, in a directory `top`; return what stands in it. `caution` is
    what its reader and sender should mind.

    Raises FileExistsError if there is such a file, OSError.
    """
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    try:
        with os.fdopen(descriptor, "wb") as out, tarfile.open(fileobj=out, mode="w:gz") as tar:
            cleaned = [_cleaned(member, redactor) for member in members]
            cleaned.insert(0, Member("README.txt", _readme(cleaned, redactor, caution).encode()))
            for member in cleaned:
                if not member.missing:
                    _add(tar, f"{top}/{member.name}", member.content)
    except BaseException:
        file.unlink()
        raise
    return cleaned


def _cleaned(member: Member, redactor: Redactor) -> Member:
    """Return a member without secrets, in its reason too: a program's words may hold one."""
    missing = redactor.clean(member.missing.encode()).decode("utf-8", "replace")
    return Member(member.name, redactor.clean(member.content), missing)


def _readme(members: Iterable[Member], redactor: Redactor, caution: str) -> str:
    lines = [
        "A bug report of Twinspan, made by `twinspan bugreport`.",
        "",
        "Pre-shared keys, passwords and private keys are masked, and no key of IKE or ESP was ever",
        "here. Names, addresses and routes are as they are: look through it before you send it.",
        f"Masked: {redactor.found} times.",
        *([caution] if caution else []),
        "",
    ]
    for member in members:
        lines.append(f"{member.name}: " + (member.missing or f"{len(member.content)} bytes"))
    return "\n".join(lines) + "\n"


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(content), _MODE, int(time.time())
    tar.addfile(entry, io.BytesIO(content))
