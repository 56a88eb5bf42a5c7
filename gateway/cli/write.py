"""
Files that a command writes: shown as differences first, then replaced all together or not at all.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from gateway.cli.table import paint

SECRET_MODE = 0o600

Yes = Annotated[bool, typer.Option("--yes", "-y", help="write without a question")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="show what would be written, no more")]
AsJson = Annotated[
    bool, typer.Option("--json", help="print one JSON object; writes with --yes only")
]


class NotWritten(Exception):
    """A file can not be written, or is not what it was; nothing has been changed."""


@dataclass(frozen=True, slots=True)
class Change:
    """
    What a file is to hold. A new file is its owner's alone (mode 0600), and is owned as `beside`.

    `old` is what it held when it was read; None: there was no file.
    """

    path: Path
    old: str | None
    new: str
    beside: Path
    is_secret: bool = False

    def diff(self) -> list[str]:
        """Return the difference as lines of a unified diff; of a secret only that it is made."""
        if self.is_secret:
            return [f"+++ {self.path} (new, a secret of mode 0600)"]
        old = None if self.old is None else without_secrets(self.old)
        lines = text_diff(str(self.path), old, without_secrets(self.new))
        if lines or self.old == self.new:
            return lines
        before = "/dev/null" if self.old is None else str(self.path)
        return [f"--- {before}", f"+++ {self.path}", "@@ only secrets differ @@"]


def text_diff(name: str, before: str | None, after: str | None) -> list[str]:
    """Return the difference of two texts as lines of a unified diff; None: there is none."""
    first, second = (name if text is not None else "/dev/null" for text in (before, after))
    old, new = ((text or "").splitlines() for text in (before, after))
    return list(difflib.unified_diff(old, new, first, second, lineterm=""))


def without_secrets(text: str) -> str:
    """Return a document's text without the values of its secret keys, for people to see."""
    from gateway.model.problem import SECRET_KEYS

    keys = "|".join(sorted(SECRET_KEYS))
    quoted = r'"{3}[\s\S]*?"{3}' + "|" + r"'{3}[\s\S]*?'{3}"
    # To the end of the line: what follows in an inline table is not worth a risk.
    value = re.compile(rf"\b({keys})([\"']?[ \t]*=[ \t]*)(?:{quoted}|.*)")
    return value.sub(r'\1\2"(not shown)"', text)


@dataclass(frozen=True, slots=True)
class Made:
    """What a command says of what it made: `result` for machines, the rest for people."""

    result: Mapping[str, object]
    warnings: Sequence[str]
    next_steps: Sequence[str]


def diff_lines(changes: Sequence[Change], *, colours: bool) -> Iterator[str]:
    """Yield the differences of all files, for a person."""
    for change in changes:
        for line in change.diff():
            yield painted_diff(line, colours=colours)


def painted_diff(line: str, *, colours: bool) -> str:
    """Return a line of a diff in the colour of what it says."""
    shade = {"+": "green", "-": "red", "@": "yellow"}.get(line[:1])
    return paint(line, shade, colours=colours) if shade else line


def refuse(problems: Sequence[str], *, as_json: bool) -> NoReturn:
    """Say why nothing is written, and end the program with status 1."""
    if as_json:
        typer.echo(json.dumps({"ok": False, "problems": list(problems)}, indent=2))
        raise typer.Exit(1)
    for problem in problems:
        typer.echo(problem, err=True)
    typer.echo("nothing is written", err=True)
    raise typer.Exit(1)


def offer(
    changes: Sequence[Change], made: Made, *, yes: bool, dry_run: bool, as_json: bool
) -> None:
    """Show the differences, ask, and write all files. Ends the program if it can not be done."""
    try:
        for change in changes:
            judge_unchanged(change)
        if not as_json:
            _show(changes, made)
        is_wanted = not dry_run and (yes or (not as_json and typer.confirm("write this?")))
        if is_wanted:
            write_all(changes)
    except NotWritten as error:
        refuse([str(error)], as_json=as_json)
    if as_json:
        files = [{"path": str(c.path), "diff": c.diff()} for c in changes]
        head = {"ok": True, "written": is_wanted, "warnings": list(made.warnings)}
        typer.echo(json.dumps({**head, **made.result, "files": files}, indent=2))
        return
    for line in made.next_steps if is_wanted else ["nothing is written"]:
        typer.echo(line)


def _show(changes: Sequence[Change], made: Made) -> None:
    for line in diff_lines(changes, colours=sys.stdout.isatty()):
        typer.echo(line)
    for warning in made.warnings:
        typer.echo(f"warning: {warning}", err=True)


def write_all(changes: Sequence[Change]) -> None:
    """
    Replace all files, in their order. Raises NotWritten, and leaves them as they were then.

    What stands at a path is never a half: each file is written beside it and renamed.
    """
    staged: list[Path] = []
    done: list[Change] = []
    try:
        for change in changes:
            judge_unchanged(change)
            staged.append(_stage(change.path, change.new, change.beside))
        for change, file in zip(changes, staged, strict=True):
            file.replace(_target(change.path))
            done.append(change)
    except OSError as error:
        for one in reversed(done):
            _undo(one)
        raise NotWritten(f"{change.path}: can not be written: {_reason(error)}") from None
    finally:
        for file in staged:
            file.unlink(missing_ok=True)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _target(path: Path) -> Path:
    """Return the file itself where the path is a link to it."""
    return path.resolve()


def judge_unchanged(change: Change) -> None:
    """Raise NotWritten if a file is not what it was when it was read."""
    try:
        # Not read as text: that would take the ends of lines for others.
        now = change.path.read_bytes()
    except FileNotFoundError:
        now = None
    except OSError as error:
        raise NotWritten(f"{change.path}: can not be read: {_reason(error)}") from None
    if change.old is None and now is not None:
        raise NotWritten(f"{change.path}: exists already")
    if change.old is not None and now != change.old.encode():
        raise NotWritten(f"{change.path}: has changed since it was read")


def _stage(path: Path, text: str, beside: Path) -> Path:
    """Return a file next to `path` that holds `text`, with the owner and mode it is to have."""
    target = _target(path)
    owner = (target if target.exists() else beside).stat()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), owner.st_mode & 0o777 if target.exists() else SECRET_MODE)
            if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        Path(name).unlink()
        raise
    return Path(name)


def _undo(change: Change) -> None:
    """Put back what a file held; if even that fails, the first failure is what is told."""
    with suppress(OSError):
        if change.old is None:
            change.path.unlink()
        else:
            _stage(change.path, change.old, change.beside).replace(_target(change.path))
